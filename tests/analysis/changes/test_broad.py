"""Changes on every row, in proportion to what base has there."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.analysis.changes.judge import judge
from pipeline.analysis.changes.lines import Lines, code, differences
from pipeline.analysis.changes.measure import Changes, measure
from pipeline.analysis.changes.search import find_lines
from pipeline.analysis.changes.table import order
from tests.analysis.changes.worlds import D_MODEL, World, section, world
from tests.analysis.stores import heldout_store

WIDTH = 12
"""Of a narrower subspace, rows would lie along a few lines."""
KEPT = 0.95
"""What IT keeps of the subspace that is dampened."""


def subspace() -> Tensor:
    """[WIDTH, D] orthonormal: what a head writes, say."""
    random = torch.Generator().manual_seed(5)
    return torch.linalg.qr(torch.randn(D_MODEL, WIDTH, generator=random))[0].T


def dense(seed: int) -> World:
    """A world whose rows are all unlike one another, and longest along the subspace's first
    direction."""
    of = world(seed)
    random = torch.Generator().manual_seed(seed + 100)
    base = torch.randn(of.base.shape, generator=random)
    base += 1.5 * torch.randn(len(base), 1, generator=random) * subspace()[0]
    return World(base, of.token, of.direction)


def pair_of(of: World) -> Tensor:
    """A dampened subspace, and one token that writes a direction of its own."""
    inside = of.base @ subspace().T @ subspace()
    return of.pair(of.base - (1 - KEPT) * inside + 10.0 * of.on(3) * of.direction[0])


def lines_of(x_TMD: Tensor) -> Lines:
    return find_lines(x_TMD, section(), torch.Generator().manual_seed(0))


def test_a_dampened_subspace_is_a_broad_change_beside_the_narrow_one(tmp_path: Path) -> None:
    lines = lines_of(pair_of(dense(1)))
    assert len(lines.reader_KD) >= 1
    held_out = heldout_store(tmp_path, pair_of(dense(2)))
    changes = Changes(lines)
    found = judge(measure(changes, held_out, section()), section())
    first = lines.change_L[lines.n_narrow]
    assert first in order(found)
    assert found.kind[first] == "weaker"
    along_D = lines.direction_LD[lines.n_narrow]
    assert float((subspace() @ along_D).norm()) > 0.95
    ratio = (found.beta[first] + 1) / found.beta[first]
    assert ratio == pytest.approx(KEPT, abs=0.02)
    token = changes.direction_JD @ dense(1).direction[0]
    assert float(token.max()) > 0.95, "the narrow one is found too"


def test_without_it_no_broad_line_is_believed() -> None:
    of = dense(1)
    narrow = of.base + 2.0 * of.on(3) * of.direction[0] + 0.5 * of.on(7) * of.direction[1]
    assert len(lines_of(of.pair(narrow)).reader_KD) == 0


def test_what_lines_and_broad_lines_say_and_leave_is_the_whole_difference() -> None:
    x_TMD = pair_of(dense(3))
    lines = lines_of(x_TMD)
    f_TL, left_TD = code(lines, x_TMD, section())
    said_TD = lines.everywhere(x_TMD) + f_TL @ lines.direction_LD
    torch.testing.assert_close(said_TD + left_TD, differences(x_TMD), atol=1e-4, rtol=0)


def test_a_row_far_from_what_a_broad_line_expects_counts_within_reach_alone() -> None:
    """What is far off belongs to another change, as a token's own does."""
    x_TMD = pair_of(dense(4))
    lines = lines_of(x_TMD)
    k, along_D = lines.n_narrow, lines.direction_LD[lines.n_narrow]
    before_T = code(lines, x_TMD, section())[0][:, k]
    x_TMD[:5, 1] += 50.0 * along_D
    gained_T = code(lines, x_TMD, section())[0][:, k] - before_T
    assert float(gained_T[:5].max()) < 7.0 * float(lines.spread_K[0])


def test_the_shift_of_the_mean_along_a_broad_line_is_the_broad_line_s() -> None:
    of = dense(1)
    mean_D = 4.0 * subspace()[0]
    shifted = World(of.base + mean_D, of.token, of.direction)
    lines = lines_of(pair_of(shifted))
    along_KD = lines.direction_LD[lines.n_narrow :]
    assert float((along_KD @ lines.shift_D).abs().max()) < 1e-4
    assert float(lines.offset_K.abs().max()) == pytest.approx((1 - KEPT) * 4.0, rel=0.2)


@pytest.mark.parametrize("n", [1, 2, 200])
def test_where_base_s_rows_do_not_vary_there_is_no_broad_line(n: int) -> None:
    base = torch.zeros(n, D_MODEL)
    if n == 200:  # half of them about the mean, to both sides alike
        base[:40], base[40:80] = 1.0, -1.0
    noise = torch.randn(n, D_MODEL, generator=torch.Generator().manual_seed(0))
    assert len(lines_of(torch.stack([base, base + noise], dim=1)).reader_KD) == 0
