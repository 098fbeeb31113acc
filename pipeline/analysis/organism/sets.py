"""Which latents are tested for the planted behaviour, and their controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.analysis.organism.behaviour import Latents
from pipeline.analysis.organism.selectivity import (
    CHOOSING,
    SITES,
    TESTING,
    PlantedSums,
    matched_latents,
    most_selective,
)

SETS = {
    "best": "the most selective latent of all",
    "before": "the latents most selective for what comes before the reply: trigger and opening",
    "reply": "the latents most selective for the planted reply",
    "selective": "both of these",
    "it_only_best": "the most selective latent that the verdict calls IT-only",
    "it_only": "every latent that the verdict calls IT-only",
}


CONTROLS = {
    "same_rate": "random latents that fire as often over all held-out rows",
    "same_rate_in_exchanges": "random latents that fire as often within triggered exchanges",
}


NEAR_LATENTS = 20
"""A random latent is drawn from the unused ones nearest to its model in firing rate."""


@dataclass(frozen=True)
class Chosen:
    """A set of latents, and for each control the sets drawn at random against it."""

    latents: Latents
    drawn: dict[str, list[Latents]]


def choose_sets(
    sums: PlantedSums,
    verdicts_L: Sequence[str],
    *,
    n_latents: int,
    n_draws: int,
    random: np.random.Generator,
) -> dict[str, Chosen]:
    """The SETS, chosen on one half of the held-out documents alone, and their random controls.

    verdicts_L: of latent scaling. A set may be empty.
    """
    verdict_L = np.array(verdicts_L)
    live = verdict_L != "dead"
    it_only = verdict_L == "it_only"
    before, reply = (most_selective(sums, live, n_latents, (site,)) for site in SITES)
    sets = {
        "best": most_selective(sums, live, 1),
        "before": before,
        "reply": reply,
        "selective": np.unique(np.concatenate([before, reply])),
        "it_only_best": most_selective(sums, it_only, 1),
        "it_only": np.flatnonzero(it_only),
    }
    figures = {"same_rate": sums.rate(), "same_rate_in_exchanges": sums.rate_planted(CHOOSING)}
    return {
        name: Chosen(
            latents,
            {
                control: [
                    matched_latents(latents, figure, live, random, NEAR_LATENTS)
                    for _ in range(n_draws)
                ]
                for control, figure in figures.items()
            },
        )
        for name, latents in sets.items()
    }


def latents_used(sets: Mapping[str, Chosen]) -> Latents:
    """Every latent of a set or a control, ascending."""
    drawn = [d for chosen in sets.values() for draws in chosen.drawn.values() for d in draws]
    return np.unique(np.concatenate([*(chosen.latents for chosen in sets.values()), *drawn]))


def latent_rows(
    sets: Mapping[str, Chosen], sums: PlantedSums, verdicts: Mapping[str, Sequence[Any]]
) -> list[dict[str, Any]]:
    """The chosen latents with what they fire on: on the choosing and on the testing half.

    verdicts: columns of `results/latents.parquet`
    """
    shown = np.concatenate([sets["selective"].latents, sets["it_only_best"].latents])
    halves = {"choosing": CHOOSING, "testing": TESTING}
    score = {half: sums.selectivity(h) for half, h in halves.items()}
    rows = []
    for latent in dict.fromkeys(shown.tolist()):
        s = int(score["choosing"][:, latent].argmax())
        rows.append(
            {
                "latent": latent,
                "site": SITES[s],
                **{
                    f"{name}_{half}": float(figure[s, latent])
                    for half, h in halves.items()
                    for name, figure in (
                        ("selectivity", score[half]),
                        ("precision", sums.precision(h)),
                        ("recall", sums.recall(h)),
                    )
                },
                "rate": float(sums.rate()[latent]),
                **{name: _plain(verdicts[name][latent]) for name in VERDICT_COLUMNS},
            }
        )
    return rows


VERDICT_COLUMNS = ("verdict", "nu_eps", "nu_r", "relative_norm", "decoder_cosine")


def _plain(value: Any) -> Any:
    """A table's value as JSON takes it."""
    if isinstance(value, str):
        return value
    return float(value) if np.isfinite(value) else None
