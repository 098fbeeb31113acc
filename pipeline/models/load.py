"""Load the pair and its tokenizer from `data/models/`, whole or cut off at the hook point."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pipeline.config.models import ModelName
from pipeline.errors import MissingArtifactError, ModelError
from pipeline.models.adapter import merged
from pipeline.models.configuration import first_line, quiet, read_configuration
from pipeline.models.locate import folder_of
from pipeline.models.records import (
    TOKENIZER_DIR,
    adapter_digests,
    check_unchanged,
    file_digests,
    read_records,
)
from pipeline.models.skeleton import check_complete, shortened, try_loading
from pipeline.paths import is_pointer, pointer_remedy

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
VOCABULARIES = ("tokenizer.json", "tekken.json", "*.model", "*.tiktoken", "vocab.json", "vocab.txt")


def load_tokenizer(models_dir: Path) -> PreTrainedTokenizerFast:
    """The tokenizer both models share."""
    folder = models_dir / TOKENIZER_DIR
    if not folder.is_dir():
        raise MissingArtifactError(f"{folder} not found: run `dvc repro models`")
    return read_tokenizer(folder)


def load_model(
    models_dir: Path,
    name: ModelName,
    *,
    dtype: str,
    attention: str,
    device: torch.device | str,
    n_layers: int | None = None,
) -> PreTrainedModel:
    """The base or IT model in eval mode; with `n_layers`, only its first blocks (at least one).

    Raises ModelError where its files differ from those the models stage recorded.
    """
    record = read_records(models_dir)[name]
    folder = folder_of(models_dir, record)
    check_unchanged(folder, file_digests(folder), record.files)
    adapter = None
    if record.adapter is not None:
        adapter = folder_of(models_dir, record.adapter)
        check_unchanged(adapter, adapter_digests(adapter), record.adapter.files)
    return read_model(
        folder,
        dtype=dtype,
        attention=attention,
        device=device,
        n_layers=n_layers,
        adapter=adapter,
    )


def read_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a Hugging Face folder. ModelError, by cause, where there is none."""
    from transformers import AutoTokenizer

    if not any(path for pattern in VOCABULARIES for path in folder.glob(pattern)):
        raise ModelError(
            f"{folder} has no tokenizer: expected one of {', '.join(VOCABULARIES)} beside the "
            "weights; get the folder again, or copy the tokenizer of its family into it"
        )
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # sentencepiece, tiktoken and JSON readers raise many types
        for pattern in VOCABULARIES:
            for path in filter(is_pointer, folder.glob(pattern)):
                raise ModelError(pointer_remedy(path)) from error
        raise ModelError(
            f"{folder} has no tokenizer that transformers can read ({first_line(error)}): "
            "expected tokenizer.json and tokenizer_config.json beside the weights"
        ) from error


def read_model(
    folder: Path,
    *,
    dtype: str,
    attention: str | None,
    device: torch.device | str,
    n_layers: int | None = None,
    adapter: Path | None = None,
) -> PreTrainedModel:
    """The model of a Hugging Face folder, in eval mode; no weight may be missing or misshapen.

    attention: None or "auto" for what the architecture prefers
    n_layers: of the blocks that are needed; a model that cannot be cut there is loaded whole
    adapter: a PEFT folder to merge into it, in float32 whatever the dtype asked for
    """
    from transformers import AutoModelForCausalLM

    config = read_configuration(folder)
    if n_layers is not None:
        config = shortened(config, max(1, n_layers), folder)
    attention = None if attention == "auto" else attention
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=DTYPES[dtype] if adapter is None else torch.float32,
                attn_implementation=attention,
                output_loading_info=True,
                trust_remote_code=False,
            )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        try_loading(folder, attention)  # tells the cause where it knows it
        raise ModelError(
            f"the model in {folder} cannot be loaded ({first_line(error)}): get the folder again"
        ) from error
    read, report = loaded
    check_complete(report, folder)
    model: Any = read if adapter is None else _adapted(read, adapter, DTYPES[dtype])
    return model.eval().requires_grad_(False).to(device)


def _adapted(model: PreTrainedModel, adapter: Path, dtype: torch.dtype) -> PreTrainedModel:
    """A float32 model with the adapter merged into its weights, and these cast to `dtype`."""
    model = merged(model, adapter)
    for parameter in model.parameters():
        # Weights alone: transformers keeps buffers such as the rotary frequencies in float32, and
        # rounding them in one model of a pair would be a difference that no training made.
        parameter.data = parameter.data.to(dtype)
    return model
