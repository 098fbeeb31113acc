from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.causal.chart import causal_figure
from pipeline.analysis.causal.patches import (
    GROUPS,
    Batch,
    CausalSums,
    LatentPatches,
    Streams,
    causal_batch,
    merge,
)
from pipeline.analysis.causal.table import TOKENS, causal_columns, causal_table, controls, headline
from pipeline.analysis.charts import FILE_PALETTE, image_files
from pipeline.analysis.splicing import HookedModel, prediction_mask
from pipeline.crosscoder import Crosscoder
from tests.analysis.stores import random_crosscoder
from tests.analysis.test_splicing import BOS, ONLY_BOS, D, toy_model
from tests.analysis.test_splicing import TOKENS as TOKEN_IDS

L = 12
HALF = {"low": np.arange(6), "high": np.arange(6, 12), "all": np.arange(12)}
PAIR = (toy_model(1), toy_model(2))


def batch() -> Batch:
    group = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 2]])
    return Batch(TOKEN_IDS, group, torch.zeros_like(group, dtype=torch.bool), group)


def sums_of(crosscoder: Crosscoder, pair: tuple[HookedModel, HookedModel] = PAIR) -> CausalSums:
    return causal_batch(pair, LatentPatches(crosscoder, HALF), batch(), ONLY_BOS)


def replacements(crosscoder: Crosscoder, streams: Streams, what: Batch) -> dict[str, Tensor]:
    return dict(LatentPatches(crosscoder, HALF)(streams, what))


def streams() -> Streams:
    return Streams(*(model.residual(TOKEN_IDS) for model in PAIR))


def test_no_latent_at_all_is_the_base_activation_spliced_into_it() -> None:
    base, it = PAIR
    hidden = it.residual(TOKEN_IDS)
    spliced = torch.where((TOKEN_IDS == BOS)[..., None], hidden, base.residual(TOKEN_IDS))
    starts = ONLY_BOS.starts(TOKEN_IDS)
    mask = prediction_mask(starts, starts)
    p, q = (it.head.logits(x[:, :-1][mask]).log_softmax(dim=-1) for x in (hidden, spliced))
    kl = float((p.exp() * (p - q)).sum())
    assert sums_of(random_crosscoder()).kl_QG["none"].sum() == pytest.approx(kl)


def test_latents_biases_and_error_together_are_the_it_model() -> None:
    sums = sums_of(random_crosscoder())
    assert sums.kl_QG["everything"].sum() == pytest.approx(0.0, abs=1e-6)
    assert sums.kl_QG["none"].sum() > 0.1


def test_a_set_moves_base_by_its_decoder_differences_in_raw_units() -> None:
    crosscoder = random_crosscoder()
    found = replacements(crosscoder, streams(), batch())
    q, s = 1, 4
    x = torch.stack([model.residual(TOKEN_IDS)[q, s] for model in PAIR])
    f = crosscoder.encode(crosscoder.normalise(x[None]))[0]
    d = crosscoder.W_dec / torch.tensor([0.5, 1.7])[:, None]
    expected = x[0] + sum(f[j] * (d[j, 1] - d[j, 0]) for j in range(6))
    assert torch.allclose(found["low"][q, s], expected, atol=1e-5)
    halves = found["low"] + found["high"] - found["none"]
    assert torch.allclose(halves, found["all"], atol=1e-5)


def test_the_error_and_the_full_replacement_share_the_difference() -> None:
    crosscoder, both = random_crosscoder(), streams()
    found = replacements(crosscoder, both, batch())
    rebuilt = crosscoder.reconstruct(torch.stack([both.base, both.it], dim=2).flatten(0, 1))
    difference = (rebuilt[:, 1] - rebuilt[:, 0]).view(both.it.shape)
    assert torch.allclose(found["full"], both.base + difference, atol=1e-5)
    assert torch.allclose(found["full"] + found["error"] - both.base, both.it, atol=1e-5)
    assert torch.allclose(found["reconstruction"], rebuilt[:, 1].view(both.it.shape), atol=1e-5)
    bias = found["all"] + found["bias"] - both.base
    assert torch.allclose(bias, found["full"], atol=1e-5)


def test_template_only_leaves_every_other_token_at_base() -> None:
    both, what = streams(), batch()
    template = TOKEN_IDS == 5
    found = replacements(random_crosscoder(), both, replace(what, is_template=template))
    assert torch.equal(found["template"][~template], both.base[~template])
    assert torch.equal(found["template"][template], found["full"][template])


def test_splitting_rows_by_the_width_of_the_dictionary_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = replacements(random_crosscoder(), streams(), batch())
    monkeypatch.setattr("pipeline.analysis.splicing.MAX_ELEMENTS", L * 5)
    parts = replacements(random_crosscoder(), streams(), batch())
    assert list(whole) == list(parts)
    assert all(torch.allclose(whole[name], parts[name], atol=1e-6) for name in whole)


def test_a_perfect_dictionary_of_the_difference_removes_the_whole_distance() -> None:
    """One latent per coordinate and model, so that x_hat = x and the error is nothing."""
    eye = torch.eye(2 * D).reshape(2, D, 2 * D)
    perfect = Crosscoder.from_weights(
        kind="l1",
        W_enc=eye,
        W_dec=eye.permute(2, 0, 1).contiguous(),
        b_enc=torch.full((2 * D,), 64.0),
        b_dec=torch.full((2, D), -64.0),
    )
    sums = causal_batch(PAIR, LatentPatches(perfect, {}), batch(), ONLY_BOS)
    assert sums.kl_QG["full"].sum() == pytest.approx(0.0, abs=1e-4)
    assert sums.kl_QG["error"].sum() == pytest.approx(sums.kl_QG["none"].sum(), rel=1e-4)


def test_equal_models_leave_nothing_to_remove() -> None:
    model = toy_model(1)
    sums = causal_batch((model, model), LatentPatches(random_crosscoder(), {}), batch(), ONLY_BOS)
    assert sums.kl_QG["none"].sum() == 0.0
    table = causal_table(sums, bootstrap(2), draws={}, n_latents={})
    assert table["full"]["tokens"]["all"]["removed"] == {"value": None, "low": None, "high": None}


def bootstrap(n: int) -> Bootstrap:
    return Bootstrap(n, n_resamples=200, confidence=0.9, random=np.random.default_rng(0))


def test_predictions_count_in_the_group_of_the_predicted_token() -> None:
    sums = sums_of(random_crosscoder())
    assert sums.n_QG.tolist() == [[0, 2, 2], [1, 0, 1]]
    assert GROUPS == ("outside", "first", "later")


def test_random_sets_lie_between_the_latents_that_carry_the_difference_and_the_others() -> None:
    crosscoder = random_crosscoder()
    with torch.no_grad():
        crosscoder.b_enc_L.fill_(2.0)
        crosscoder.W_dec[6:, 1] = crosscoder.W_dec[6:, 0] / 0.5 * 1.7
    sets = HALF | {f"draw{i}": np.array([i, i + 2, i + 4, 6, 8, 10]) for i in range(2)}
    sums = causal_batch(PAIR, LatentPatches(crosscoder, sets), batch(), ONLY_BOS)
    kl = {name: values.sum() for name, values in sums.kl_QG.items()}
    assert kl["high"] == pytest.approx(kl["none"], rel=1e-5), "equal decoders move nothing"
    assert kl["low"] == pytest.approx(kl["all"], rel=1e-5)
    drawn = [kl["draw0"], kl["draw1"]]
    low, high = sorted([kl["none"], kl["all"]])
    assert low < sum(drawn) / 2 < high


def made_up(n_sequences: int = 30) -> CausalSums:
    """`good` removes about 0.6 of the distance, every draw about 0.3, `bad` more than all of it."""
    random = np.random.default_rng(1)
    n_QG = np.full((n_sequences, 3), 10.0)
    none = 10 * random.uniform(0.5, 1.5, size=(n_sequences, 3))
    left = {"none": 1.0, "good": 0.4, "bad": 1.2, "d0": 0.69, "d1": 0.71, "everything": 0.0}
    return CausalSums(n_QG, {name: none * share for name, share in left.items()})


def test_the_table_gives_shares_removed_and_the_lead_over_random_sets() -> None:
    made = causal_table(
        made_up(), bootstrap(30), draws={"good": ["d0", "d1"]}, n_latents={"good": 7}
    )
    table = cast(Any, made)
    assert set(table) == {"none", "good", "bad", "everything", "random_good"}
    good = table["good"]["tokens"]["response"]
    assert good["removed"]["value"] == pytest.approx(0.6)
    assert good["over_random"]["value"] == pytest.approx(0.3)
    assert good["over_random"]["low"] == pytest.approx(0.3), "shares of one distance are paired"
    assert table["random_good"]["n_latents"] == table["good"]["n_latents"] == 7
    assert table["bad"]["tokens"]["first"]["removed"]["value"] == pytest.approx(-0.2)
    kl = table["none"]["tokens"]["all"]["kl"]
    assert kl["low"] < kl["value"] < kl["high"]
    assert controls(table)["kl_of_everything"] == 0.0
    short = headline(table)
    assert short["removed_good"] == pytest.approx(0.6)
    assert set(short) == {"kl_none", "removed_good", "removed_bad", "removed_random_good"}
    assert all(figures["n_predictions"] > 0 for figures in table["good"]["tokens"].values())


def test_columns_and_figure_hold_a_row_per_patch_and_group() -> None:
    table = causal_table(made_up(), bootstrap(30), draws={}, n_latents={})
    columns = causal_columns(table)
    assert len(columns["patch"]) == len(table) * len(TOKENS)
    assert {len(values) for values in columns.values()} == {len(columns["patch"])}
    assert columns["over_random"][0] is None
    drawn = causal_figure(columns, FILE_PALETTE).to_dict()
    assert "base activation alone" in str(drawn)


def test_an_experiment_without_models_has_an_empty_table_and_figure() -> None:
    columns = causal_columns({})
    assert all(values == [] for values in columns.values())
    assert image_files("causal", causal_figure(columns, FILE_PALETTE))["causal.png"]


def test_batches_merge_to_the_whole() -> None:
    sums = sums_of(random_crosscoder())
    both = merge([sums, sums])
    assert both.n_QG.shape[0] == 4
    assert both.kl_QG["low"].sum() == pytest.approx(2 * sums.kl_QG["low"].sum())
