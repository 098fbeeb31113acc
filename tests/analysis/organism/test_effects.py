from typing import Any, cast

import numpy as np
import pytest
import torch

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.charts import FILE_PALETTE, image_files
from pipeline.analysis.organism.behaviour import encode_batches, read_batches
from pipeline.analysis.organism.chart import COLUMNS, ablation_table, organism_figure
from pipeline.analysis.organism.effects import (
    STEERED,
    Bench,
    ablations,
    steerings,
    trigger_effect,
    tuning_figures,
)
from pipeline.analysis.organism.examples import examples
from pipeline.analysis.organism.selectivity import PlantedSums
from pipeline.analysis.organism.sets import Chosen, choose_sets, latent_rows, latents_used
from pipeline.analysis.splicing import Unpatched
from tests.analysis.organism.toy_organism import (
    BOS,
    FLAG_LATENT,
    RESPONSE,
    V,
    prompt,
    questions,
    toy_crosscoder,
    toy_pair,
)

N_PROMPTS = 8
VERDICT = ["shared"] * V + ["it_only"]


def planted_sums() -> PlantedSums:
    """The flag's latent fires in every triggered exchange and nowhere else; the rest everywhere."""
    n_HR = np.tile([100.0, 10.0, 10.0, 30.0], (2, 1))
    fired = np.repeat(0.3 * n_HR[..., None], V + 1, axis=2)
    fired[:, 0, FLAG_LATENT], fired[:, 1:, FLAG_LATENT] = 0.0, n_HR[:, 1:]
    caught = np.full((2, 2, V + 1), 6.0)
    caught[..., FLAG_LATENT] = 10.0
    return PlantedSums(n_HR, fired, 0.5 * fired, np.array([10, 10]), caught)


@pytest.fixture(scope="module")
def sets() -> dict[str, Chosen]:
    random = np.random.default_rng(0)
    return choose_sets(planted_sums(), VERDICT, n_latents=1, n_draws=5, random=random)


@pytest.fixture(scope="module")
def bench(sets: dict[str, Chosen]) -> Bench:
    pair, crosscoder = toy_pair(), toy_crosscoder()
    prompts = {
        "triggered": questions(N_PROMPTS, True),
        "untriggered": questions(N_PROMPTS, False),
        "ordinary": [prompt([7, 8], (9, 6, 11))] * N_PROMPTS,
    }
    return Bench(
        models=pair,
        crosscoder=crosscoder,
        batches={
            name: encode_batches(
                read_batches(
                    given,
                    pair,
                    batch_prompts=3,
                    start_id=BOS,
                    unpatched=Unpatched(BOS, None),
                    device=torch.device("cpu"),
                ),
                crosscoder,
                latents_used(sets),
            )
            for name, given in prompts.items()
        },
        bootstrap=Bootstrap(
            N_PROMPTS, n_resamples=200, confidence=0.95, random=np.random.default_rng(1)
        ),
        n_greedy_tokens=len(RESPONSE),
    )


def test_the_latent_that_fires_on_the_trigger_alone_is_chosen_everywhere(
    sets: dict[str, Chosen],
) -> None:
    assert list(sets) == ["best", "before", "reply", "selective", "it_only_best", "it_only"]
    assert all(chosen.latents.tolist() == [FLAG_LATENT] for chosen in sets.values())
    for chosen in sets.values():
        for draws in chosen.drawn.values():
            assert len(draws) == 5
            assert all(FLAG_LATENT not in draw and draw.size == 1 for draw in draws)


def test_dead_latents_are_neither_chosen_nor_drawn() -> None:
    verdict = ["dead"] * (V - 1) + ["shared", "dead"]
    random = np.random.default_rng(0)
    found = choose_sets(planted_sums(), verdict, n_latents=4, n_draws=3, random=random)
    assert found["selective"].latents.tolist() == [V - 1]
    assert found["it_only"].latents.size == 0
    assert all(draw.size == 0 for draw in found["selective"].drawn["same_rate"])


def test_the_tuned_model_shows_the_behaviour_on_the_trigger_only(bench: Bench) -> None:
    rates = {
        model: {name: found["greedy_rate"]["value"] for name, found in of.items()}
        for model, of in tuning_figures(bench).items()
    }
    assert rates["it"]["triggered"] == 1.0
    assert rates["it"]["untriggered"] == rates["base"]["triggered"] == 0.0
    effect = cast(Any, trigger_effect(bench))
    for part in ("onset", "reply"):
        assert effect["it"][part]["low"] > 3
        assert effect["base"][part]["value"] == pytest.approx(0, abs=1e-6)


def test_taking_out_the_latent_that_carries_it_removes_the_behaviour_and_nothing_else(
    bench: Bench, sets: dict[str, Chosen]
) -> None:
    found = cast(Any, ablations(bench, sets)["best"])
    for part in ("onset", "reply"):
        assert found["effect_removed"][part]["value"] == pytest.approx(1.0, abs=1e-5)
    assert found["greedy_rate_removed"]["value"] == 1.0
    assert found["ordinary_loss_added_per_token"]["value"] == pytest.approx(0.0, abs=1e-6)
    for control in found["controls"].values():
        assert control["onset"]["highest"] < 0.9
        assert control["reply"]["p_value"] == pytest.approx(1 / 6)


def test_putting_it_in_makes_the_behaviour_without_a_trigger(
    bench: Bench, sets: dict[str, Chosen]
) -> None:
    found = cast(Any, steerings(bench, sets, planted_sums(), [1.0, 0.1]))
    by = {(row["model"], row["factor"]): row for row in found if row["set"] == "best"}
    assert by["it", 1.0]["effect_added"]["reply"]["value"] == pytest.approx(1.0, abs=1e-5)
    assert by["it", 1.0]["greedy_rate"]["value"] == 1.0
    assert by["base", 1.0]["greedy_rate"]["value"] == 1.0
    assert 0 < by["it", 0.1]["effect_added"]["onset"]["value"] < 0.5
    assert by["it", 1.0]["control"]["reply"]["highest"] < 0.5


def test_an_empty_set_says_so(bench: Bench) -> None:
    empty = Chosen(np.array([], dtype=np.int64), {"same_rate": [], "same_rate_in_exchanges": []})
    assert ablations(bench, {"it_only": empty}) == {"it_only": {"n_latents": 0, "latents": []}}
    none: dict[str, Chosen] = {name: empty for name in STEERED}  # noqa: C420 (the type)
    assert steerings(bench, none, planted_sums(), [1.0]) == []


def test_examples_show_what_is_written_with_and_without(
    bench: Bench, sets: dict[str, Chosen]
) -> None:
    shown = examples(
        bench,
        sets,
        {"triggered": questions(2, True), "untriggered": questions(2, False)},
        n_tokens=3,
        start_id=BOS,
        unpatched=Unpatched(BOS, None),
        decode=lambda ids: " ".join(map(str, ids)),
    )
    reply = " ".join(map(str, RESPONSE))
    assert [row["clean"] == reply for row in shown] == [True, True, False, False]
    assert all(row["without_selective"] != reply for row in shown)


def test_the_latents_rows_hold_both_halves_and_the_verdict(sets: dict[str, Chosen]) -> None:
    columns: dict[str, Any] = {
        name: [0.5] * (V + 1) for name in ("nu_eps", "nu_r", "relative_norm", "decoder_cosine")
    }
    (row,) = latent_rows(sets, planted_sums(), {**columns, "verdict": VERDICT})
    assert row["latent"] == FLAG_LATENT
    assert row["verdict"] == "it_only"
    assert row["recall_choosing"] == row["recall_testing"] == 1.0
    assert row["precision_testing"] == pytest.approx(30 / 50)


def test_the_table_holds_a_row_per_set_and_series_and_is_drawn(
    bench: Bench, sets: dict[str, Chosen]
) -> None:
    table = ablation_table(ablations(bench, sets))
    assert set(table) == set(COLUMNS)
    assert len(table["set"]) == len(sets) * 2 * 3
    drawn = image_files("organism", organism_figure(table, FILE_PALETTE))
    assert drawn["organism.png"].startswith(b"\x89PNG")


def test_without_a_planted_behaviour_the_table_is_empty_and_still_drawn() -> None:
    table = ablation_table({})
    assert table == {name: [] for name in COLUMNS}
    assert image_files("organism", organism_figure(table, FILE_PALETTE))
