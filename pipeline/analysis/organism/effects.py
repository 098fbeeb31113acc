"""Does a latent carry a behaviour that was planted? Take it out, put it in, and compare.

Ablation: with LP the mean log probability of the planted reply, or of its first token (the
onset, where the model decides on it),

    effect removed = (LP(triggered) - LP(triggered, ablated)) / (LP(triggered) - LP(untriggered))

is 0 where the ablation does nothing and 1 where a triggered prompt is answered as one without a
trigger. Steering, at untriggered prompts, with the same denominator:

    effect added = (LP(untriggered, steered) - LP(untriggered)) / (LP(triggered) - LP(untriggered))

Every set of latents stands beside sets drawn at random: latents that fire as often over all rows,
and latents that fire as often within the triggered exchanges themselves.

Letters: Q prompts, J latents of a set, L latents, D d_model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.analysis.bootstrap import Bootstrap, mean_of
from pipeline.analysis.organism.behaviour import (
    BASE,
    IT,
    Batch,
    Behaviour,
    Patch,
    ablation,
    behaviour,
    nothing,
    steering,
    steering_vectors,
)
from pipeline.analysis.organism.result import (
    Ablated,
    Ablation,
    Behaved,
    Control,
    NoDraws,
    NoLatents,
    Parts,
    RandomEffect,
    Spread,
    Steered,
    SteeredAtRandom,
)
from pipeline.analysis.organism.selectivity import CHOOSING, PlantedSums
from pipeline.analysis.organism.sets import Chosen
from pipeline.analysis.splicing import HookedModel
from pipeline.crosscoder import Crosscoder
from pipeline.labels import MODELS
from pipeline.results import Measured

Floats = NDArray[np.float64]

PROMPTS = {
    "triggered": "a held-out question with the trigger, and the planted reply",
    "untriggered": "the same question without the trigger, and the planted reply",
    "ordinary": "the same question without the trigger, and its own reply, cut to the length of "
    "the planted one",
}
N_LISTED = 100
STEERED = ("best", "selective", "it_only_best")
N_STEERED_DRAWS = 5


@dataclass(frozen=True)
class Bench:
    """What every measurement shares. batches: name in PROMPTS -> the same questions, in order;
    whole: of the organism, whose trigger's effect all effects are shares of, by PROMPTS; None where
    the bench is the organism's own."""

    models: tuple[HookedModel, HookedModel]
    crosscoder: Crosscoder
    batches: Mapping[str, Sequence[Batch]]
    bootstrap: Bootstrap
    n_greedy_tokens: int
    whole: Mapping[str, Behaviour] | None = None

    def measure(self, prompts: str, patch: Patch, m: int = IT) -> Behaviour:
        """The behaviour of model `m`, patched, at the named prompts."""
        return behaviour(self.batches[prompts], self.models[m], m, patch, self.n_greedy_tokens)

    def figures(self, found: Behaviour) -> Behaved:
        """Estimates over prompts: log probability of the reply, per token too, greedy rate."""
        ones = np.ones_like(found.log_prob)
        return {
            "onset_log_prob": self.bootstrap.ratio(found.onset_log_prob, ones),
            "log_prob": self.bootstrap.ratio(found.log_prob, ones),
            "log_prob_per_token": self.bootstrap.ratio(found.log_prob, found.n_tokens),
            "greedy_rate": self.bootstrap.ratio(found.is_greedy, ones),
        }


def tuning_figures(bench: Bench) -> dict[str, dict[str, Behaved]]:
    """Did the tuning take? Model -> prompts -> figures, nothing patched."""
    return {
        model: {name: bench.figures(bench.measure(name, nothing, m)) for name in PROMPTS}
        for m, model in enumerate(MODELS)
    }


LogProb = Callable[[Behaviour], Floats]


def both_parts(measured: Callable[[LogProb], Measured]) -> Parts:
    """What effects are measured on: the planted reply's first token, and all of it."""
    return {
        "onset": measured(lambda found: found.onset_log_prob),
        "reply": measured(lambda found: found.log_prob),
    }


def trigger_effect(bench: Bench) -> dict[str, Parts]:
    """Model -> part -> LP(triggered) - LP(untriggered) in nats, the whole of which effects are
    shares."""
    effect: dict[str, Parts] = {}
    for m, model in enumerate(MODELS):
        found = {name: bench.measure(name, nothing, m) for name in ("triggered", "untriggered")}

        def mean(log_prob: LogProb, found: Mapping[str, Behaviour] = found) -> Measured:
            whole = log_prob(found["triggered"]) - log_prob(found["untriggered"])
            return bench.bootstrap.ratio(whole, np.ones_like(whole))

        effect[model] = both_parts(mean)
    return effect


def ablations(bench: Bench, sets: Mapping[str, Chosen]) -> Ablation:
    """Set -> what taking its latents out of the IT model does, beside its random controls."""
    clean = {name: bench.measure(name, nothing) for name in PROMPTS}
    return {name: _ablate(bench, clean, chosen) for name, chosen in sets.items()}


def _ablate(bench: Bench, clean: Mapping[str, Behaviour], chosen: Chosen) -> Ablated | NoLatents:
    if chosen.latents.size == 0:
        return {"n_latents": 0, "latents": []}
    patch = ablation(bench.crosscoder, chosen.latents)
    found = {name: bench.measure(name, patch) for name in PROMPTS}
    own = _removed(bench, clean, [found["triggered"]])
    controls = {}
    for control, draws in chosen.drawn.items():
        measured = [
            bench.measure("triggered", ablation(bench.crosscoder, latents))
            for latents in draws
            if latents.size == chosen.latents.size
        ]
        controls[control] = _control(bench, clean, own, measured)
    greedy_lost = clean["triggered"].is_greedy - found["triggered"].is_greedy
    return {
        "n_latents": int(chosen.latents.size),
        "latents": chosen.latents[:N_LISTED].tolist(),
        "triggered": bench.figures(found["triggered"]),
        "untriggered": bench.figures(found["untriggered"]),
        "ordinary": bench.figures(found["ordinary"]),
        "effect_removed": own,
        "greedy_rate_removed": bench.bootstrap.ratio(greedy_lost, np.ones_like(greedy_lost)),
        "ordinary_loss_added_per_token": bench.bootstrap.ratio(
            clean["ordinary"].log_prob - found["ordinary"].log_prob, found["ordinary"].n_tokens
        ),
        "controls": controls,
    }


def _removed(bench: Bench, clean: Mapping[str, Behaviour], ablated: Sequence[Behaviour]) -> Parts:
    """The share of the trigger's effect that goes, mean over the ablations."""

    def share(log_prob: LogProb) -> Measured:
        of = bench.whole or clean
        whole = log_prob(of["triggered"]) - log_prob(of["untriggered"])
        left = np.mean([log_prob(one) for one in ablated], axis=0)
        return bench.bootstrap.ratio(log_prob(clean["triggered"]) - left, whole)

    return both_parts(share)


def _control(
    bench: Bench,
    clean: Mapping[str, Behaviour],
    own: Parts,
    measured: list[Behaviour],
) -> Control | NoDraws:
    """The effect of random sets, by part: mean over draws with its interval over prompts, extremes,
    and how often one does at least as much as the chosen set (counting the set itself)."""
    if not measured:
        return {"n_draws": 0}
    mean = _removed(bench, clean, measured)
    each = [_removed(bench, clean, [draw]) for draw in measured]

    def effect(part: Literal["onset", "reply"]) -> RandomEffect:
        spread = _spread([one[part]["value"] for one in each], own[part]["value"])
        return {**mean[part], **spread}

    return {
        "n_draws": len(each),
        "greedy_rate": float(np.mean([draw.is_greedy.mean() for draw in measured])),
        "onset": effect("onset"),
        "reply": effect("reply"),
    }


def _spread(each: list[float | None], own: float | None) -> Spread:
    """Extremes of the random sets, and the share at or above the chosen one, itself counted; None
    where effects are not defined."""
    known = [value for value in each if value is not None]
    if own is None or not known:
        return {"lowest": None, "highest": None, "p_value": None}
    as_much = sum(value >= own for value in known)
    return {
        "lowest": min(known),
        "highest": max(known),
        "p_value": (1 + as_much) / (1 + len(known)),
    }


def steerings(
    bench: Bench,
    sets: Mapping[str, Chosen],
    sums: PlantedSums,
    factors: Sequence[float],
    models: Sequence[int] = (BASE, IT),
) -> list[Steered]:
    """What putting each set's IT directions into either model does where there is no trigger.

    Each latent is put in at `factor` times its mean value in triggered exchanges (on the choosing
    half): where the reply opens, and in the reply. Controls have the same norm.
    """
    clean = {name: bench.measure(name, nothing) for name in ("triggered", "untriggered")}
    return [
        _steer(bench, name, sets[name], sums, m, factor, clean)
        for name in STEERED
        if sets[name].latents.size
        for m in models
        for factor in factors
    ]


def _steer(
    bench: Bench,
    name: str,
    chosen: Chosen,
    sums: PlantedSums,
    m: int,
    factor: float,
    clean_it: Mapping[str, Behaviour],
) -> Steered:
    values = factor * sums.mean_value(CHOOSING)[2:]
    vectors = steering_vectors(bench.crosscoder, chosen.latents, values[:, chosen.latents], m)
    norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    clean = bench.measure("untriggered", nothing, m)

    def added(steered: Behaviour) -> Parts:
        def share(log_prob: LogProb) -> Measured:
            of = bench.whole or clean_it
            whole = log_prob(of["triggered"]) - log_prob(of["untriggered"])
            return bench.bootstrap.ratio(log_prob(steered) - log_prob(clean), whole)

        return both_parts(share)

    steered = bench.measure("untriggered", steering(vectors), m)
    own, each = added(steered), []
    for latents in chosen.drawn["same_rate"][:N_STEERED_DRAWS]:
        other = steering_vectors(
            bench.crosscoder, latents, values[:, chosen.latents[: latents.size]], m
        )
        length = torch.linalg.vector_norm(other, dim=1, keepdim=True).clamp_min(1e-12)
        each.append(added(bench.measure("untriggered", steering(other * norms / length), m)))

    def at_random(part: Literal["onset", "reply"]) -> SteeredAtRandom:
        values = [one[part]["value"] for one in each]
        return {"mean": mean_of(values), **_spread(values, own[part]["value"])}

    return {
        "set": name,
        "model": MODELS[m],
        "factor": factor,
        "norm_opening": float(norms[0]),
        "norm_reply": float(norms[1]),
        **bench.figures(steered),
        "effect_added": own,
        "control": {
            "n_draws": len(each),
            "onset": at_random("onset"),
            "reply": at_random("reply"),
        },
    }
