"""One training step of each public trainer on the concatenated vector [B, P], for comparison only.

    pip install sae-lens dictionary-learning eai-sparsify    # in an environment of its own

Each step is the library's own: its loss, optimiser, schedule, clip and dead counters. sparsify's
trainer wants a language model around it, so its step is put together here from its parts. bf16 is
autocast, as the libraries do it. Rows come in fp32, normalised: none pays for what the store holds.
"""

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

K = 32
MANY_ROWS = 10**9
"""Rows that the peers are told they will train on, so that every schedule is at its plateau."""


@dataclass(frozen=True)
class Shape:
    """Batch rows, width of the concatenated vector, latents."""

    batch_rows: int
    width: int
    n_latents: int


def sae_lens(shape: Shape, kind: str, *, autocast: bool) -> Callable[[Tensor], object]:
    """SAELens: `SAETrainer.step` on a `StandardTrainingSAE` or a `BatchTopKTrainingSAE`."""
    package = importlib.import_module("sae_lens")
    config_module = importlib.import_module("sae_lens.config")
    trainer_module = importlib.import_module("sae_lens.training.sae_trainer")
    shared = {"d_in": shape.width, "d_sae": shape.n_latents, "device": "cpu"}
    if kind == "l1":
        sae = package.StandardTrainingSAE(
            package.StandardTrainingSAEConfig(**shared, l1_coefficient=2.0, l1_warm_up_steps=0)
        )
    else:
        sae = package.BatchTopKTrainingSAE(package.BatchTopKTrainingSAEConfig(**shared, k=K))
    trainer = trainer_module.SAETrainer(
        config_module.SAETrainerConfig(
            total_training_samples=MANY_ROWS,
            train_batch_size_samples=shape.batch_rows,
            lr_end=5e-6,
            autocast=autocast,
        ),
        sae,
        data_provider=iter(()),
    )
    return trainer.step


def dictionary_learning(shape: Shape, kind: str, *, autocast: bool) -> Callable[[Tensor], object]:
    """dictionary-learning: `update` of the April-update L1 trainer or of the BatchTopK trainer."""
    shared: dict[str, Any] = {
        "steps": MANY_ROWS,
        "activation_dim": shape.width,
        "dict_size": shape.n_latents,
        "layer": 0,
        "lm_name": "none",
        "device": "cpu",
        "warmup_steps": 1,
    }
    if kind == "l1":
        module = importlib.import_module("dictionary_learning.trainers.standard")
        trainer = module.StandardTrainerAprilUpdate(**shared, sparsity_warmup_steps=None)
    else:
        module = importlib.import_module("dictionary_learning.trainers.batch_top_k")
        trainer = module.BatchTopKTrainer(**shared, k=K)
    step = 2000  # past the warm-up, and where its running threshold is kept

    def update(x: Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            trainer.update(step, x)

    return update


def sparsify(shape: Shape, kind: str, *, autocast: bool) -> Callable[[Tensor], object]:
    """sparsify: its TopK `SparseCoder`, with the calls that its trainer makes around it."""
    assert kind == "topk", kind
    package = importlib.import_module("sparsify")
    config = package.SparseCoderConfig(num_latents=shape.n_latents, k=K)
    sae = package.SparseCoder(shape.width, config)
    optimiser = torch.optim.Adam(sae.parameters(), lr=5e-5)
    silent_rows = torch.zeros(shape.n_latents, dtype=torch.long)

    def step(x: Tensor) -> None:
        sae.set_decoder_norm_to_unit_norm()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = sae(x, dead_mask=silent_rows > 10_000_000)
        (out.fvu + out.auxk_loss / 32).backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimiser.step()
        optimiser.zero_grad()
        silent_rows.add_(len(x))
        silent_rows[out.latent_indices.flatten()] = 0
        float(out.fvu)

    return step


Step = Callable[..., Callable[[Tensor], object]]
PEERS: dict[str, tuple[str, Step, tuple[str, ...]]] = {
    "sae_lens": ("sae-lens", sae_lens, ("l1", "batch_topk")),
    "dictionary_learning": ("dictionary-learning", dictionary_learning, ("l1", "batch_topk")),
    "sparsify": ("eai-sparsify", sparsify, ("topk",)),
}


def peer_candidates(shape: Shape, x_BP: Tensor) -> dict[str, Callable[[], Callable[[], None]]]:
    """Makers of a step of every peer that is installed, by `peer_variant_precision`."""
    makers: dict[str, Callable[[], Callable[[], None]]] = {}
    for module, (distribution, make, kinds) in PEERS.items():
        if importlib.util.find_spec(module) is None:
            sys.stderr.write(f"{module} is left out: pip install {distribution} to measure it\n")
            continue
        for kind in kinds:
            for precision in ("fp32", "bf16"):
                name = f"{module}_{kind}_{precision}"
                makers[name] = partial(_bound, make, shape, kind, precision, x_BP)
    return makers


def _bound(make: Step, shape: Shape, kind: str, precision: str, x_BP: Tensor) -> Callable[[], None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step = make(shape, kind, autocast=precision == "bf16")

    def one() -> None:
        step(x_BP)

    return one


def over_fastest_peer(seconds: dict[str, float]) -> dict[str, float]:
    """Our step over the fastest peer's of the same family (dense or TopK), by precision."""
    ratios: dict[str, float] = {}
    for ours, family in (("l1", ("l1",)), ("batch_topk", ("batch_topk", "topk"))):
        for precision in ("fp32", "bf16"):
            theirs = [
                value
                for name, value in seconds.items()
                for kind in family
                if name in {f"{peer}_{kind}_{precision}" for peer in PEERS}
            ]
            if theirs:
                ratios[f"{ours}_over_fastest_peer_{precision}"] = seconds[
                    f"{ours}_{precision}"
                ] / min(theirs)
    return ratios
