"""What rounds cost: one crosscoder trained on the full permutation and in rounds, seed by seed.

    python -m benchmarks.rounds --json OUT +experiment=tiny crosscoder=batch_topk_k16 [overrides]

Needs data/activations.zarr as a store, data/heldout_activations.zarr, data/models and
data/tokens.zarr. Rounds are cut from the one dump, so all runs see the same rows, once each. A seed
decides the order of the rows and the initial weights. Told are means over the seeds, and the
differences to the full permutation, paired by seed, with 95 % intervals (Student's t).
"""

import argparse
import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.analysis.heldout import as_float
from pipeline.analysis.splicing import (
    HookedModel,
    Predictions,
    Unpatched,
    hooked_pair,
    patched,
)
from pipeline.config import Config, load_config
from pipeline.crosscoder import Crosscoder
from pipeline.models.start import read_start
from pipeline.rounds.order import Order
from pipeline.runtime import numpy_generator, resolve_device, set_threads
from pipeline.shuffle.permutation import Permutation
from pipeline.stage import ACTIVATIONS, HELDOUT_ACTIVATIONS, MODELS, TOKENS
from pipeline.store import StoreReader
from pipeline.store.batches import WHOLE, Part
from pipeline.training.training import Training

N_ROUNDS = (1, 4, 16, 40)
STUDENT_T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571}
"""By degrees of freedom; more seeds than these are seldom worth their time."""


@dataclass(frozen=True)
class Ordered:
    """A RowSource of one epoch: stored rows in a given order, all of them in memory."""

    activations: NDArray[np.uint16]
    order: NDArray[np.int64]

    @property
    def n_rows(self) -> int:
        return len(self.order)

    def batches(
        self,
        batch_rows: int,
        start_row: int = 0,
        stop_row: int | None = None,
        *,
        part: Part = WHOLE,
        **_unused: Any,
    ) -> Any:
        last = self.n_rows if stop_row is None else stop_row
        for first in range(start_row, last, batch_rows):
            wanted = part(min(batch_rows, last - first))
            rows = self.order[first + wanted.start : first + wanted.stop]
            yield {"activations": self.activations[rows]}


def order_of(sequence: NDArray[np.int32], n_rounds: int, seed: int) -> NDArray[np.int64]:
    """Stored rows in the order of training: `n_rounds` rounds, or the full permutation for 1."""
    if n_rounds == 1:
        return Permutation(seed, len(sequence)).sources()
    counts = np.bincount(sequence).astype(np.int32)
    longest = int(counts.max())
    order = Order(seed, 0, counts, -(-len(sequence) // n_rounds) + longest - 1)
    assert order.n_rounds == n_rounds, f"{order.n_rounds} rounds were cut, not {n_rounds}"
    rounds = (order.round(number) for number in range(n_rounds))
    return np.concatenate(
        [
            np.flatnonzero(np.isin(sequence, each.sequences))[
                Permutation(each.seed, each.n_rows).sources()
            ]
            for each in rounds
        ]
    )


def partners(sequence: NDArray[np.int32], batch_rows: int) -> float:
    """Other rows of a row's sequence in its batch, mean over the rows; sequences in row order."""
    met = 0
    for first in range(0, len(sequence), batch_rows):
        counts = Counter(sequence[first : first + batch_rows].tolist())
        met += sum(n * (n - 1) for n in counts.values())
    return met / len(sequence)


class Heldout:
    """Held-out rows and sequences, on which every run is measured alike."""

    def __init__(self, config: Config, n_sequences: int, device: torch.device) -> None:
        self.config, self.device = config, device
        self.pair: tuple[HookedModel, HookedModel] = hooked_pair(
            MODELS, config.hook_point, device, config.runtime.logits_bytes
        )
        with StoreReader.open(TOKENS) as tokens, StoreReader.open(HELDOUT_ACTIVATIONS) as rows:
            split = tokens.read("split")
            heldout = np.flatnonzero(split == split[-1])
            random = numpy_generator(config.seed, "benchmark", "sequences")
            chosen = np.sort(random.choice(heldout, n_sequences, replace=False))
            self.token_ids = torch.from_numpy(tokens.take("token_id", chosen)).long()
            self.x_BMD = as_float(rows.read("activations"), device)

    @torch.inference_mode()
    def figures(self, crosscoder: Crosscoder) -> dict[str, float]:
        """FVE pooled over both models, L0, and what splicing adds to each model's cross entropy."""
        n_active, error, spread = 0, 0.0, 0.0
        mean_MD = self.x_BMD.mean(0)
        for x in self.x_BMD.split(2048):
            n_active += int(crosscoder.encode(x).count_nonzero())
            error += float((crosscoder.reconstruct(x) - x).double().square().sum())
            spread += float((x - mean_MD).double().square().sum())
        found = {"fve": 1 - error / spread, "l0": n_active / len(self.x_BMD)}
        return found | self._delta_ce(crosscoder)

    def _delta_ce(self, crosscoder: Crosscoder) -> dict[str, float]:
        ids = self.token_ids.to(self.device)
        kept = Unpatched(read_start(MODELS).id, None).starts(ids)
        hidden_M = [model.residual(ids) for model in self.pair]
        stacked = torch.stack([hidden.float() for hidden in hidden_M], dim=2)
        rebuilt = crosscoder.reconstruct(stacked.flatten(0, 1)).unflatten(0, stacked.shape[:2])
        nothing = torch.zeros_like(ids)[:, 1:]
        where = Predictions(
            ids[:, 1:], nothing, torch.ones_like(nothing, dtype=torch.bool), n_cells=1
        )
        added = {}
        for m, (name, model) in enumerate(zip(("base", "it"), self.pair, strict=True)):
            spliced = model.continued(ids, patched(hidden_M[m], rebuilt[:, :, m], kept))
            ce_PQ1, _ = where.sums(model.head, model.continued(ids, hidden_M[m]), [spliced])
            added[f"delta_ce_{name}"] = float((ce_PQ1[1] - ce_PQ1[0]).sum() / nothing.numel())
        return added


def trained(config: Config, rows: Ordered, seed: int, heldout: Heldout, folder: Path) -> Crosscoder:
    assert config.crosscoder.kind != "pretrained", "nothing is trained"
    with StoreReader.open(HELDOUT_ACTIVATIONS) as calibration:
        training = Training(
            crosscoder=config.crosscoder.model_copy(update={"seed": seed}),
            train=config.train.model_copy(update={"n_rows": rows.n_rows, "seed": seed}),
            source=rows,
            heldout=calibration,
            folder=folder,
            device=heldout.device,
        )
        run = training.start()
        run.train(lambda *_n, **_figures: None)
        training.write(run, provenance={})
    return Crosscoder.load(folder).to(heldout.device)


def compared(runs: dict[int, list[dict[str, float]]]) -> dict[str, Any]:
    """Per number of rounds and figure: the mean, and the difference to one round with its
    interval."""
    told: dict[str, Any] = {}
    for n_rounds, found in runs.items():
        told[str(n_rounds)] = {}
        for name in found[0]:
            values = np.array([run[name] for run in found])
            apart = values - np.array([run[name] for run in runs[1]])
            half = STUDENT_T_975[len(apart) - 1] * apart.std(ddof=1) / len(apart) ** 0.5
            told[str(n_rounds)][name] = {
                "mean": float(values.mean()),
                "difference": float(apart.mean()),
                "interval": [float(apart.mean() - half), float(apart.mean() + half)],
            }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sequences", type=int, default=64, help="held-out ones, for delta CE")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, else composed.yaml")
    arguments = parser.parse_args()
    config = load_config(arguments.overrides)
    set_threads(config.runtime.n_threads)
    heldout = Heldout(config, arguments.sequences, resolve_device(config.runtime.device))
    with StoreReader.open(ACTIVATIONS) as store:
        activations, sequence = store.read("activations"), store.read("sequence")
    runs: dict[int, list[dict[str, float]]] = {n_rounds: [] for n_rounds in N_ROUNDS}
    for seed in range(arguments.seeds):
        for n_rounds, found in runs.items():
            order = order_of(sequence, n_rounds, seed)
            with tempfile.TemporaryDirectory() as folder:
                rows = Ordered(activations, order)
                crosscoder = trained(config, rows, seed, heldout, Path(folder))
                figures = heldout.figures(crosscoder)
            figures["partners"] = partners(sequence[order], config.train.batch_rows)
            found.append(figures)
            print(json.dumps({"seed": seed, "n_rounds": n_rounds, **figures}), flush=True)
    told = compared(runs)
    print(json.dumps(told, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps({"runs": runs, "compared": told}, indent=2) + "\n")


if __name__ == "__main__":
    main()
