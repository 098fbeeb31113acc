"""The configuration of a model folder as transformers resolves it, and the shape it stands for.

What `config.json` leaves out has the default of the model's class, and one thing has many names
there (`hidden_size`, `n_embd`, `d_model`), so nothing but the resolved configuration is asked.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ModelError
from pipeline.paths import is_pointer, pointer_remedy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedConfig

CONFIG_FILE = "config.json"
ADAPTER_FILE = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_PATTERNS = (ADAPTER_FILE, ADAPTER_WEIGHTS)
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
"""How a model is named on the Hub, OWNER/NAME."""


@dataclass(frozen=True)
class Shape:
    """d_model: residual width; n_layers: blocks; vocab_size: rows of the embedding
    n_positions: the longest sequence the configuration states, None where it states none"""

    architecture: str
    d_model: int
    n_layers: int
    vocab_size: int
    n_positions: int | None


def read_configuration(folder: Path) -> PreTrainedConfig:
    """The resolved configuration of a model folder. ModelError, by cause, where there is none."""
    from transformers import CONFIG_MAPPING, AutoConfig

    plain = read_config(folder)
    architecture = plain.get("model_type")
    is_known = isinstance(architecture, str) and architecture in CONFIG_MAPPING
    if "auto_map" in plain and not is_known:
        raise ModelError(
            f"model folder {folder} needs code of its own (auto_map in {CONFIG_FILE}), which is "
            "never run here: name a model whose architecture transformers has"
        )
    if not is_known:
        from transformers import __version__

        raise ModelError(
            f"{folder / CONFIG_FILE} has model_type {architecture!r}, which transformers "
            f"{__version__} does not have: name another model, or install a newer transformers"
        )
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the classes of configurations raise many types
        raise ModelError(
            f"{folder / CONFIG_FILE} is no configuration of {architecture!r} "
            f"({first_line(error)}): get the folder again, or name another model"
        ) from error
    _refuse_quantised(folder, config)
    return config


def shape_of(config: PreTrainedConfig, what: object) -> Shape:
    """The shape of a resolved configuration; of a multimodal model, that of its language part.

    what: names the model in the ModelError for a configuration of anything else
    """
    text: Any = config.get_text_config(decoder=True)
    return Shape(
        architecture=config.model_type,
        d_model=_count(text, "hidden_size", what),
        n_layers=_count(text, "num_hidden_layers", what),
        vocab_size=_count(text, "vocab_size", what),
        n_positions=getattr(text, "max_position_embeddings", None),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder as plain data. ModelError where it is missing or broken."""
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError(_not_a_model(folder)) from error
    except (ValueError, RecursionError) as error:
        if is_pointer(path):
            raise ModelError(pointer_remedy(path)) from error
        raise ModelError(
            f"{path} is not JSON ({first_line(error)}): download the model again"
        ) from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds no JSON object: download the model again")
    return config


def first_line(error: BaseException) -> str:
    """The first line of an error's message, and where that only leads to it the next, for a
    message of our own."""
    first, *rest = str(error).strip().splitlines() or [type(error).__name__]
    return f"{first} {rest[0].strip()}" if first.endswith(":") and rest else first


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' warnings, progress bars and load report off the terminal."""
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


def _not_a_model(folder: Path) -> str:
    """Why a path without a `config.json` below it is no model folder."""
    if (folder / ADAPTER_FILE).is_file():
        return (
            f"model folder {folder} holds an adapter ({ADAPTER_FILE}) and no model: name it as "
            "kind: adapter, with the model it belongs to"
        )
    if not folder.exists() and HUB_NAME.fullmatch(str(folder)):
        return (
            f"model folder {folder} does not exist: name another folder, or, for a model of the "
            f"Hub, kind: hub, repo: {folder} and its revision"
        )
    if folder.suffix == ".gguf" or (folder.is_dir() and any(folder.glob("*.gguf"))):
        return (
            f"model folder {folder} is GGUF, which holds quantised weights for other programs: "
            "name the Hugging Face folder that it was made from"
        )
    if folder.is_file():
        what = "is a file"
    else:
        what = f"has no {CONFIG_FILE}" if folder.is_dir() else "does not exist"
    return (
        f"model folder {folder} {what}: expected a Hugging Face folder with {CONFIG_FILE}, "
        "*.safetensors and the tokenizer; name another folder"
    )


def _refuse_quantised(folder: Path, config: PreTrainedConfig) -> None:
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None:
        method = quantised.get("quant_method", "") if isinstance(quantised, dict) else ""
        raise ModelError(
            f"the weights in {folder} are quantised ({method or 'quantization_config'}), expected "
            "bfloat16, float16 or float32: name the model they were made from"
        )


def _count(text: Any, name: str, what: object) -> int:
    value = getattr(text, name, None)
    if not isinstance(value, int) or value < 1:
        raise ModelError(
            f"{what} is a {text.model_type} model, whose {name} is {value!r}: expected the "
            "configuration of a decoder-only language model; name another model"
        )
    return value
