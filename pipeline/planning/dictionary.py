"""Number of latents of the experiment's crosscoder, also of a finished one, without its weights."""

import json
from pathlib import Path

from pipeline.config.crosscoder import CrosscoderConfig, PretrainedConfig
from pipeline.paths import located
from pipeline.planning.model_size import cached_hub_file

SIZE_KEYS = {"config.json": ("n_latents", "dict_size"), "cfg.json": ("dict_size",)}
"""Where each layout of crosscoders tells its size: this project's and the two public ones."""
WEIGHTS = ("weights.safetensors", "model.safetensors", "cc_weights.pt")


def n_latents_of(crosscoder: CrosscoderConfig) -> int:
    """Latents of the crosscoder; 0 where nothing on this machine tells a finished one's size."""
    if crosscoder.n_latents is not None:
        return crosscoder.n_latents
    assert crosscoder.kind == "pretrained", "only a finished crosscoder may leave its size open"
    return next((int(plain[key]) for plain, key in _told(crosscoder)), 0)


def _told(crosscoder: PretrainedConfig) -> list[tuple[dict, str]]:
    """Parsed files beside the weights, each with the key in it that tells the size."""
    files = [(crosscoder_file(crosscoder, name), keys) for name, keys in SIZE_KEYS.items()]
    parsed = [(json.loads(file.read_text()), keys) for file, keys in files if file]
    return [(plain, key) for plain, keys in parsed for key in keys if key in plain]


def crosscoder_file(crosscoder: PretrainedConfig, name: str) -> Path | None:
    """A file of a finished crosscoder on this machine: in its folder or the local hub cache."""
    subfolder = crosscoder.subfolder or ""
    if crosscoder.path is None:
        return cached_hub_file(crosscoder, str(Path(subfolder) / name))
    file = located(crosscoder.path) / subfolder / name
    return file if file.is_file() else None


def is_here(crosscoder: PretrainedConfig) -> bool:
    """Whether a finished crosscoder is on this machine; a trainer's own `.pt` file counts too."""
    if crosscoder.path is not None:
        path = Path(crosscoder.path, crosscoder.subfolder or "")
        if path.is_file() or any(path.glob("*.pt")):
            return True
    return any(crosscoder_file(crosscoder, name) for name in WEIGHTS)
