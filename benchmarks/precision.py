"""Where the loss ends in bf16 and in fp32, on the rows of a run.

    python -m benchmarks.precision --json OUT                       # the run in composed.yaml
    python -m benchmarks.precision +experiment=tiny crosscoder=batch_topk crosscoder.k=12 ...

Needs data/shuffled.zarr. Trains twice from the same start on the same batches, and compares the
mean loss, explained variance and L0 of the last 30 steps.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from pipeline.config import Config, load_config
from pipeline.runtime import resolve_device, set_threads
from pipeline.stage import HELDOUT_ACTIVATIONS, SHUFFLED
from pipeline.store import StoreReader
from pipeline.training.training import Training

LAST_STEPS = 30


def ends(config: Config, precision: str, n_rows: int | None, folder: Path) -> dict[str, float]:
    """Mean figures of the last steps of a run in `precision`."""
    assert config.crosscoder.kind != "pretrained", "nothing is trained"
    changes: dict[str, Any] = {"precision": precision, "log_every_steps": 1}
    if n_rows is not None:
        changes["n_rows"] = n_rows
    with StoreReader.open(SHUFFLED) as source, StoreReader.open(HELDOUT_ACTIVATIONS) as heldout:
        training = Training(
            crosscoder=config.crosscoder,
            train=config.train.model_copy(update=changes),
            source=source,
            heldout=heldout,
            folder=folder,
            device=resolve_device(config.runtime.device),
        )
        run = training.start()
        run.train(lambda *_n, **_figures: None)
    names = [name for name in run.curve[-1] if name.startswith(("loss", "fve", "l0"))]
    last = run.curve[-LAST_STEPS:]
    return {name: statistics.fmean(point[name] for point in last) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rows", type=int, help="rows to train on, else those of the run")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, else composed.yaml")
    arguments = parser.parse_args()
    config = load_config(arguments.overrides)
    set_threads(config.runtime.n_threads)
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            precision: ends(config, precision, arguments.rows, Path(folder) / precision)
            for precision in ("fp32", "bf16")
        }
    ratio = figures["bf16"]["loss"] / figures["fp32"]["loss"]
    found = {"bf16_over_fp32_loss": ratio, "kind": config.crosscoder.kind, **figures}
    print(json.dumps(found, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
