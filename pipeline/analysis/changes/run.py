"""The list of changes: found on training rows, measured and read on held-out ones."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.analysis.changes.judge import judge
from pipeline.analysis.changes.measure import Changes, measure
from pipeline.analysis.changes.result import ChangeList
from pipeline.analysis.changes.search import find_lines
from pipeline.analysis.changes.surroundings import surroundings
from pipeline.analysis.changes.table import entry, frame, order, summary
from pipeline.analysis.heldout import spread_rows
from pipeline.analysis.opening import Opened
from pipeline.rounds.opening import training_rows
from pipeline.runtime import generator
from pipeline.stage import HELDOUT_ACTIVATIONS

if TYPE_CHECKING:
    import pandas as pd


def find(opened: Opened, folder: Path) -> dict[str, int]:
    """Find the directions on training rows and write them; counts of the manifest."""
    config, device = opened.config, opened.device
    section = config.changes
    with training_rows(config, n_threads=config.runtime.io_threads) as rows:
        x_TMD = spread_rows(rows.sample, section.n_find_rows, section.batch_rows, device)
    lines = find_lines(x_TMD, section, generator(section.seed, "changes", "starts"))
    lines.save(folder)
    return {"n_rows": len(x_TMD), "n_lines": len(lines.change_L), "n_changes": lines.n_changes}


def list_changes(opened: Opened) -> "tuple[ChangeList, pd.DataFrame]":
    """The list of what was found, and its table with directions."""
    section = opened.config.changes
    changes = Changes.found(opened.device)
    with opened.reader(HELDOUT_ACTIVATIONS) as reader:
        sums = measure(changes, reader, section, opened.ranks)
    judgement = judge(sums, section)
    listed = order(judgement)
    beside = surroundings(opened, changes, listed, sums.n_active_GJ.sum(axis=0))
    entries = [
        entry(
            rank,
            change,
            judgement,
            sums,
            beside[change],
            section,
            broad=change in changes.lines.broad_changes,
        )
        for rank, change in enumerate(listed, start=1)
    ]
    return summary(entries, judgement, sums, section), frame(entries, changes, sums)
