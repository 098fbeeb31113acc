"""LoRA adapters: a PEFT folder that changes the weights of a model it is merged into.

Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685: a
matrix W becomes W + (alpha / rank) B A.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pipeline.errors import ModelError
from pipeline.models.configuration import ADAPTER_FILE, ADAPTER_WEIGHTS, first_line
from pipeline.models.skeleton import read_tensors
from pipeline.runtime import stream_seed

if TYPE_CHECKING:
    from peft import LoraConfig as PeftLora
    from peft import PeftModel
    from transformers import PreTrainedModel

    from pipeline.config.models import LoraConfig

METHOD = "LORA"


def read_adapter(folder: Path) -> PeftLora:
    """The configuration of an adapter. ModelError where the folder holds none, or another method's
    than LoRA."""
    from peft import LoraConfig as PeftLora

    path = folder / ADAPTER_FILE
    try:
        plain = json.loads(path.read_text())
        method = plain["peft_type"]
    except OSError as error:
        raise ModelError(
            f"adapter folder {folder} has no {ADAPTER_FILE}: expected a PEFT folder with "
            f"{ADAPTER_FILE} and {ADAPTER_WEIGHTS}; name another folder"
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{path} is no configuration of an adapter ({first_line(error)}): get it again"
        ) from error
    if method != METHOD or plain.get("alora_invocation_tokens"):
        raise ModelError(
            f"{path} is of method {method}, expected {METHOD}, which can be merged into the "
            "weights: name a LoRA adapter, or merge it elsewhere and use kind: local"
        )
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise ModelError(
            f"adapter folder {folder} has no {ADAPTER_WEIGHTS}: save it as safetensors, or get it "
            "again"
        )
    try:
        return PeftLora.from_pretrained(str(folder))  # pyright: ignore[reportReturnType]
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read by the installed peft ({first_line(error)}): install the peft "
            f"that wrote it ({plain.get('peft_version', 'unknown')})"
        ) from error


def check_adapter(folder: Path, model: PreTrainedModel, base: str) -> None:
    """Raise ModelError unless the adapter in `folder` fits `model`, a skeleton.

    base: the folder or repository of the model, for the message
    """
    from peft import get_peft_model_state_dict

    config = read_adapter(folder)
    _check_base(folder, config, base)
    found = read_tensors(folder / ADAPTER_WEIGHTS)
    wrapped = _wrapped(folder, model, config, base)
    expected: dict[str, Any] = get_peft_model_state_dict(
        wrapped,
        save_embedding_layers=False,  # "auto" would ask the hub about the base's configuration
    )
    for name in sorted(expected.keys() | found.keys()):
        shapes = [tuple(t[name].shape) if name in t else None for t in (expected, found)]
        if shapes[0] != shapes[1]:
            what = "is not there" if shapes[1] is None else f"is of shape {shapes[1]}"
            wanted = "no such tensor" if shapes[0] is None else f"shape {shapes[0]}"
            raise ModelError(
                f"{folder / ADAPTER_WEIGHTS}: tensor {name} {what}, but {base} and {ADAPTER_FILE} "
                f"ask for {wanted}: name the model that the adapter was trained on"
            )


def merged(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with the adapter in `folder` added to its weights, for good.

    The blocks of a model that was cut get theirs; what belongs to the others is left out.
    """
    from peft import PeftModel

    config = read_adapter(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensors for blocks that were cut off
        wrapped = PeftModel.from_pretrained(model, folder, config=config)
        return wrapped.merge_and_unload()  # pyright: ignore[reportCallIssue, reportReturnType]


def with_adapter(model: PreTrainedModel, lora: LoraConfig, seed: int) -> PeftModel:
    """The model frozen, with a new adapter on it to be trained: A random by `seed`, B zero."""
    from peft import LoraConfig as PeftLora

    targets = lora.target_modules
    config = PeftLora(
        r=lora.rank,
        lora_alpha=lora.alpha,  # pyright: ignore[reportArgumentType]
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "models", "adapter"))
        return _wrapped(None, model, config, "the model to be tuned")


def save_adapter(model: PeftModel, of: str, folder: Path) -> None:
    """Write the adapter on a model as a PEFT folder, in equal bytes for equal adapters.

    of: what the adapter says that it was trained on
    """
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink()  # a card that names packages and paths of this machine
    path = folder / ADAPTER_FILE
    plain = json.loads(path.read_text()) | {"base_model_name_or_path": of}
    if isinstance(plain["target_modules"], list):  # a set's order differs from process to process
        plain["target_modules"].sort()
    path.write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n")


def _wrapped(folder: Path | None, model: PreTrainedModel, config: PeftLora, base: str) -> PeftModel:
    from peft import get_peft_model

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return get_peft_model(model, config)  # pyright: ignore[reportReturnType]
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        where = f"{folder / ADAPTER_FILE}" if folder else "lora.target_modules"
        raise ModelError(
            f"{where} does not fit {base} ({first_line(error)}): name the model that the adapter "
            "was made for, or modules that the model has"
        ) from error


def _check_base(folder: Path, config: PeftLora, base: str) -> None:
    """Raise ModelError where both are named as repositories and the names differ.

    A folder may hold anything; there the shapes alone tell.
    """
    stated = config.base_model_name_or_path or ""
    named = [name for name in (stated, base) if name.count("/") == 1 and not Path(name).exists()]
    if len(named) == 2 and _bare(stated) != _bare(base):
        raise ModelError(
            f"{folder / ADAPTER_FILE} says that it was trained on {stated}, but it is put on "
            f"{base}: name {stated} as the model it is of"
        )


def _bare(repo: str) -> str:
    """The model of a repository, whoever copied it and however it was quantised for training."""
    name = repo.split("/")[-1].lower()
    for ending in ("-unsloth-bnb-4bit", "-bnb-4bit", "-bnb-8bit", "-4bit", "-8bit"):
        name = name.removesuffix(ending)
    return name
