"""Both models of a pair at one hook point, to be asked about a piece of text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from pipeline.config.models import HookPointConfig, HubModel, LocalModel
from pipeline.errors import ModelError
from pipeline.harvest.pair import HookedPair, PairedForward, load_pair
from pipeline.labels import MODELS
from pipeline.models.load import load_tokenizer, read_model, read_tokenizer
from pipeline.models.locate import locate_hub, locate_local
from pipeline.models.pair import check_tokenizers
from pipeline.runtime import resolve_device
from pipeline.text.template import Document
from pipeline.text.tokens import bos_id, encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Pair:
    """A base and an IT model, cut off at the hook point, and the tokenizer they share."""

    hooked: HookedPair
    tokenizer: PreTrainedTokenizerFast

    @classmethod
    def load(
        cls, models_dir: Path | str, hook_point: Mapping[str, Any], *, device: str = "auto"
    ) -> Self:
        """The pair that the stage `models` left in `models_dir`, at a hook point as the
        configuration or `Crosscoder.provenance["hook_point"]` states it."""
        models_dir = Path(models_dir)
        tokenizer = load_tokenizer(models_dir)
        config = HookPointConfig.model_validate(dict(hook_point))
        hooked = load_pair(models_dir, config, bos_id(tokenizer), resolve_device(device))
        return cls(hooked, tokenizer)

    @classmethod
    def from_pretrained(
        cls,
        base: str | Path,
        it: str | Path,
        *,
        layer: int,
        dtype: str = "bfloat16",
        attention: str = "eager",
        device: str = "auto",
    ) -> Self:
        """Any two models of one tokenizer and width: local folders or Hub repositories."""
        folders = [_folder(name) for name in (base, it)]
        models = [
            read_model(
                folder,
                dtype=dtype,
                attention=attention,
                device=resolve_device(device),
                n_layers=layer,
            )
            for folder in folders
        ]
        widths = [model.config.get_text_config().hidden_size for model in models]
        if len(set(widths)) != 1:
            raise ModelError(
                f"{it} has d_model {widths[1]}, but {base} has {widths[0]}: name two models of one "
                "family and size"
            )
        tokenizer, other = (read_tokenizer(folder) for folder in folders)
        check_tokenizers(tokenizer, other, records={})
        return cls(HookedPair(models, layer, widths[0], bos_id(tokenizer)), tokenizer)

    def activations(self, text: str) -> tuple[list[str], Tensor]:
        """Tokens of `text` and their activation rows [token, model, d_model] in bfloat16, as the
        stage `dump` would store them: BOS goes before the text and gives no row."""
        token_ids, _ = encode(self.tokenizer, Document(0, text))
        ids = np.concatenate([[self.hooked.bos_id], token_ids]).astype(np.int32)[None]
        forward = PairedForward(self.hooked, max_rows=len(token_ids))
        rows = forward(ids, np.arange(ids.shape[1])[None] > 0)
        activations = torch.from_numpy(rows.ready()).view(torch.bfloat16)
        tokens = [str(self.tokenizer.decode([int(token_id)])) for token_id in token_ids]
        assert activations.shape[:2] == (len(tokens), len(MODELS))
        return tokens, activations


def _folder(name: str | Path) -> Path:
    if Path(name).is_dir():
        return locate_local(LocalModel(kind="local", path=str(name)))
    return locate_hub(HubModel(kind="hub", repo=str(name), revision="main"))
