"""Latents whose nu is small and that have no learned twin, although the other model has them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.analysis.heldout import Window
from pipeline.analysis.verdicts.elsewhere import (
    Tails,
    combined_tests,
    look_exclusive,
    refute_elsewhere,
)
from pipeline.analysis.verdicts.elsewhere_pass import ERRORS, LEVELS, RIDGE, ROWS, tails_elsewhere
from pipeline.analysis.verdicts.judge import judge
from pipeline.config import compose
from pipeline.crosscoder import Crosscoder
from pipeline.distributed import ALONE, Ranks
from pipeline.store import StoreReader
from tests.analysis.stores import heldout_store, random_crosscoder
from tests.standin import card
from tests.two_ranks import in_two

N_ROWS, D_MODEL, N_CONCEPTS = 6000, 16, 6
SECTION = compose(
    ["+experiment=smoke", "latent_scaling.n_blocks=16", "latent_scaling.n_bootstrap=100"]
).latent_scaling


@pytest.fixture(autouse=True)
def in_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def one_sided(models: tuple[int, ...]) -> Crosscoder:
    """One latent per concept, along its axis, that reads and writes model `models[concept]`."""
    n = len(models)
    decoder, encoder = torch.zeros(n, 2, D_MODEL), torch.zeros(2, D_MODEL, n)
    for latent, model in enumerate(models):
        decoder[latent, model, latent] = encoder[model, latent, latent] = 1.0
    return Crosscoder.from_weights(
        kind="l1",
        W_enc=encoder,
        W_dec=decoder,
        b_enc=torch.zeros(n),
        b_dec=torch.zeros(2, D_MODEL),
        threshold=torch.full((n,), 0.5),
    )


def two_of_one_concept() -> Crosscoder:
    """A latent of base and one of IT along the same axis: each other's twins."""
    crosscoder = one_sided((0, 1))
    with torch.no_grad():
        for weight in (crosscoder.W_dec[1, 1], crosscoder.W_enc[1, :, 1]):
            weight.zero_()
            weight[0] = 1.0
    return crosscoder


def rows_of(rate_MC: torch.Tensor, *, base_gain: float = 1.0) -> torch.Tensor:
    """[N_ROWS, 2, D_MODEL]: each model has concept c, along axis c, on a share rate[m, c] of its
    rows, which are its own; with correlated noise in all directions."""
    random = torch.Generator().manual_seed(0)
    n = rate_MC.shape[1]
    f = torch.zeros(N_ROWS, 2, D_MODEL)
    on = torch.rand(N_ROWS, 2, n, generator=random) < rate_MC
    f[:, :, :n] = on * (1 + torch.rand(N_ROWS, 2, n, generator=random))
    f[:, 0] *= base_gain
    mixing = torch.eye(D_MODEL) + 0.5 * torch.randn(D_MODEL, D_MODEL, generator=random)
    return f + 0.05 * torch.randn(N_ROWS, 2, D_MODEL, generator=random) @ mixing


def window_of(reader: StoreReader, ranks: Ranks = ALONE) -> Window:
    return Window(reader, SECTION.n_rows, SECTION.batch_rows, ranks)


def judged(crosscoder: Crosscoder, x: torch.Tensor, folder: Path) -> pd.DataFrame:
    with heldout_store(folder / "store", x) as reader:
        return judge(crosscoder, window_of(reader), SECTION)


def test_a_concept_that_the_other_model_has_on_other_rows_is_not_exclusive(tmp_path: Path) -> None:
    rates = torch.full((2, N_CONCEPTS), 0.05)
    table = judged(one_sided((0, 1) * (N_CONCEPTS // 2)), rows_of(rates), tmp_path)
    assert np.abs(table["nu_eps"].to_numpy()).max() < 0.1, "nu alone sees nothing of it"
    assert set(table["twin"]) == {-1}, "nor has any a twin"
    assert table["share_elsewhere"].to_numpy() == pytest.approx(1.0, abs=0.3)
    assert set(table["verdict"]) == {"moved"}
    assert set(table["artefact"]) == {"latent_decoupling"}


def test_a_concept_that_the_other_model_never_has_stays_exclusive(tmp_path: Path) -> None:
    rates = torch.full((2, N_CONCEPTS), 0.05)
    models = (0, 1) * (N_CONCEPTS // 2)
    for concept, model in enumerate(models):
        rates[1 - model, concept] = 0.0
    table = judged(one_sided(models), rows_of(rates), tmp_path)
    assert table["share_elsewhere"].to_numpy().max() < 0.02
    assert table["verdict"].tolist() == ["base_only", "it_only"] * (N_CONCEPTS // 2)


def test_a_concept_that_the_other_model_has_elsewhere_and_weaker_is_not_exclusive(
    tmp_path: Path,
) -> None:
    rates = torch.full((2, N_CONCEPTS), 0.05)
    rows = rows_of(rates, base_gain=0.45)
    table = judged(one_sided((1,) * N_CONCEPTS), rows, tmp_path)
    assert np.abs(table["nu_eps"].to_numpy()).max() < 0.1, "nu alone sees nothing of it"
    assert set(table["verdict"]) == {"moved"}
    with heldout_store(tmp_path / "again", rows) as reader, torch.inference_mode():
        rows_say, errors_say = found(one_sided((1,)), reader, (1,), batch_rows=6000)
    assert rows_say.share < 0.05, "none is as strong as where the latent fires"
    assert errors_say.share > 0.6


@pytest.mark.parametrize("n_rows", [N_ROWS, 900], ids=["several batches", "one batch"])
def test_two_processes_judge_as_one_does_also_where_latents_look_exclusive(
    tmp_path: Path, n_rows: int
) -> None:
    crosscoder, rates = one_sided((0, 1) * (N_CONCEPTS // 2)), torch.full((2, N_CONCEPTS), 0.05)
    rates[0, 1] = 0.0
    with heldout_store(tmp_path / "store", rows_of(rates)[:n_rows]) as reader:
        one = judge(crosscoder, window_of(reader), SECTION)

    def judged_by(ranks: Ranks) -> pd.DataFrame:
        with StoreReader.open(tmp_path / "store") as reader:
            return judge(crosscoder, window_of(reader, ranks), SECTION)

    assert np.isfinite(one["share_elsewhere"]).sum() > 0, "none looks exclusive"
    for table in in_two(judged_by):
        pd.testing.assert_frame_equal(table, one, rtol=1e-6, atol=1e-9)


def test_a_card_judges_as_the_cpu_does_also_where_latents_look_exclusive(tmp_path: Path) -> None:
    crosscoder, rates = one_sided((0, 1) * (N_CONCEPTS // 2)), torch.full((2, N_CONCEPTS), 0.05)
    rates[0, 1] = 0.0
    with heldout_store(tmp_path / "store", rows_of(rates)[:900]) as reader:
        on_cpu = judge(crosscoder, window_of(reader), SECTION)
        with card() as device:
            on_card = judge(crosscoder.to(device), window_of(reader), SECTION)
    assert np.isfinite(on_cpu["share_elsewhere"]).sum() > 0, "none looks exclusive"
    pd.testing.assert_frame_equal(on_card, on_cpu, rtol=1e-6, atol=1e-9)


def test_one_near_the_limit_is_undecided_and_its_p_value_says_so(tmp_path: Path) -> None:
    rates = torch.tensor([[0.01], [0.04]])
    table = judged(one_sided((1,)), rows_of(rates), tmp_path)
    assert table.loc[0, "share_elsewhere"] == pytest.approx(SECTION.max_share_elsewhere, abs=0.1)
    assert table.loc[0, "verdict"] == "undecided"
    assert table.loc[0, "q_exclusive"] > SECTION.max_false_discovery_rate


def test_a_learned_twin_settles_it_whatever_the_share_can_prove(tmp_path: Path) -> None:
    """Each document has one side alone, so the share has a spread that proves little."""
    x = rows_of(torch.full((2, 1), 0.05))
    first_half = torch.arange(N_ROWS) < N_ROWS // 2
    x[first_half, 1], x[~first_half, 0] = 0.0, 0.0
    table = judged(two_of_one_concept(), x, tmp_path)
    assert table["twin"].tolist() == [1, 0]
    assert table["verdict"].tolist() == ["moved", "moved"]


def test_an_undecided_one_can_be_found_in_both_but_never_exclusive() -> None:
    table = looks_exclusive((1, 1)).assign(verdict="undecided", p_exclusive=0.3, q_exclusive=0.3)
    own = np.full((16, 2), 10.0)
    other = np.tile([[0.0, 9.0], [0.0, 11.0]], (8, 1))
    after = refuted(table, [Tails(own, other, none_of(other))])
    assert after["share_elsewhere"].tolist() == [0.0, 1.0]
    assert after["verdict"].tolist() == ["undecided", "undecided"]
    assert after["in_both"].tolist() == [False, True]
    assert after["artefact"].tolist() == ["", "latent_decoupling"]


@pytest.mark.parametrize(
    ("verdict", "nu_eps", "nu_r", "q_exclusive", "asked"),
    [
        ("it_only", 0.01, 0.1, 0.001, True),
        ("undecided", 0.1, 0.4, 0.3, True),
        ("undecided", 0.3, 0.4, 0.9, False),
        ("undecided", 0.1, 0.6, 0.9, False),
        ("undecided", 0.1, 0.4, np.nan, False),
        ("in both", 0.1, 0.4, 0.3, False),
        ("dead", np.nan, np.nan, np.nan, False),
    ],
)
def test_asked_are_those_called_exclusive_or_undecided_below_both_limits(
    verdict: str, nu_eps: float, nu_r: float, q_exclusive: float, asked: bool
) -> None:
    in_both = verdict == "in both"
    verdict = "undecided" if in_both else verdict
    row = {
        "verdict": verdict,
        "in_both": in_both,
        "nu_eps": nu_eps,
        "nu_r": nu_r,
        "q_exclusive": q_exclusive,
    }
    assert look_exclusive(pd.DataFrame([row]), SECTION).tolist() == [asked]


def test_what_does_not_look_exclusive_is_not_asked(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    f = (torch.rand(N_ROWS, 1, generator=random) < 0.1) * 1.5
    x = torch.zeros(N_ROWS, 2, D_MODEL)
    x[:, :, 0] = f
    x += 0.05 * torch.randn(x.shape, generator=random)
    crosscoder = one_sided((1,))
    with torch.no_grad():
        crosscoder.W_dec[0, 0, 0] = 1.0
    table = judged(crosscoder, x, tmp_path)
    assert table.loc[0, "verdict"] == "shared"
    assert np.isnan(table.loc[0, "share_elsewhere"])
    assert table.loc[0, "artefact"] == ""


def by_definition(
    crosscoder: Crosscoder, x: torch.Tensor, latent: int, model: int
) -> list[tuple[int, int, int]]:
    """Own rows, the other's and those that are no sign, of each look of `elsewhere`'s docstring."""
    other, f, d = 1 - model, crosscoder.encode(x)[:, latent], crosscoder.W_dec[latent].double()
    counts = []
    for look, y in ((ROWS, x), (ERRORS, x - crosscoder(x))):
        around = (y - y.mean(0)).double()
        C = torch.from_numpy(np.cov(around[:, other].T.numpy(), bias=True))
        C += RIDGE * C.diagonal().mean() * torch.eye(D_MODEL)
        if look == ERRORS:
            around += f[:, None, None] * d
        read = around @ torch.linalg.solve(C, d[model])
        level = LEVELS[look] * read[f > 0, model].mean()
        level = level if level > 0 else torch.nan
        own, there = read[:, model] > level, read[:, other] > level
        noise = (read[:, other] < -level).sum()
        if look == ERRORS:
            noise = max(noise, (own & (f <= 0)).sum())
            own = own & (f > 0)
        counts.append((int(own.sum()), int(there.sum()), int(noise)))
    return counts


def looks_exclusive(models: tuple[int, ...]) -> pd.DataFrame:
    names = np.array(["base_only", "it_only"])[list(models)]
    p = np.full(len(models), 1e-6)
    return pd.DataFrame(
        {
            "verdict": names,
            "in_both": False,
            "anchor": np.array(["base", "it"])[list(models)],
            "norm_bin": names,
            "artefact": "",
            "share_elsewhere": np.nan,
            "p_exclusive": p,
            "q_exclusive": p,
        }
    )


@pytest.mark.parametrize(("batch_rows", "max_elements"), [(6000, 2**25), (700, 2**25), (999, 300)])
@torch.inference_mode()
def test_counts_are_the_definition_however_the_rows_are_split(
    batch_rows: int, max_elements: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.analysis.verdicts.elsewhere_pass.MAX_ELEMENTS", max_elements)
    x = rows_of(torch.tensor([[0.1, 0.02, 0.0], [0.05, 0.1, 0.1]])).bfloat16().float()
    crosscoder, models = random_crosscoder(12, D_MODEL), (0, 1, 1, 0) * 3
    with heldout_store(tmp_path / "store", x) as reader:
        tails_Q = found(crosscoder, reader, models, batch_rows=batch_rows)
    x = crosscoder.normalise(x)
    expected = np.array([by_definition(crosscoder, x, j, m) for j, m in enumerate(models)])
    for look, tails in enumerate(tails_Q):
        for side, counts_GE in enumerate((tails.own_GE, tails.other_GE, tails.noise_GE)):
            # float32 here, float64 in the definition: a row or two lie at the level
            assert np.abs(counts_GE.sum(0) - expected[:, look, side]).max() <= 2
    assert (expected > 0).any(axis=0).all(), "every count of both looks occurs"
    assert (expected[:, ERRORS] == 0).all(axis=1).any(), "and a level that is not above 0"


def found(
    crosscoder: Crosscoder, reader: StoreReader, models: tuple[int, ...], *, batch_rows: int
) -> list[Tails]:
    return tails_elsewhere(
        crosscoder,
        Window(reader, N_ROWS, batch_rows),
        looks_exclusive(models),
        np.ones(len(models), dtype=bool),
        n_blocks=16,
    )


def refuted(table: pd.DataFrame, tails: list[Tails]) -> pd.DataFrame:
    candidate = np.ones(len(table), dtype=bool)
    at_half = SECTION.model_copy(update={"max_share_elsewhere": 0.5})
    return refute_elsewhere(table, candidate, tails, at_half)


def test_few_documents_prove_nothing() -> None:
    """The same counts in 16 blocks and in one: no spread can be told from one block."""
    own, other = np.full((16, 1), 10.0), np.ones((16, 1))
    own[::2] += 1.0
    spread = Tails(own, other, none_of(own))
    alone = Tails(*(n.sum(0, keepdims=True) for n in (own, other, none_of(own))))
    assert spread.share == alone.share
    assert spread.tests(0.5)[0][0] < 1e-6
    assert alone.tests(0.5)[0][0] == 1.0
    table = refuted(looks_exclusive((1,)), [alone])
    assert table.loc[0, "verdict"] == "undecided"


def test_few_rows_prove_no_more_than_so_many_can() -> None:
    """No row of the other model in any block: no spread, and still only eight rows of evidence."""
    own, other = np.zeros((8, 1)), np.zeros((8, 1))
    own[:] = 1.0
    p_below, p_above = Tails(own, other, none_of(own)).tests(0.25)
    assert p_below[0] == pytest.approx(0.8**8)  # each of the eight is an own row with odds 1 : 0.25
    assert p_above[0] == 1.0


def none_of(counts: np.ndarray) -> np.ndarray:
    return np.zeros_like(counts)


def test_noise_on_both_sides_of_the_mean_is_no_concept() -> None:
    own, other = np.full((16, 1), 10.0), np.full((16, 1), 9.0)
    other[::2] += 2.0
    assert Tails(own, other, none_of(own)).tests(0.25)[1][0] < 1e-6
    p_below, p_above = Tails(own, other, other[::-1]).tests(0.25)
    assert p_above[0] > 0.99
    assert p_below[0] > 0.99, "nor does it prove that there is none"


def test_it_is_denied_in_either_look_and_granted_only_in_both() -> None:
    """Above in the first look, in the second, in neither."""
    own, few, many = (np.full((16, 1), float(n)) for n in (10, 0, 9))
    below = Tails(own, few, few)
    above = Tails(own, many + np.arange(16.0)[:, None] % 2, few)
    for tails in ([above, below], [below, above]):
        p_below, p_above = combined_tests(tails, 0.25)
        assert p_below[0] > 0.99
        assert p_above[0] == pytest.approx(2 * above.tests(0.25)[1][0])
    p_below, p_above = combined_tests([below, below], 0.25)
    assert p_below[0] == below.tests(0.25)[0][0] < 1e-6
    assert p_above[0] == 1.0


def test_one_refuted_by_its_twin_vouches_for_no_other(tmp_path: Path) -> None:
    x = rows_of(torch.full((2, 1), 0.05))
    table = judged(two_of_one_concept(), x, tmp_path)
    assert table["twin"].tolist() == [1, 0]
    assert table["p_exclusive"].tolist() == [1.0, 1.0]
    assert table["q_exclusive"].tolist() == [1.0, 1.0]


def test_the_table_given_is_left_as_it_was() -> None:
    before = looks_exclusive((0, 1))
    own = np.full((8, 2), 5.0)
    other = own + np.tile([[0.0], [1.0]], (4, 1))
    after = refuted(before, [Tails(own, other, none_of(own))])
    assert before["verdict"].tolist() == ["base_only", "it_only"]
    assert after["verdict"].tolist() == ["moved", "moved"]
