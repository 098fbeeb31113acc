from pathlib import Path

import numpy as np
import pytest

from pipeline.crosscoder import Crosscoder
from pipeline.stage import seed_folder
from pipeline.training import seeds
from pipeline.training.seeds import other_seeds, train_seed
from tests.training.planted_rows import make_training


@pytest.fixture(autouse=True)
def _logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_run_has_its_own_seeds_and_folder(tmp_path: Path) -> None:
    first = make_training(tmp_path, "batch_topk")
    runs = dict(other_seeds(first, 3))
    assert list(runs) == [1, 2]
    for number, run in runs.items():
        assert run.crosscoder.seed == first.crosscoder.seed + number
        assert run.train.seed == first.train.seed + number
        assert run.folder == seed_folder(tmp_path, number)
        same = {"seed": first.crosscoder.seed}
        assert run.crosscoder.model_copy(update=same) == first.crosscoder
    assert dict(other_seeds(first, 1)) == {}


def test_other_seeds_give_other_weights_and_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    first = make_training(tmp_path, "batch_topk")
    for number, run in other_seeds(first, 3):
        train_seed(run, f"seed_{number}", {"made": "by a test"})
    folders = [seed_folder(tmp_path, number) for number in (1, 2)]
    weights = [Crosscoder.load(folder).W_dec.numpy() for folder in folders]
    assert not np.allclose(weights[0], weights[1], atol=1e-3)
    before = (folders[0] / "weights.safetensors").stat().st_mtime_ns
    train_seed(dict(other_seeds(first, 2))[1], "seed_1", {"made": "by a test"})
    assert (folders[0] / "weights.safetensors").stat().st_mtime_ns == before


def test_a_killed_run_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    def trained(folder: Path) -> bytes:
        run = dict(other_seeds(make_training(folder, "l1", checkpoint_every_steps=3), 2))[1]
        train_seed(run, "seed_1", {})
        return (run.folder / "weights.safetensors").read_bytes()

    class Dying(seeds.Progress):
        def advance(self, n: int, **figures: float) -> None:
            super().advance(n, **figures)
            if self.done > self.total // 2:
                raise KilledError

    whole = trained(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(seeds, "Progress", Dying)
        with pytest.raises(KilledError):
            trained(tmp_path / "broken")
    assert trained(tmp_path / "broken") == whole
