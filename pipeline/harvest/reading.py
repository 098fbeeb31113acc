"""Both models of a pair at one hook point, to be asked about a piece of text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from pipeline.config.models import HookPointConfig, HubModel, LocalModel
from pipeline.errors import ConfigError, ModelError
from pipeline.harvest.census import rows_of
from pipeline.harvest.pair import HookedPair, PairedForward, load_pair
from pipeline.labels import MODELS
from pipeline.models.configuration import read_configuration, shape_of
from pipeline.models.load import load_tokenizer, read_model, read_tokenizer
from pipeline.models.locate import locate_hub, locate_local
from pipeline.models.pair import check_tokenizers
from pipeline.models.skeleton import positions_of
from pipeline.models.start import choose_start
from pipeline.paths import located
from pipeline.runtime import resolve_device
from pipeline.text.pieces import Pieces
from pipeline.text.template import Document, valid_unicode
from pipeline.text.tokens import encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")


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
        models_dir = located(str(models_dir))
        tokenizer = load_tokenizer(models_dir)
        site = _checked(hook_point)
        return cls(load_pair(models_dir, site, resolve_device(device), (site.layer,)), tokenizer)

    @classmethod
    def from_pretrained(
        cls,
        base: str | Path,
        it: str | Path,
        *,
        layer: int,
        dtype: str = "bfloat16",
        attention: str = "eager",
        start: str = "auto",
        device: str = "auto",
    ) -> Self:
        """Any two models of one tokenizer and width: local folders or Hub repositories.

        start: what goes before every text, as `mix.start` names it
        Raises ModelError where the two form no pair or have no block at `layer`.
        """
        _checked({"layer": layer, "dtype": dtype, "attention": attention})
        folders = [_folder(name) for name in (base, it)]
        shapes = [shape_of(read_configuration(folder), folder) for folder in folders]
        for name, shape in zip((base, it), shapes, strict=True):
            if layer >= shape.n_layers:
                raise ModelError(
                    f"layer is {layer}, but {name} has {shape.n_layers} blocks: give a layer "
                    f"between 0 and {shape.n_layers - 1}"
                )
        if shapes[0].d_model != shapes[1].d_model:
            raise ModelError(
                f"{it} has d_model {shapes[1].d_model}, but {base} has {shapes[0].d_model}: name "
                "two models of one family and size"
            )
        tokenizer, other = (read_tokenizer(folder) for folder in folders)
        chosen = choose_start(start, tokenizer, other)
        embedded = {
            str(name): shape.vocab_size for name, shape in zip((base, it), shapes, strict=True)
        }
        check_tokenizers(tokenizer, other, chosen, "none", embedded)
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
        return cls(HookedPair(models, (layer,), shapes[0].d_model, chosen.id), tokenizer)

    def activations(self, text: str) -> tuple[list[str], Tensor]:
        """Tokens of `text` and their activation rows [token, model, d_model] in bfloat16, as the
        stage `dump` would store them: the start goes before the text and gives no row. Where
        nothing goes before it, the text's first token gives none. Rows that `dump.max_norm_ratio`
        would leave out are among them. ModelError where a model has no positions for so many."""
        if not isinstance(text, str):
            raise ConfigError(
                f"the text is of type {type(text).__name__}, expected one text (str): call this "
                "once for each"
            )
        token_ids, _ = encode(self.tokenizer, Document(0, valid_unicode(text)[0]))
        front = [] if self.hooked.start_id is None else [self.hooked.start_id]
        ids = np.concatenate([front, token_ids]).astype(np.int32)[None]
        if not ids.size:
            return [], torch.empty(0, len(MODELS), self.hooked.d_model, dtype=torch.bfloat16)
        self._check_length(ids.size)
        is_row = rows_of(ids, self.hooked.start_id)
        (rows,) = PairedForward(self.hooked, max_rows=ids.size)(ids, is_row)
        activations = torch.from_numpy(rows.ready()).view(torch.bfloat16)
        tokens = Pieces(self.tokenizer).of(ids[is_row].tolist())
        assert activations.shape[:2] == (len(tokens), len(MODELS))
        return tokens, activations

    def _check_length(self, n_tokens: int) -> None:
        for model in self.hooked.models:
            limit = positions_of(model)
            if limit is not None and n_tokens > limit:
                raise ModelError(
                    f"the text has {n_tokens:,} tokens, but {type(model).__name__} has positions "
                    f"for {limit:,}: give it in shorter pieces"
                )


def _checked(hook_point: Mapping[str, Any]) -> HookPointConfig:
    """The typed hook point; ConfigError for the first value that is refused."""
    try:
        return HookPointConfig.model_validate({**hook_point, "layers": []})
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        if problem["type"] == "missing":
            raise ConfigError(
                f"the hook point has no {key}, expected layer, dtype and attention: add it"
            ) from error
        raise ConfigError(
            f"{key or 'the hook point'} is {problem['input']!r}: {problem['msg'].lower()}"
        ) from error


def _folder(name: str | Path) -> Path:
    """The folder of a model. A name that is no folder is a repository, unless it is spelled as a
    path, whose absence is then told as such."""
    if not isinstance(name, str | Path) or not str(name).strip() or "\0" in str(name):
        raise ModelError(
            f"a model is {name!r:.60}, expected a folder or a repository of the Hub: name one"
        )
    folder = located(str(name))
    is_path = isinstance(name, Path) or str(name).startswith(("/", "~", ".", "$"))
    if is_path or folder.exists() or not REPOSITORY.fullmatch(str(name)):
        return locate_local(LocalModel(kind="local", path=str(name)))
    return locate_hub(HubModel(kind="hub", repo=str(name), revision="main"))
