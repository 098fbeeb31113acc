"""The training contract: rows once, no side effects of logging, resume to the bit, clean stops."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.crosscoder.variant import Moment, Step
from pipeline.errors import ConfigError, NonFiniteError, NoSpaceError
from pipeline.training.checkpoint import Checkpoint, Checkpoints
from pipeline.training.loop import explained_variance
from pipeline.training.training import Training, read_outcome
from tests.training.planted_rows import HELDOUT, N_ROWS, ROWS, MemorySource, make_training

KINDS = ["l1", "dsf", "jumprelu", "batch_topk"]


def silent(n: int, **figures: float) -> None:
    pass


def train_to_the_end(training: Training) -> None:
    run = training.start()
    run.train(silent)
    training.write(run, provenance={"made": "by a test"})
    read_outcome(training.folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


class KilledError(Exception):
    """Stands for a kill between two steps."""


def killer(after_steps: int):
    left = [after_steps]

    def report(n: int, **figures: float) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KilledError

    return report


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss_and_explains_the_planted_rows(tmp_path: Path, kind: str):
    training = make_training(tmp_path, kind, n_rows=4 * N_ROWS)
    run = training.start()
    run.train(silent)
    first, last = run.curve[0], run.curve[-1]
    assert last["loss_reconstruction"] < 0.5 * first["loss_reconstruction"]
    assert min(last["fve_base"], last["fve_it"]) > 0.7
    assert last["n_rows"] == 4 * N_ROWS


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_writes_the_same_bytes(tmp_path: Path, kind: str):
    """Broken off before the first checkpoint, at one, between two, in the second epoch, and just
    before the end of the third; each time resumed by another process's objects."""
    n_rows = 2 * N_ROWS + 100  # 24 + 24 + 2 steps, a checkpoint every 7
    train_to_the_end(make_training(tmp_path / "whole", kind, n_rows=n_rows))
    for steps in (1, 7, 6, 19, 15):
        broken = make_training(tmp_path / "broken", kind, n_rows=n_rows)
        with pytest.raises(KilledError):
            broken.start().train(killer(steps))
    train_to_the_end(make_training(tmp_path / "broken", kind, n_rows=n_rows))
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_products_end_within_one_percent_of_the_fp32_loss(tmp_path: Path, kind: str):
    ends = {}
    for precision in ("fp32", "bf16"):
        folder = tmp_path / precision
        training = make_training(
            folder, kind, n_rows=4 * N_ROWS, precision=precision, log_every_steps=1
        )
        run = training.start()
        run.train(silent)
        ends[precision] = np.mean([point["loss"] for point in run.curve[-10:]])
    assert ends["bf16"] == pytest.approx(ends["fp32"], rel=0.01)


def test_a_resumed_run_serves_no_row_again_beyond_its_checkpoint(tmp_path: Path):
    with pytest.raises(KilledError):
        make_training(tmp_path).start().train(killer(10))
    resumed = make_training(tmp_path)
    run = resumed.start()
    assert (run.step, run.n_rows) == (7, 7 * 64)
    assert isinstance(resumed.source, MemorySource)
    resumed.source.served.clear()
    run.train(silent)
    assert resumed.source.served[0] == (7 * 64, 8 * 64)
    assert resumed.source.served[-1][1] == N_ROWS


@pytest.mark.parametrize("kind", KINDS)
def test_logging_and_evaluation_change_nothing_but_the_curve(tmp_path: Path, kind: str):
    """Weights, optimiser, counters and thresholds, as the last checkpoint has them."""
    heldout = torch.from_numpy(HELDOUT).view(torch.bfloat16)

    def last_checkpoint(name: str, every: int, *, evaluate: bool) -> dict[str, torch.Tensor]:
        run = make_training(tmp_path / name, kind, log_every_steps=every).start()

        def report(n: int, **figures: float) -> None:
            if evaluate:
                run.variant.crosscoder.reconstruct(heldout)

        run.train(report)
        checkpoint = run.checkpoints.load()
        assert checkpoint is not None
        return dict(checkpoint.tensors)

    often = last_checkpoint("often", 1, evaluate=True)
    seldom = last_checkpoint("seldom", 1000, evaluate=False)
    assert {name.split(".")[0] for name in often} == {"crosscoder", "variant", "optimiser", "run"}
    assert often.keys() == seldom.keys()
    for name, tensor in often.items():
        assert torch.equal(tensor, seldom[name]), name


def checkpoints_of(folder: Path, *, in_background: bool) -> list[dict[str, torch.Tensor]]:
    """The tensors of every checkpoint of a run, as they were written. In the background, the first
    is held up until the run has gone on to where the second is due."""
    run = make_training(folder, "batch_topk", checkpoint_every_steps=4).start()
    run.in_background = in_background
    true_save, saved = Checkpoints.save, []

    def save(checkpoints: Checkpoints, checkpoint: Checkpoint) -> None:
        while in_background and not saved and run.step < 7:
            time.sleep(0.001)
        saved.append({name: tensor.clone() for name, tensor in checkpoint.tensors.items()})
        true_save(checkpoints, checkpoint)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", save)
        run.train(silent)
    return saved


def test_checkpoints_written_in_the_background_are_those_of_the_steps_they_name(
    tmp_path: Path,
) -> None:
    expected = checkpoints_of(tmp_path / "a", in_background=False)
    found = checkpoints_of(tmp_path / "b", in_background=True)
    assert len(found) == len(expected) > 2
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_checkpoint_that_fails_in_the_background_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(checkpoints: Checkpoints, checkpoint: Checkpoint) -> None:
        raise NoSpaceError("no space left")

    run = make_training(tmp_path, "l1", checkpoint_every_steps=4).start()
    run.in_background = True
    monkeypatch.setattr(Checkpoints, "save", save)
    with pytest.raises(NoSpaceError):
        run.train(silent)
    assert run.step <= 8


def test_tf32_is_refused_on_a_cpu(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train.precision is tf32, which a CPU does not have"):
        make_training(tmp_path, "l1", precision="tf32")


def test_training_draws_no_random_numbers(tmp_path: Path):
    before = torch.get_rng_state()
    train_to_the_end(make_training(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)


def test_one_checkpoint_is_kept_while_training_and_none_after(tmp_path: Path):
    training = make_training(tmp_path, checkpoint_every_steps=1)
    run = training.start()
    most = 0

    def count_files(n: int, **figures: float) -> None:
        nonlocal most
        most = max(most, len(list((tmp_path / "checkpoints").glob("step-*"))))

    run.train(count_files)
    assert most == 1
    training.write(run, provenance={})
    read_outcome(training.folder)
    assert sorted(contents(tmp_path)) == ["config.json", "training.csv", "weights.safetensors"]


def test_an_unfinished_checkpoint_is_not_taken_up(tmp_path: Path):
    train_to_the_end(make_training(tmp_path / "whole"))
    with pytest.raises(KilledError):
        make_training(tmp_path / "broken").start().train(killer(8))
    torn = tmp_path / "broken" / "checkpoints" / "step-8"
    torn.mkdir()
    (torn / ".part-0.safetensors.tmp").write_bytes(b"half a checkpoint")
    (torn / "part-1.safetensors").write_bytes(b"one of several parts")
    train_to_the_end(make_training(tmp_path / "broken"))
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_a_row_that_is_not_finite_stops_before_the_update(tmp_path: Path):
    rows = np.array(ROWS)
    rows[640, 1, 3] = 0x7F80  # infinity in bfloat16
    training = make_training(tmp_path, rows=rows, normalisation_rows=64)
    run = training.start()
    with pytest.raises(NonFiniteError, match=r"step 10: reconstruction is nan on rows 640 to 704 "):
        run.train(silent)
    assert run.step == 10
    assert all(bool(torch.isfinite(p).all()) for p in run.variant.parameters())
    assert training.start().step == 7


def test_before_the_first_update_no_learning_rate_is_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = make_training(tmp_path).start()
    monkeypatch.setattr(run.optimiser, "gradient_norm", lambda: torch.tensor(torch.inf))
    message = r"step 0: gradient norm is inf .*: lower decoder_init_norm and the coefficients"
    with pytest.raises(NonFiniteError, match=message):
        run.train(silent)
    assert run.step == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_that_is_not_finite_stops_before_the_update(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    """One entry of one gradient, every term finite, in the second epoch."""
    run = make_training(tmp_path, kind, n_rows=2 * N_ROWS).start()
    step = run.variant.step

    def spoiled(x_BP: torch.Tensor, moment: Moment, n_rows: int | None = None) -> Step:
        done = step(x_BP, moment, n_rows)
        if moment.step == 30:
            assert all(bool(torch.isfinite(term)) for term in done.loss.terms.values())
            gradient = run.variant.crosscoder.W_enc_LP.grad
            assert gradient is not None
            gradient[3, 4] = torch.nan
            before.update({name: tensor.clone() for name, tensor in state().items()})
        return done

    def state() -> dict[str, torch.Tensor]:
        crosscoder, optimiser = run.variant.crosscoder.state_dict(), run.optimiser.state()
        return {**crosscoder, **run.variant.state(), **optimiser}

    before: dict[str, torch.Tensor] = {}
    monkeypatch.setattr(run.variant, "step", spoiled)
    message = r"step 30: gradient norm is nan on rows 384 to 448 of epoch 1, .*lower train"
    with pytest.raises(NonFiniteError, match=message):
        run.train(silent)
    assert before
    assert all(torch.equal(tensor, before[name]) for name, tensor in state().items())
    last = run.checkpoints.load()
    assert last is not None
    assert last.step == 28
    assert all(bool(torch.isfinite(tensor.float()).all()) for tensor in last.tensors.values())


def test_the_curve_tells_the_terms_whose_weighted_sum_is_the_loss(tmp_path: Path):
    training = make_training(tmp_path)
    run = training.start()
    run.train(silent)
    for point in run.curve:
        weighted = point["sparsity_coefficient"] * point["loss_sparsity"]
        assert point["loss"] == pytest.approx(point["loss_reconstruction"] + weighted, rel=1e-5)
    assert [point["step"] for point in run.curve] == [0, 5, 10, 15, 20, 23]


def test_a_constant_error_lowers_the_explained_variance():
    x_BP = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    mean_MD = x_BP.mean(0).view(2, 4)
    exact = explained_variance(torch.zeros_like(x_BP), x_BP, mean_MD)
    biased = explained_variance(torch.full_like(x_BP, 0.3), x_BP, mean_MD)
    assert exact.tolist() == [1.0, 1.0]
    assert bool((biased < 0.95).all())


def test_explaining_nothing_but_the_mean_is_zero():
    x_BP = torch.randn(200, 8, generator=torch.Generator().manual_seed(0)) + 3
    mean_MD = x_BP.mean(0).view(2, 4)
    fve_M = explained_variance(mean_MD.view(-1) - x_BP, x_BP, mean_MD)
    assert fve_M.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_more_rows_than_stored_means_further_epochs(tmp_path: Path):
    training = make_training(tmp_path, n_rows=2 * N_ROWS + 100)
    run = training.start()
    run.train(silent)
    assert run.n_rows == 2 * N_ROWS + 100
    assert run.step == 2 * 24 + 2
