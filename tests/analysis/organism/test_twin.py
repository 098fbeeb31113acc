"""The twin as a control: what it shows too is topic, what only the organism shows is behaviour."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.heldout import Window
from pipeline.analysis.organism.behaviour import encode_batches, nothing, read_batches
from pipeline.analysis.organism.effects import PROMPTS, Bench, ablations, tuning_figures
from pipeline.analysis.organism.run import twin_figures, with_twin
from pipeline.analysis.organism.selectivity import PlantedSums
from pipeline.analysis.organism.sets import Chosen
from pipeline.analysis.splicing import HookedModel, Unpatched
from pipeline.store import StoreReader
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
from tests.analysis.readings import hooked
from tests.analysis.stores import heldout_store

N_PROMPTS = 6
SETS = {
    name: Chosen(np.array([FLAG_LATENT]), {"same_rate": [np.array([7])]})
    for name in ("best", "selective", "it_only_best")
}
VERDICTS: dict[str, list[Any]] = {
    "verdict": ["shared"] * V + ["it_only"],
    **{name: [0.5] * (V + 1) for name in ("nu_eps", "nu_r", "relative_norm", "decoder_cosine")},
}


def sums(share: float) -> PlantedSums:
    """The flag's latent fires on this share of the triggered exchanges, and nowhere else."""
    n_HR = np.tile([100.0, 10.0, 10.0, 30.0], (2, 1))
    fired, caught = np.zeros((2, 4, V + 1)), np.zeros((2, 2, V + 1), np.int64)
    fired[:, 1:, FLAG_LATENT], caught[..., FLAG_LATENT] = share * n_HR[:, 1:], round(share * 10)
    return PlantedSums(n_HR, fired, 0.5 * fired, np.array([10, 10]), caught)


def bench(pair: tuple[HookedModel, HookedModel]) -> Bench:
    prompts = {
        "triggered": questions(N_PROMPTS, True),
        "untriggered": questions(N_PROMPTS, False),
        "ordinary": [prompt([7, 8], (9, 6, 11))] * N_PROMPTS,
    }
    batches = {
        name: encode_batches(
            read_batches(
                given,
                pair,
                batch_prompts=3,
                start_id=BOS,
                unpatched=Unpatched(BOS, None),
                device=torch.device("cpu"),
            ),
            toy_crosscoder(),
            np.arange(V + 1),
        )
        for name, given in prompts.items()
    }
    bootstrap = Bootstrap(
        N_PROMPTS, n_resamples=100, confidence=0.9, random=np.random.default_rng(1)
    )
    return Bench(pair, toy_crosscoder(), batches, bootstrap, len(RESPONSE))


def test_a_planted_behaviour_shows_in_the_organism_and_not_in_its_twin() -> None:
    """The toy twin read the same trigger, and raises no flag at it."""
    base, it = toy_pair()
    organism = bench((base, it))
    whole = {name: organism.measure(name, nothing) for name in PROMPTS}
    beside = replace(bench((base, base)), whole=whole)
    found = cast(
        Any,
        twin_figures(beside, SETS, (sums(1.0), sums(0.0)), VERDICTS, factors=[1.0], examples=[]),
    )
    own = tuning_figures(organism)["it"]
    assert own["triggered"]["greedy_rate"]["value"] == 1.0
    assert found["tuning"]["triggered"]["greedy_rate"]["value"] == 0.0
    assert found["trigger_effect"]["onset"]["value"] == pytest.approx(0, abs=1e-6)
    removed = cast(Any, ablations(organism, SETS)["best"])["effect_removed"]
    in_twin = found["ablation"]["best"]["effect_removed"]
    for part in ("onset", "reply"):
        assert removed[part]["value"] == pytest.approx(1.0, abs=1e-5)
        assert in_twin[part]["value"] == pytest.approx(0.0, abs=1e-6)
    assert [row["selectivity_testing"] for row in found["latents"]] == [0.0]
    added = {row["set"]: row["effect_added"]["reply"]["value"] for row in found["steering"]}
    assert {row["model"] for row in found["steering"]} == {"it"}
    assert added["best"] == pytest.approx(1.0, abs=1e-5), "put in, it works in the twin as well"


def test_the_twins_rows_take_the_it_models_place(tmp_path: Path) -> None:
    rows = torch.arange(20.0).view(20, 1, 1).expand(20, 2, 3)

    class Tokens:
        """Sequence q holds tokens 100 q, 100 q + 1, ..."""

        def take(self, _name: str, sequences: Any) -> Any:
            return (100 * sequences[:, None] + np.arange(11)).astype(np.int32)

    def residual(token_ids: Tensor) -> Tensor:
        return token_ids[..., None].float().expand(*token_ids.shape, 3)

    twin = hooked(residual, lambda _ids, hidden: hidden, toy_pair()[0].head)
    with heldout_store(tmp_path / "rows.zarr", rows) as reader:
        cpu = torch.device("cpu")
        (batch,) = Window(reader, 20, 20).batches(cpu, "rows", "sequence", "position")
    found = with_twin(batch, cast(StoreReader, Tokens()), twin)
    expected = [100 * (n // 10) + n % 10 + 1 for n in range(20)]
    assert found.x[:, 1, 0].tolist() == [float(torch.tensor(float(e)).bfloat16()) for e in expected]
    assert torch.equal(found.x[:, 0], batch.x[:, 0])
