"""A model without its weights: every module and shape, on torch's meta device.

Built from the configuration and the headers of the weight files alone, in a second or two however
large the model, by the same code of transformers that loads the weights. So what could not be
loaded is found here, before anything long begins.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pipeline.errors import ModelError
from pipeline.models.configuration import first_line, quiet, read_configuration
from pipeline.models.hook import blocks
from pipeline.paths import is_pointer, pointer_remedy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedConfig, PreTrainedModel

INDEX_FILE = "model.safetensors.index.json"
ONE_FILE = "model.safetensors"
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "BOOL": torch.bool,
}
SPARE_POSITIONS = 8  # learned tables keep a few more than they state: OPT's has 2


def try_loading(folder: Path, attention: str | None) -> PreTrainedModel:
    """The model of a folder on the meta device, as `read_model` would load it.

    attention: of `hook_point`, None for what the architecture prefers
    Raises ModelError, worded by its cause, where it could not be loaded.
    """
    return _with_headers(read_configuration(folder), folder, attention)


def skeleton(config: PreTrainedConfig, attention: str | None = None) -> PreTrainedModel:
    """The model of a configuration with every shape and no weight.

    Raises ModelError for an architecture without a language model, and for an attention that the
    architecture, or this machine, lacks.
    """
    try:
        return _build(config, attention)
    except Exception as error:  # a configuration can make a constructor raise anything
        if attention is None:
            raise ModelError(_no_model(config, error)) from error
        skeleton(config)  # tells what is wrong where it is not the attention
        raise ModelError(
            f"hook_point.attention is {attention}, which {config.model_type} cannot run here "
            f"({first_line(error)}): set hook_point.attention=auto, or another one"
        ) from error


def read_headers(folder: Path) -> dict[str, Tensor]:
    """Name -> empty tensor on the meta device, for each tensor of the folder's weight files.

    Raises ModelError for a file that is missing, cut off or no safetensors.
    """
    headers: dict[str, Tensor] = {}
    for path in weight_files(folder):
        headers |= read_tensors(path)
    return headers


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Name -> empty tensor of one safetensors file. ModelError where it is cut off or none."""
    from safetensors import SafetensorError, safe_open

    headers: dict[str, Tensor] = {}
    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                entry = file.get_slice(name)
                dtype = DTYPES.get(entry.get_dtype(), torch.uint8)
                headers[name] = torch.empty(entry.get_shape(), dtype=dtype, device="meta")
    except (SafetensorError, OSError) as error:
        if is_pointer(path):
            raise ModelError(pointer_remedy(path)) from error
        raise ModelError(
            f"{path} ({path.stat().st_size} bytes) is cut off or no safetensors file "
            f"({first_line(error)}): get it again"
        ) from error
    return headers


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers takes the weights from. ModelError where one is not there."""
    if (folder / ONE_FILE).is_file():
        return [folder / ONE_FILE]
    index = folder / INDEX_FILE
    if not index.is_file():
        raise ModelError(_no_weights(folder))
    try:
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        if not all(isinstance(shard, str) for shard in shards):
            raise TypeError("a name of a file is no text")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(
            f"{index} is no index of weight files ({first_line(error)}): get it again"
        ) from error
    for shard in shards:
        if not (folder / shard).is_file():
            raise ModelError(
                f"{folder / shard} not found, one of {len(shards)} files that {index.name} "
                "names: get it again"
            )
    return [folder / shard for shard in shards]


def shortened(config: PreTrainedConfig, n_layers: int, folder: Path) -> PreTrainedConfig:
    """The configuration with the first `n_layers` blocks alone, or as it is where the model cannot
    be cut: where the blocks that stay would get other weights, or do something else."""
    whole = skeleton(config)
    if n_layers >= len(blocks(whole)):
        return config
    try:
        short_config = truncated(config, n_layers)
        short = _with_headers(short_config, folder)
    except Exception:  # each family has its own way to object to another depth
        return config
    pairs = zip(blocks(short), blocks(whole), strict=False)
    return short_config if all(_alike(one, other) for one, other in pairs) else config


def truncated(config: PreTrainedConfig, n_layers: int) -> PreTrainedConfig:
    """A copy of a transformers configuration with the first `n_layers` blocks only."""
    config = copy.deepcopy(config)
    text: Any = config.get_text_config(decoder=True)
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == text.num_hidden_layers:  # one entry a block
            setattr(text, name, value[:n_layers])
    text.num_hidden_layers = n_layers
    return config


def position_table(model: PreTrainedModel, n_positions: int | None) -> int | None:
    """How many positions the model has a table for; None where positions are computed as needed.

    A table is an embedding beside that of the tokens, or a buffer (a causal mask, sines kept), with
    an axis of as many entries as the configuration states, or a few more.
    """
    if n_positions is None:
        return None
    tokens = model.get_input_embeddings()
    learned = [
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module is not tokens
    ]
    for table in (*learned, *model.buffers()):
        spare = {size - n_positions for size in table.shape} if table.ndim > 1 else set()
        if spare & set(range(SPARE_POSITIONS + 1)):
            return n_positions
    return None


def positions_of(model: PreTrainedModel) -> int | None:
    """`position_table` of a model, by what its own configuration states."""
    text: Any = model.config.get_text_config()
    return position_table(model, getattr(text, "max_position_embeddings", None))


def _build(config: PreTrainedConfig, attention: str | None) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    chosen = {} if attention is None else {"attn_implementation": attention}
    with quiet(), torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            copy.deepcopy(config), trust_remote_code=False, **chosen
        )


def _with_headers(
    config: PreTrainedConfig, folder: Path, attention: str | None = None
) -> PreTrainedModel:
    """The skeleton after transformers has put the files' tensors in their places."""
    headers = read_headers(folder)
    empty = skeleton(config, attention)
    _check_plain(empty, headers, folder)
    try:
        with quiet():
            loaded: Any = type(empty).from_pretrained(
                None,
                config=empty.config,
                state_dict=headers,
                device_map={"": "meta"},
                output_loading_info=True,
            )
    except (RuntimeError, ValueError) as error:
        misfit = _misfit(empty, headers, error)
        raise ModelError(
            f"the weights in {folder} do not fit its config.json ({misfit}): get the folder again"
        ) from error
    model, report = loaded
    check_complete(report, folder)
    return model


def _no_model(config: PreTrainedConfig, error: Exception) -> str:
    """Why no model comes of a configuration: its family has none, or its values fit none."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return (
            f"{config.model_type} is no decoder-only language model of transformers "
            f"({first_line(error)}): name another model"
        )
    return (
        f"no {config.model_type} can be built from config.json ({first_line(error)}): get the "
        "folder again, or mend its values"
    )


def _check_plain(model: PreTrainedModel, headers: Mapping[str, Tensor], folder: Path) -> None:
    """Raise ModelError where a tensor of the files holds whole numbers in place of others: loading
    would read codes as weights."""
    for name, wanted in model.state_dict().items():
        found = headers.get(name, wanted)
        if wanted.is_floating_point() and not found.is_floating_point():
            raise ModelError(
                f"the weights in {folder} are packed or quantised ({name} holds whole numbers), "
                "expected bfloat16, float16 or float32: name the model that they were made from"
            )


def _misfit(model: PreTrainedModel, headers: Mapping[str, Tensor], error: Exception) -> str:
    """The first tensor of another shape than the model asks for; else what transformers says."""
    for name, wanted in model.state_dict().items():
        found = headers.get(name, wanted)
        if found.shape != wanted.shape:
            return f"{name} has shape {tuple(found.shape)}, expected {tuple(wanted.shape)}"
    return first_line(error)


def check_complete(report: Mapping[str, Any], folder: Path) -> None:
    """Raise ModelError where transformers' report on a loading tells of missing weights."""
    if report["missing_keys"]:
        raise ModelError(
            f"the weights in {folder} lack {len(report['missing_keys'])} tensors, such as "
            f"{min(report['missing_keys'])}: get the folder again"
        )


def _alike(one: nn.Module, other: nn.Module) -> bool:
    """Whether two blocks are built alike and hold the same plain settings."""
    modules, others = list(one.modules()), list(other.modules())
    return len(modules) == len(others) and all(
        type(a) is type(b) and _settings(a) == _settings(b)
        for a, b in zip(modules, others, strict=True)
    )


def _settings(module: nn.Module) -> dict[str, Any]:
    plain = (int, float, str, tuple, type(None))
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, plain) and name != "training" and not name.startswith("_")
    }


def _no_weights(folder: Path) -> str:
    if not folder.is_dir():
        return f"model folder {folder} does not exist: name another folder, or bring it back"
    found = sorted(p.name for p in folder.glob("*") if p.suffix in (".bin", ".pt", ".gguf", ".pth"))
    beside = f" (found {found[0]})" if found else ""
    return (
        f"model folder {folder} has no {ONE_FILE} and no {INDEX_FILE}{beside}: expected weights in "
        "safetensors; convert them, or name another folder"
    )
