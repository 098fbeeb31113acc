"""Whose a shift of the mean is: its own, or that of changes which write a little on every row."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.analysis.changes.everywhere import with_own_shift
from pipeline.analysis.changes.judge import judge
from pipeline.analysis.changes.lines import Lines, code, differences
from pipeline.analysis.changes.measure import Changes, measure
from pipeline.analysis.changes.search import find_lines
from pipeline.analysis.changes.table import order
from tests.analysis.changes.worlds import World, section, world
from tests.analysis.stores import heldout_store

D = 8
LEVEL = 2.0
LINES = torch.eye(D)[:2]
COSINE = 0.3


def lines_with(shift_D: Tensor) -> Lines:
    """Two narrow lines, each at LEVEL where it acts, and a shift."""
    none_K = torch.zeros(0)
    return Lines(
        mean_MD=torch.zeros(2, D),
        shift_D=shift_D,
        faint_D=torch.zeros(D),
        scale=torch.tensor(0.0),
        direction_LD=LINES,
        change_L=torch.arange(2),
        reader_KD=torch.zeros(0, D),
        offset_K=none_K,
        spread_K=none_K,
        weight_L=torch.full((2,), LEVEL**2),
        fourth_L=torch.full((2,), LEVEL**4),
    )


def vector(*values: float) -> Tensor:
    return torch.tensor([*values, *[0.0] * (D - len(values))])


@pytest.mark.parametrize("rest", [0.0, 0.2])
def test_a_shift_that_lines_make_up_faintly_either_way_round_is_theirs(rest: float) -> None:
    shift_D = vector(-0.3, 0.3, rest)
    lines = with_own_shift(lines_with(shift_D), COSINE)
    assert not lines.shift_D.any()
    assert torch.equal(lines.faint_D, shift_D)


@pytest.mark.parametrize(
    "shift_D",
    [vector(0.0, 0.0, 0.3), vector(0.2, 0.0, 0.3), vector(-5.0)],
    ids=["across", "mostly across", "along a line, and not faint"],
)
def test_any_other_shift_is_a_change_of_its_own(shift_D: Tensor) -> None:
    lines = with_own_shift(lines_with(shift_D), COSINE)
    assert torch.equal(lines.shift_D, shift_D)
    assert not lines.faint_D.any()


def neurons(of: World, seed: int) -> Tensor:
    """Pair in which IT writes two new directions, each fully on its own rows and a little, the
    other way round, on all the rest."""
    random = torch.Generator().manual_seed(seed)
    fires = torch.rand(len(of.base), 2, generator=random) < 0.1
    return of.pair(of.base + torch.where(fires, 2.5, -0.15) @ of.direction[:2])


def test_what_two_neurons_write_everywhere_is_no_entry_beside_them(tmp_path: Path) -> None:
    lines = find_lines(neurons(world(1), 3), section(), torch.Generator().manual_seed(0))
    held_out = neurons(world(2), 4)
    changes = Changes(lines)
    judgement = judge(measure(changes, heldout_store(tmp_path, held_out), section()), section())
    assert sorted(order(judgement)) == [0, 1]
    assert (lines.faint_D @ world(1).direction[:2].T).tolist() == pytest.approx(
        [-0.15] * 2, abs=0.02
    )
    f_TL, left_TD = code(lines, held_out, section())
    said_TD = lines.everywhere(held_out) + f_TL @ lines.direction_LD
    torch.testing.assert_close(said_TD + left_TD, differences(held_out), atol=1e-4, rtol=0)
