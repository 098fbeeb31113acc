"""The truth of an edit from its effect."""

import torch

from pipeline.analysis.edits.effects import truth_of
from tests.analysis.changes.worlds import section, world

TOKEN = 3


def test_rows_on_which_an_edit_is_faint_do_not_hide_that_it_turns_a_token() -> None:
    """They are four times as many as the token's, of every kind, and have nothing in common."""
    rows = world(1)
    every = torch.arange(len(rows.token))
    faint = (every % 10 == 0).float()[:, None] * (1 - rows.on(TOKEN))
    effect = (3.0 * rows.on(TOKEN) + 1.1 * faint) * rows.direction[0]
    square = float(effect.square().sum())
    block = every % section().n_blocks
    assert truth_of("token", effect, rows.base, square, block, section()).kind == "turned"
