"""Load the pair and its tokenizer from `data/models/`, whole or cut off at the hook point."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pipeline.config.models import ModelName
from pipeline.errors import MissingArtifactError, ModelError
from pipeline.models.locate import folder_of
from pipeline.models.records import TOKENIZER_DIR, check_unchanged, read_records

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


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
    folder = folder_of(models_dir, name, record)
    check_unchanged(folder, record)
    return read_model(folder, dtype=dtype, attention=attention, device=device, n_layers=n_layers)


def read_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a Hugging Face folder. ModelError where there is none."""
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{folder} has no tokenizer that transformers can read ({first_line(error)}): "
            "expected tokenizer.json and tokenizer_config.json beside the weights"
        ) from error


def read_model(
    folder: Path,
    *,
    dtype: str,
    attention: str,
    device: torch.device | str,
    n_layers: int | None = None,
) -> PreTrainedModel:
    """The model of a Hugging Face folder, in eval mode; no weight may be missing or misshapen."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder)
            if n_layers is not None:
                config = truncated(config, max(1, n_layers))
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=DTYPES[dtype],
                attn_implementation=attention,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ModelError(
            f"the model in {folder} cannot be loaded with attention {attention} "
            f"({first_line(error)}): check hook_point.attention, or get the folder again"
        ) from error
    model, report = loaded
    if report["missing_keys"]:
        raise ModelError(
            f"the weights in {folder} lack {len(report['missing_keys'])} tensors, such as "
            f"{min(report['missing_keys'])}: get the folder again"
        )
    return model.eval().requires_grad_(False).to(device)


def truncated(config: Any, n_layers: int) -> Any:
    """A copy of a transformers configuration with the first `n_layers` blocks only."""
    config = copy.deepcopy(config)
    text = config.get_text_config()
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:n_layers]
    text.num_hidden_layers = n_layers
    return config


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for a message of our own."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars and load report off the terminal."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
