"""Training in rounds: the weights of training on the same rows stored, also after any stop."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.rounds.descriptor import Described
from pipeline.rounds.source import RoundRows
from pipeline.training.difference import DifferenceRows
from pipeline.training.training import Training, read_outcome
from tests.rounds.makers import CountingMaker, StopError, epoch_rows
from tests.training.planted_rows import MemorySource, make_training

DESCRIBED = Described(400, np.random.default_rng(2).integers(20, 31, 40).astype(np.int32))
SEED, TRAIN_SEED = 5, 11
N_FIRST = DESCRIBED.order(SEED).round(0).n_rows


def silent(n: int, **figures: float) -> None:
    pass


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def finish(training: Training) -> dict[str, bytes]:
    run = training.start()
    run.train(silent)
    training.write(run, provenance={"made": "by a test"})
    read_outcome(training.folder)
    return contents(training.folder)


def in_rounds(folder: Path, rows: RoundRows, kind: str = "l1", **changes: Any) -> Training:
    """A training with a checkpoint every third step, unless told otherwise."""
    wanted = {"checkpoint_every_steps": 3, **changes}
    return replace(make_training(folder, kind, **wanted), source=rows, rounds=rows)


@pytest.mark.parametrize("kind", ["l1", "batch_topk"])
def test_rounds_train_what_the_same_rows_stored_train(tmp_path: Path, kind: str) -> None:
    """Two epochs; factors and bias are measured on the first round in both."""
    n_rows, half = DESCRIBED.n_rows, DESCRIBED.n_rows // 2
    with RoundRows(DESCRIBED, SEED, tmp_path / "rounds", CountingMaker(DESCRIBED)) as rows:
        found = finish(in_rounds(tmp_path / "a", rows, kind, n_rows=n_rows + half))

    class Stored(MemorySource):
        """All rows of both epochs, in the order that the definition says."""

        def batches(self, batch_rows: int, start_row: int = 0, *args: Any, **more: Any) -> Any:
            epoch = more.pop("epoch", 0)
            more.pop("seed", None)
            of_epoch = MemorySource(epoch_rows(DESCRIBED, TRAIN_SEED if epoch else SEED, epoch))
            return of_epoch.batches(batch_rows, start_row, *args, **more)

    stored = Stored(epoch_rows(DESCRIBED, SEED, 0))
    changes: dict[str, Any] = {"n_rows": n_rows + half, "normalisation_rows": N_FIRST}
    expected = finish(replace(make_training(tmp_path / "b", kind, **changes), source=stored))
    assert found == expected


def test_a_difference_is_trained_in_rounds(tmp_path: Path) -> None:
    """The rows of the diff-SAE are a view of the same rounds."""
    ends = []
    for name in ("whole", "again"):
        folder = tmp_path / f"rounds-{name}"
        with RoundRows(DESCRIBED, SEED, folder, CountingMaker(DESCRIBED)) as rows:
            training = in_rounds(tmp_path / name, rows)
            view, heldout = DifferenceRows(rows), DifferenceRows(training.heldout)
            ends.append(finish(replace(training, source=view, heldout=heldout)))
    assert ends[0] == ends[1]


class Killer:
    """Raises at one of the next calls, whatever is being done then."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.arm()
        self.stopped_at: list[str] = []

    def arm(self) -> None:
        self.left = self.random.randrange(1, 14)

    def __call__(self, step: str) -> None:
        self.left -= 1
        if self.left == 0:
            self.stopped_at.append(step)
            self.arm()
            raise StopError(step)

    def report(self, n: int, **figures: float) -> None:
        self("step")


@pytest.mark.parametrize("seed", range(3))
def test_stopped_anywhere_and_run_again_the_weights_are_the_same(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between steps, in the dealing, in the shuffle beside the steps, before a removal and in the
    middle of one."""
    changes: dict[str, Any] = {"n_rows": DESCRIBED.n_rows + 200}
    with RoundRows(DESCRIBED, SEED, tmp_path / "whole", CountingMaker(DESCRIBED)) as rows:
        expected = finish(in_rounds(tmp_path / "a", rows, **changes))
    kill = Killer(seed)
    original = Path.replace

    def replaced(self: Path, target: Path) -> Path:
        """Removals begin with a rename; a stop right after it leaves what was to be removed."""
        moved = original(self, target)
        if "removed-" in str(target):
            kill("removal")
        return moved

    monkeypatch.setattr(Path, "replace", replaced)
    for _ in range(200):
        maker = CountingMaker(DESCRIBED, kill)
        try:
            with RoundRows(DESCRIBED, SEED, tmp_path / "rounds", maker) as rows:
                training = in_rounds(tmp_path / "b", rows, **changes)
                run = training.start()
                run.train(kill.report)
                training.write(run, provenance={"made": "by a test"})
            break
        except StopError:
            assert len(list((tmp_path / "rounds").glob("epoch-*"))) <= 2
    else:
        pytest.fail("never came to an end")
    read_outcome(tmp_path / "b")
    assert contents(tmp_path / "b") == expected
    assert len(kill.stopped_at) > 4


def test_a_resumed_run_asks_for_no_round_before_its_checkpoint(tmp_path: Path) -> None:
    maker = CountingMaker(DESCRIBED)
    killer = Killer(0)
    killer.left = 12  # in the second round or after it
    with RoundRows(DESCRIBED, SEED, tmp_path / "rounds", maker) as rows:
        run = in_rounds(tmp_path / "a", rows, "batch_topk").start()
        with pytest.raises(StopError):
            run.train(killer.report)
    first = DESCRIBED.order(SEED).round(0).name
    assert not (tmp_path / "rounds" / first).exists()
    maker.dealt.clear()
    with RoundRows(DESCRIBED, SEED, tmp_path / "rounds", maker) as rows:
        in_rounds(tmp_path / "a", rows, "batch_topk").start().train(silent)
    assert first not in maker.dealt
