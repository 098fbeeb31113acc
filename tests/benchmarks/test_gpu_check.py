"""The check of a card, on a device that stands in for one: it passes, and deliberate bugs fail."""

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from itertools import chain, count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.gpu_check import __main__ as command_line
from benchmarks.gpu_check import graph, models, products, steps
from benchmarks.gpu_check.checks import Checks, Finding, Part, within
from benchmarks.train_step import Size
from pipeline.crosscoder import Crosscoder
from pipeline.crosscoder.batch_topk import BatchTopK
from pipeline.crosscoder.entries import DenseEntries
from pipeline.errors import ConfigError
from pipeline.harvest.pair import Rows
from tests.checkout import STAGES
from tests.standin import CARD, OnCard, card
from tests.training.kernels import FORMS, kernel, move_by, update

SIZE = Size(batch_rows=32, d_model=16, n_latents=64, k=4)


@pytest.fixture(autouse=True)
def _on_a_card(tmp_path: Path) -> Iterator[None]:
    # What a test patches itself is put back before the card goes, or a mock would be put back.
    with pytest.MonkeyPatch.context() as patch, card():
        patch.chdir(tmp_path)  # logs/ goes here
        patch.setattr(steps, "N_STEPS", 4)
        yield


def findings(part: Part) -> list[Finding]:
    checks = Checks(seconds=300.0)
    checks.run("part", part)
    return checks.findings


def failed(part: Part) -> list[str]:
    return [finding.name for finding in findings(part) if finding.ok is False]


@pytest.mark.parametrize("kind", steps.KINDS)
def test_every_variant_passes_on_the_stand_in(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(steps, "KINDS", (kind,))
    found = findings(lambda: steps.agree(CARD, SIZE))
    assert [finding.name for finding in found if not finding.ok] == []
    assert len(found) == 3 * 4  # precisions, and what is said of each


def test_products_and_dump_pass_on_the_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "DUMPED", replace(models.DUMPED, n_sequences=4))
    assert failed(lambda: products.agree(CARD)) == []
    assert failed(lambda: models.dump_agrees(CARD)) == []


def test_updates_pass_on_the_stand_in_and_the_kernel_is_left_out() -> None:
    by_pytorch, kernel = findings(lambda: steps.updates_agree(CARD, SIZE))
    assert by_pytorch.ok
    assert "left_out" in kernel.figures


@pytest.mark.parametrize("form", FORMS)
def test_steps_and_updates_by_the_kernel_pass(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(steps, "PRECISIONS", ("fp32", "bf16"))
    monkeypatch.setattr(steps, "has_kernels", lambda device: True)
    with kernel(form) as update:
        move_by(monkeypatch, update, "cuda")
        found = findings(lambda: chain(steps.updates_agree(CARD, SIZE), steps.agree(CARD, SIZE)))
    assert [finding.line for finding in found if not finding.ok] == []
    assert len(found) == 3 + 4 * 2 * 4


def test_a_copy_that_is_cut_off_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(parameter: Tensor, *tensors: Any, **given: Any) -> None:
        update(parameter, *tensors, **given)
        if tensors[-1] is not None:
            tensors[-1].copy_((parameter.view(torch.int32) >> 16 << 16).view(torch.float32))

    move_by(monkeypatch, cut_off, "cuda")
    monkeypatch.setattr(steps, "has_kernels", lambda device: True)
    assert failed(lambda: steps.updates_agree(CARD, SIZE)) == ["copies of weights, kernel"]


def test_a_gradient_that_is_not_scaled_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def unscaled(*tensors: Any, **given: Any) -> None:
        update(*tensors, **{**given, "divisor": None})

    move_by(monkeypatch, unscaled, "cuda")
    monkeypatch.setattr(steps, "has_kernels", lambda device: True)
    assert failed(lambda: steps.updates_agree(CARD, SIZE)) == ["updates, kernel"]


def test_a_tensor_left_on_the_cpu_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def normalise(crosscoder: Crosscoder, x_raw: Tensor) -> Tensor:
        return x_raw.float() * crosscoder.activation_scale_M[:, None]

    monkeypatch.setattr(Crosscoder, "normalise", normalise)
    (only,) = findings(lambda: steps.agree(CARD, SIZE))
    assert only.ok is False
    assert "a tensor of the CPU" in only.figures["raised"]


def test_rows_that_are_read_before_they_have_arrived_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(rows: Rows) -> Any:
        return rows.activations.view(torch.uint16).numpy()

    monkeypatch.setattr(Rows, "ready", at_once)
    monkeypatch.setattr(models, "DUMPED", replace(models.DUMPED, n_sequences=4))
    assert failed(lambda: models.dump_agrees(CARD))


def test_a_wrong_sum_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_the_last_row(entries: DenseEntries) -> Tensor:
        n = len(entries.values) - isinstance(entries.values, OnCard)
        return entries.values[:n].sum(0, dtype=torch.float32)

    monkeypatch.setattr(DenseEntries, "latent_sums", without_the_last_row)
    assert failed(lambda: iter([steps.gradients_agree("l1", "fp32", CARD, SIZE)]))


def test_bits_that_change_from_run_to_run_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    reached, calls = BatchTopK.reduced, count()

    def jittered(variant: BatchTopK, step: Any) -> Any:
        gradient = variant.parameters()[0].grad
        assert gradient is not None
        if isinstance(gradient, OnCard):
            gradient.mul_(1 + 1e-6 * next(calls))
        return reached(variant, step)

    monkeypatch.setattr(BatchTopK, "reduced", jittered)
    names = failed(lambda: steps.training_agrees("batch_topk", "fp32", CARD, SIZE))
    assert [name.rpartition(", ")[2] for name in names] == ["run again", "resumed in the middle"]


def test_state_that_a_checkpoint_leaves_out_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = BatchTopK.state
    left_out = "rows_since_fired_L"
    monkeypatch.setattr(
        BatchTopK, "state", lambda v: {k: t for k, t in kept(v).items() if k != left_out}
    )
    names = failed(lambda: steps.training_agrees("batch_topk", "fp32", CARD, SIZE))
    assert any("resumed" in name for name in names)


def test_every_stage_of_the_graph_that_computes_on_a_device_is_checked() -> None:
    modules = {name: import_module(f"stages.{name}") for name in STAGES}
    computing = [n for n, m in modules.items() if hasattr(m, "STAGE") and m.STAGE.memory_keys]
    assert {*computing} - {*graph.MADE_BY_BOTH, *graph.ANALYSES} == {"models"}  # see `tuning`


def test_results_agree_within_a_percent_but_for_a_tenth_of_a_list(tmp_path: Path) -> None:
    result = {"loss": 5.0, "called": "shared", "latents": [{"n": n} for n in range(100, 120)]}
    other = json.loads(json.dumps(result))
    other["loss"], other["latents"][3]["n"] = 5.04, 7
    for name, content in (("a.json", result), ("b.json", other)):
        Path(name).write_text(json.dumps(content))
    shares = graph.disagreeing(graph.numbers(Path("a.json")), graph.numbers(Path("b.json")))
    assert shares == {"loss": 0.0, "called": 0.0, "latents.n": 0.05}
    other["loss"], other["called"] = 5.1, "undecided"
    del other["latents"][0]
    Path("b.json").write_text(json.dumps(other))
    shares = graph.disagreeing(graph.numbers(Path("a.json")), graph.numbers(Path("b.json")))
    assert shares == {"loss": 1.0, "called": 1.0, "latents.n": 1.0}


def test_a_csv_file_is_compared_by_column(tmp_path: Path) -> None:
    Path("a.csv").write_text("name,value\nx,1e-3\ny,\n")
    assert graph.numbers(Path("a.csv")) == {"name": ["x", "y"], "value": [1e-3, ""]}


def test_what_time_does_not_allow_is_told_and_does_not_fail(
    capsys: pytest.CaptureFixture[str],
) -> None:
    checks = Checks(seconds=-1.0)
    checks.run("steps", lambda: iter([Finding("never", False)]))
    assert checks.failed == []
    assert capsys.readouterr().out == "-    steps: left_out the time was up\n"


def test_a_figure_that_is_no_number_is_beyond_every_limit() -> None:
    assert within("a", {"x": float("nan")}, {"x": 1.0}).ok is False


def test_without_a_card_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"runtime\.device is 'cuda', but "):
        command_line.started([])
