"""The parts of the check in their order: first whether it is right, then how fast it is."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_check import graph, models, products, ranks, speed, steps
from benchmarks.gpu_check.checks import Checks, Part


def right(device: torch.device, folder: Path) -> Mapping[str, Part]:
    """What needs no clock, on any device."""
    return {
        "products": partial(products.agree, device),
        "updates": partial(steps.updates_agree, device),
        "training steps": partial(steps.agree, device),
        "dump": partial(models.dump_agrees, device),
        "tuning": partial(models.tuning_agrees, device),
        "two ranks": partial(ranks.two_ranks, device),
        "smoke": partial(graph.agree, device, folder / "smoke"),
    }


def fast(device: torch.device) -> Mapping[str, Part]:
    """What only a CUDA card can tell."""
    return {
        "waits": partial(steps.waits, device),
        "flex attention": partial(models.flex_agrees, device),
        "uploads": partial(speed.uploads, device),
        "products at size": partial(products.speed, device),
        "updates at size": partial(speed.updates, device),
        "steps at size": partial(speed.steps, device),
        "dump at size": partial(speed.dumps, device),
    }


def checked(
    device: torch.device, folder: Path, seconds: float, wanted: Sequence[str]
) -> dict[str, Any]:
    """Run the wanted parts; what was found, as plain data."""
    checks = Checks(seconds)
    parts: dict[str, Part] = {}
    parts |= right(device, folder) if "right" in wanted else {}
    parts |= fast(device) if "fast" in wanted else {}
    for name, part in parts.items():
        checks.run(name, part)
    return {"machine": machine(device), "findings": checks.plain(), "failed": checks.failed}


def machine(device: torch.device) -> dict[str, Any]:
    on_gpu = device.type == "cuda"
    card = torch.cuda.get_device_name(device) if on_gpu else str(device)
    return {"card": card, "torch": torch.__version__, "cuda": torch.version.cuda}
