"""The runs that made what the page shows."""

from pathlib import Path

from pipeline.run_records import RESULT, RunRecord, find
from pipeline.stage import MADE_BY

NOT_SHOWN = ("report", "frontier", "validation", "edits")
"""Stages of which the page shows no result: itself, and those outside the graph."""


def recorded(results: Path) -> list[RunRecord]:
    """What is known of the runs behind the artifacts and results as they are now, one of a stage,
    the oldest first."""
    made = {path: path.name.removesuffix(RESULT) for path in results.glob(f"*{RESULT}")} | MADE_BY
    found: dict[str, RunRecord] = {}
    for path, stage in sorted(made.items()):
        run = find(stage, path)
        if run and stage not in NOT_SHOWN:
            found.setdefault(stage, run)
    return sorted(found.values(), key=lambda run: (run.began, run.stage))
