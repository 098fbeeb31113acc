"""Sparsity against fidelity for every variant, on one store: L0 against FVE and against delta CE.

    python -m stages.frontier                   # of the experiment in params.yaml
    python -m stages.frontier +experiment=tiny frontier=short

reads   data/models, data/tokens.zarr, data/shuffled.zarr, data/heldout_activations.zarr
writes  data/frontier/POINT/: one workspace per point, with its crosscoder and evaluation;
        results/frontier.json (by variant), .csv, .png and .svg
cost    for each point a training and an evaluation; points that are done are not done again, and a
        killed one goes on where it was. Where training rows come in rounds, each point makes them
        all again. No stage of the graph: nothing depends on it
"""

import json
import sys
from pathlib import Path

from pipeline.config import Config, compose
from pipeline.config.compose import params_overrides
from pipeline.config.validation import SweepConfig
from pipeline.errors import ConfigError
from pipeline.progress import Progress
from pipeline.stage import MADE_BY, RESULTS, Stage, paths_of, run
from pipeline.workspace import Workspace

STAGE = Stage(
    name="frontier",
    sections=("frontier", "train", "evaluate"),
    inputs=paths_of("models", "tokens", "shuffled", "heldout_activations"),
    results=("frontier.json", "frontier.csv", "frontier.png", "frontier.svg"),
    resumes=True,
    format_version=2,
    memory_keys=("train.batch_rows",),
)
WORKSPACES = Path("data/frontier")


def main(config: Config) -> None:
    from pipeline.analysis.charts import FILE_PALETTE, image_files
    from pipeline.columns import csv_bytes
    from pipeline.validation.charts import frontier_figure
    from pipeline.validation.frontier import COLUMNS, frontier_table, nested

    overrides = {
        (variant, value): point_overrides(config, variant, sweep, value)
        for variant, sweep in config.frontier.sweeps.items()
        for value in sweep.values
    }
    for name in STAGE.inputs:
        STAGE.input(config, name)
    found = {}
    with Progress("frontier", total=len(overrides), unit="points") as progress:
        for (variant, value), chosen in overrides.items():
            found[variant, value] = evaluated(variant, value, chosen)
            progress.advance(1)
    table = frontier_table(found)
    figure = frontier_figure(table, FILE_PALETTE)
    STAGE.publish_results(
        config,
        {
            "frontier.json": {"columns": COLUMNS, "variants": nested(table)},
            "frontier.csv": csv_bytes(table),
            **image_files("frontier", figure),
        },
    )


def point_overrides(config: Config, variant: str, sweep: SweepConfig, value: float) -> list[str]:
    """The overrides of one point, composed once on trial: the sweep's variant and the frontier's
    overrides, then the user's own, which prevail, then the keys that the sweep sets.

    Raises ConfigError where they cannot be composed, before any point is trained.
    """
    own = sys.argv[1:] or params_overrides()
    overrides = [
        f"crosscoder={sweep.crosscoder}",
        *sweep.overrides,
        *config.frontier.overrides,
        *(o for o in own if key_of_override(o) not in ("crosscoder", *sweep.keys)),
        *(f"{key}={value}" for key in sweep.keys),
    ]
    try:
        compose(overrides)
    except ConfigError as error:
        raise ConfigError(
            f"frontier.sweeps.{variant} cannot be run at {value:g}: {error}"
        ) from error
    return overrides


def key_of_override(override: str) -> str:
    """The key that an override sets."""
    return override.lstrip("+~").partition("=")[0]


def evaluated(variant: str, value: float, overrides: list[str]) -> dict:
    """`results/evaluation.json` of one point, trained and evaluated in its own workspace."""
    linked = {path: MADE_BY[path] for path in STAGE.inputs.values()}
    workspace = Workspace(WORKSPACES / f"{variant}_{value:g}", linked)
    workspace.run(["train", "evaluate"], overrides)
    return json.loads((workspace.path / RESULTS / "evaluation.json").read_text())


if __name__ == "__main__":
    run(STAGE, main)
