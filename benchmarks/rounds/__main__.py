"""Train every arm under every seed on one dump, and tell how rounds differ from the full
permutation.

    python -m benchmarks.rounds --json OUT +experiment=tiny crosscoder=batch_topk_k16 [overrides]

Needs data/activations.zarr as a store, data/heldout_activations.zarr, data/models and
data/tokens.zarr. Rounds are cut from the one dump, so all runs see the same rows equally often. A
seed decides the order of the rows and the initial weights. Told are means over the seeds, and the
differences to the full permutation, paired by seed, with 95 % intervals (Student's t). What two
runs have in common is told of each run and the full permutation under the next seed.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import special

from benchmarks.rounds.measured import Heldout, Measured
from benchmarks.rounds.orders import Arm, Ordered, order_of, partners
from pipeline.config import Config, load_config
from pipeline.crosscoder import Crosscoder
from pipeline.runtime import resolve_device, set_threads
from pipeline.stage import ACTIVATIONS, HELDOUT_ACTIVATIONS
from pipeline.store import StoreReader
from pipeline.training.training import Training

ARMS = "1,4,16,40"


def trained(
    config: Config, rows: Ordered, seed: int, heldout: StoreReader, device: torch.device
) -> Crosscoder:
    """The crosscoder of one run; normalisation factors are measured on the first round."""
    assert config.crosscoder.kind != "pretrained", "nothing is trained"
    changed = {"n_rows": rows.n_rows, "seed": seed, "normalisation_rows": len(rows.first)}
    with tempfile.TemporaryDirectory() as folder:
        training = Training(
            crosscoder=config.crosscoder.model_copy(update={"seed": seed}),
            train=config.train.model_copy(update=changed),
            source=rows,
            heldout=heldout,
            folder=Path(folder),
            device=device,
        )
        run = training.start()
        run.train(lambda *_n, **_figures: None)
        training.write(run, provenance={})
        return Crosscoder.load(folder).to(device)


def runs_of(
    arm: Arm, n_seeds: int, n_epochs: int, heldout: Heldout, device: torch.device
) -> list[Measured]:
    """A run of one arm under each seed, measured."""
    config, runs = heldout.config, []
    with StoreReader.open(ACTIVATIONS) as store:
        activations, sequence = store.read("activations"), store.read("sequence")
    for seed in range(n_seeds):
        order, first = order_of(sequence, arm, seed, n_epochs)
        rows = Ordered(activations, order, first)
        run = heldout.measured(trained(config, rows, seed, heldout.reader, device), rows)
        run.figures["partners"] = partners(sequence[order], config.train.batch_rows)
        print(json.dumps({"arm": str(arm), "seed": seed, **run.figures}), flush=True)
        runs.append(run)
    return runs


def compared(figures: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Per arm and figure: the mean, and the difference to the first arm with its interval."""
    told: dict[str, Any] = {}
    references = next(iter(figures.values()))
    for arm, found in figures.items():
        told[arm] = {}
        for name in found[0]:
            values = np.array([run[name] for run in found])
            apart = values - np.array([run[name] for run in references])
            t = float(special.stdtrit(len(apart) - 1, 0.975))
            half = t * apart.std(ddof=1) / len(apart) ** 0.5
            told[arm][name] = {
                "mean": float(values.mean()),
                "difference": float(apart.mean()),
                "interval": [float(apart.mean() - half), float(apart.mean() + half)],
            }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--seeds", type=int, default=3, help="2 or more")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--sequences", type=int, default=64, help="held-out ones, for delta CE")
    parser.add_argument("--arms", default=ARMS, help="numbers of rounds; 16+0.5 carries half over")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, else composed.yaml")
    asked = parser.parse_args()
    config = load_config(asked.overrides)
    set_threads(config.runtime.n_threads)
    device = resolve_device(config.runtime.device)
    runs: dict[str, list[Measured]] = {}
    answer: dict[str, Any] = {}
    with StoreReader.open(HELDOUT_ACTIVATIONS) as reader:
        heldout = Heldout(config, reader, asked.sequences, device)
        for arm in map(Arm.parse, asked.arms.split(",")):
            runs[str(arm)] = found = runs_of(arm, asked.seeds, asked.epochs, heldout, device)
            for seed, run in enumerate(found):
                other = next(iter(runs.values()))[(seed + 1) % asked.seeds]
                run.figures.update(run.beside(other, config.changes.same_cosine))
            told = {name: [run.figures for run in of_arm] for name, of_arm in runs.items()}
            answer = {"runs": told, "compared": compared(told)}
            if asked.json:
                asked.json.write_text(json.dumps(answer, indent=2) + "\n")
    print(json.dumps(answer["compared"], indent=2))


if __name__ == "__main__":
    main()
