"""The list of changes on rows whose changes are known: found, named, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.changes.judge import Judgement, judge
from pipeline.analysis.changes.lines import Lines, differs
from pipeline.analysis.changes.measure import Changes, ChangeSums, measure
from pipeline.analysis.changes.search import find_lines
from pipeline.analysis.changes.table import order
from pipeline.config.changes import ChangesConfig
from tests.analysis.changes.worlds import World, section, world
from tests.analysis.stores import heldout_store

TURNED, STRONGER, WEAKER = 3, 8, 15


def tuned(rows: World, seed: int) -> Tensor:
    """IT rows: three tokens changed, a direction that is new on rows of any kind, one that base
    alone writes."""
    random = torch.Generator().manual_seed(seed)
    it = rows.base.clone()
    it += rows.on(TURNED) * (3 * rows.direction[0] - rows.embedding(TURNED))
    it += rows.on(STRONGER) * rows.embedding(STRONGER)
    it -= rows.on(WEAKER) * 0.5 * rows.embedding(WEAKER)
    it += (torch.rand(len(it), 1, generator=random) < 0.05) * 2.5 * rows.direction[1]
    return it


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Changes, Judgement]:
    found = world(1)
    lines = find_lines(found.pair(tuned(found, 11)), section(), torch.Generator().manual_seed(0))
    return judged(lines, world(2), tuned(world(2), 12), tmp_path_factory.mktemp("store"))


def judged(lines: Lines, rows: World, it: Tensor, folder: Path) -> tuple[Changes, Judgement]:
    changes = Changes(lines)
    with heldout_store(folder / "rows.zarr", rows.pair(it), rows_per_chunk=4096) as reader:
        return changes, judge(measure(changes, reader, section()), section())


def kinds(changes: Changes, judgement: Judgement, direction_D: Tensor) -> list[str]:
    """Kinds of the listed changes along a direction."""
    cosines = (changes.direction_JD @ torch.nn.functional.normalize(direction_D, dim=0)).abs()
    return [
        str(judgement.kind[j])
        for j in order(judgement)
        if j < changes.n and float(cosines[j]) > 0.95
    ]


def test_known_changes_are_listed_once_each_and_nothing_else(
    listed: tuple[Changes, Judgement],
) -> None:
    _, judgement = listed
    assert len(order(judgement)) == 4


def test_each_known_change_gets_its_kind(listed: tuple[Changes, Judgement]) -> None:
    changes, judgement = listed
    rows = world(2)
    turn = 3 * rows.direction[0] - rows.embedding(TURNED)
    assert kinds(changes, judgement, turn) == ["turned"]
    assert kinds(changes, judgement, rows.embedding(STRONGER)) == ["stronger"]
    assert kinds(changes, judgement, rows.embedding(WEAKER)) == ["weaker"]
    assert kinds(changes, judgement, rows.direction[1]) == ["new"]


def test_the_shares_are_those_of_the_squares_that_were_put_in(
    listed: tuple[Changes, Judgement],
) -> None:
    changes, judgement = listed
    rows = world(2)
    squares = (tuned(rows, 12) - rows.base).square().sum(dim=1)
    put_in = squares[rows.token == STRONGER].sum() / squares.sum()
    cosines = changes.direction_JD @ (rows.embedding(STRONGER) / 3)
    assert judgement.share[int(cosines.argmax())] == pytest.approx(float(put_in), rel=0.06)


def test_exchanged_models_exchange_new_for_lost_and_stronger_for_weaker(tmp_path: Path) -> None:
    found, rows = world(1), world(2)
    swapped = found.pair(tuned(found, 11)).flip(1)
    lines = find_lines(swapped, section(), torch.Generator().manual_seed(0))
    exchanged = World(tuned(rows, 12), rows.token, rows.direction)
    changes, judgement = judged(lines, exchanged, rows.base, tmp_path)
    assert kinds(changes, judgement, rows.embedding(STRONGER)) == ["weaker"]
    assert kinds(changes, judgement, rows.embedding(WEAKER)) == ["stronger"]
    assert kinds(changes, judgement, rows.direction[1]) == ["lost"]


def test_a_direction_that_went_from_some_rows_to_others_is_moved(tmp_path: Path) -> None:
    def moved(rows: World) -> tuple[World, Tensor]:
        there, here = rows.on(4) * 2.5 * rows.direction[2], rows.on(5) * 2.5 * rows.direction[2]
        return World(rows.base + there, rows.token, rows.direction), rows.base + here

    found, it = moved(world(1))
    lines = find_lines(found.pair(it), section(), torch.Generator().manual_seed(0))
    rows, it = moved(world(2))
    changes, judgement = judged(lines, rows, it, tmp_path)
    assert kinds(changes, judgement, rows.direction[2]) == ["moved"]
    assert len(order(judgement)) == 1


def test_a_shift_of_the_mean_needs_no_line(tmp_path: Path) -> None:
    found, rows = world(1), world(2)
    shift = 1.5 * found.direction[3]
    lines = find_lines(found.pair(found.base + shift), section(), torch.Generator().manual_seed(0))
    _changes, judgement = judged(lines, rows, rows.base + shift, tmp_path)
    assert [str(judgement.kind[j]) for j in order(judgement)] == ["mean_shift"]
    assert judgement.share[order(judgement)[0]] == pytest.approx(1, abs=0.01)


def test_a_shift_of_the_scale_needs_no_line(tmp_path: Path) -> None:
    found, rows = world(1), world(2)
    lines = find_lines(found.pair(1.3 * found.base), section(), torch.Generator().manual_seed(0))
    _, judgement = judged(lines, rows, 1.3 * rows.base, tmp_path)
    assert "scale_shift" in [str(judgement.kind[j]) for j in order(judgement)]


def test_equal_models_give_an_empty_list(tmp_path: Path) -> None:
    rows = world(1)
    lines = find_lines(rows.pair(rows.base), section(), torch.Generator().manual_seed(0))
    _, judgement = judged(lines, world(2), world(2).base, tmp_path)
    assert lines.n_changes == 0
    assert order(judgement) == []


@pytest.mark.parametrize("seed", range(2))
def test_rows_that_differ_by_a_step_of_bfloat16_give_an_empty_list(
    tmp_path: Path, seed: int
) -> None:
    def a_step_away(base: Tensor, seed: int) -> Tensor:
        random = torch.Generator().manual_seed(seed)
        bits = base.bfloat16().view(torch.int16)
        steps = torch.randint(-1, 2, bits.shape, generator=random).to(torch.int16)
        return (bits + steps).view(torch.bfloat16).float()

    found, rows = world(1), world(2)
    pair = found.pair(a_step_away(found.base, seed)).bfloat16().float()
    assert not differs(pair).any()
    lines = find_lines(pair, section(), torch.Generator().manual_seed(0))
    _, judgement = judged(lines, rows, a_step_away(rows.base, seed + 50), tmp_path)
    assert order(judgement) == []


def test_the_same_seed_finds_the_same_lines_to_the_bit() -> None:
    rows = world(1)
    pair = rows.pair(tuned(rows, 11))
    first, again = (find_lines(pair, section(), torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first.direction_LD, again.direction_LD)


def sums_of(rows: World, it: Tensor, lines: Lines, config: ChangesConfig, path: Path) -> ChangeSums:
    with heldout_store(path, rows.pair(it), rows_per_chunk=4096) as reader:
        return measure(Changes(lines), reader, config)


def test_the_sums_do_not_depend_on_the_batches(tmp_path: Path) -> None:
    found, rows = world(1), world(2)
    lines = find_lines(found.pair(tuned(found, 11)), section(), torch.Generator().manual_seed(0))
    whole, parts = (
        sums_of(rows, tuned(rows, 12), lines, section(batch_rows=n), tmp_path / f"{n}.zarr")
        for n in (6000, 700)
    )
    for name, values in flat(whole).items():
        other = torch.from_numpy(flat(parts)[name])
        assert torch.allclose(torch.from_numpy(values), other, rtol=1e-5, atol=1e-3), name


def flat(sums: ChangeSums) -> dict[str, NDArray[np.float64]]:
    return {k: v for k, v in vars(sums).items() if k != "written"} | vars(sums.written)


def test_alike_tokens_that_change_alike_are_two_changes() -> None:
    rows = world(1)
    alike = 0.7 * rows.direction[0] + 0.51**0.5 * rows.direction[1]
    it = rows.base + 3 * rows.on(4) * rows.direction[0] + 3 * rows.on(5) * alike
    lines = find_lines(rows.pair(it), section(), torch.Generator().manual_seed(0))
    assert lines.n_changes == 2


def test_small_coordinates_that_rounding_moves_make_no_row_differ() -> None:
    base = torch.full((2, 48), 1e-3)
    base[:, 0] = 10.0
    it = base.clone()
    it[:, 1:] *= 3
    it[1, 0] += 2
    assert differs(torch.stack([base, it], dim=1)).tolist() == [False, True]
