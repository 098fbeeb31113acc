"""From sums per block of documents to the list: shares, directions, kinds, each with its test.

A change is listed where its share of the difference surely exceeds `min_share`: the jackknife's t
over blocks of documents (see `analysis.blocks`), one false discovery rate over all that were
found.

Its kind is about its rows, and about what either model writes on them, u_base and u_it. Where the
rows have a direction in common in both models (it explains `min_common` of their squares: a concept
that both have, such as a token), that concept turns by theta and grows by ln rho,

    theta = arccos <u_base, u_it> / (|u_base| |u_it|),   rho = |u_it| / |u_base|,

the two parts of the logarithm of rho e^(i theta), and the larger one names the change. Where they
have none (an effect that meets rows of many kinds), only the change's own direction e can tell:
along it, in units of the change, base is at beta and IT at beta + 1. Products are of two halves of
the blocks, in which noise of one half meets none of the other.

    kind         rows with a common direction        other rows
    new          -                                   |beta| < limit
    lost         -                                   |beta + 1| < limit
    moved        on `min_share_elsewhere` of its squares the direction goes, and base had it there,
                 but not where it comes
    turned       theta > |ln rho|                    -1 + limit < beta < -limit
    stronger     theta < |ln rho|, rho > 1           beta > limit
    weaker       theta < |ln rho|, rho < 1           beta < -1 - limit
    mean_shift, scale_shift   what holds on every row

limit = max_strength / (1 - max_strength): one model has less than max_strength of what the other
has along e. For rows with a common direction rho beyond 1 / max_strength is new or lost, too.

The first that the figures say is tested, by the jackknife; a second false discovery rate is over
the kinds of listed entries, and a kind that does not pass is `undecided`.

Letters: J changes, G blocks of documents, M models, D d_model, K figures.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.blocks import (
    compared,
    effective_number,
    false_discovery_rate,
    jackknife_error,
    t_statistic,
    upper_tail,
)
from pipeline.analysis.changes.measure import AGAINST, BASE, WITH, ChangeSums, WrittenSums
from pipeline.config.changes import ChangesConfig

Floats = NDArray[np.float64]
KINDS = (
    *("new", "lost", "moved", "turned", "stronger", "weaker"),
    *("mean_shift", "scale_shift", "undecided"),
)


@dataclass(frozen=True)
class Judgement:
    """Of every change found, in the order they were found; the shifts last. Arrays are [J].

    share, cosine, log_strength: with standard errors; NaN where a shift has none
    listed: whether the share is surely above min_share
    """

    share: Floats
    share_error: Floats
    degrees: Floats
    p_share: Floats
    q_share: Floats
    listed: NDArray[np.bool_]
    cosine: Floats
    cosine_error: Floats
    log_strength: Floats
    log_strength_error: Floats
    share_against: Floats
    common: Floats
    beta: Floats
    likely_kind: NDArray[np.str_]
    kind: NDArray[np.str_]
    p_kind: Floats
    q_kind: Floats


def judge(sums: ChangeSums, section: ChangesConfig) -> Judgement:
    """Every change that was found, tested."""
    share, share_error, degrees, p_share = _shares(sums, section)
    q_share = false_discovery_rate(p_share)
    listed = np.nan_to_num(q_share, nan=1.0) <= section.max_false_discovery_rate
    figures, errors = _figures(sums.written)
    kind, margin, error = _claims(figures, errors, section)
    with np.errstate(divide="ignore", invalid="ignore"):
        t_kind = margin / error
    degrees_kind = degrees[: len(kind)]
    p_kind = np.concatenate([upper_tail(t_kind, degrees_kind), p_share[-2:]])
    kind = np.concatenate([kind, ["mean_shift", "scale_shift"]])
    q_kind = false_discovery_rate(np.where(listed, p_kind, np.nan))
    sure = np.nan_to_num(q_kind, nan=1.0) <= section.max_false_discovery_rate
    blank = np.full(2, np.nan)
    named = {
        name: np.concatenate([values, blank])
        for name, values in (
            ("cosine", np.cos(figures.theta)),
            ("cosine_error", np.sin(figures.theta) * errors.theta),
            ("log_strength", figures.log_strength),
            ("log_strength_error", errors.log_strength),
            ("share_against", figures.against),
            ("common", figures.common),
            ("beta", figures.beta),
        )
    }
    return Judgement(
        share=share,
        share_error=share_error,
        degrees=degrees,
        p_share=p_share,
        q_share=q_share,
        listed=listed,
        likely_kind=kind,
        kind=np.where(sure, kind, "undecided"),
        p_kind=p_kind,
        q_kind=q_kind,
        **named,
    )


def likely_kinds(sums: WrittenSums, section: ChangesConfig) -> tuple[NDArray[np.str_], Floats]:
    """[J] the kind that the figures say, and by how much they lie inside its range."""
    figures = _of_blocks(sums, np.ones(len(sums.effort_GJ)))
    kind, margin, _ = _claims(figures, figures, section)
    return kind, margin


def _shares(sums: ChangeSums, section: ChangesConfig) -> tuple[Floats, Floats, Floats, Floats]:
    """Share of each change, its standard error, degrees of freedom, and p of `share <= min_share`;
    p is NaN, no test, where too few blocks of documents stand behind it."""
    total_G, total = sums.total_G, sums.total_G.sum()
    if not total > 0:  # the models are equal on every row
        nothing = np.full(sums.carried_GJ.shape[1], np.nan)
        return nothing, nothing, nothing, nothing
    share = sums.carried_GJ.sum(axis=0) / total
    weight_GJ = np.broadcast_to(total_G[:, None], sums.carried_GJ.shape)
    z_GJ = sums.carried_GJ - section.min_share * weight_GJ
    t = t_statistic(z_GJ, weight_GJ)
    n_effective = effective_number(sums.square_GJ)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.abs((share - section.min_share) / t)
    p = np.where(
        n_effective >= section.min_effective_blocks, upper_tail(t, n_effective - 1), np.nan
    )
    return share, error, n_effective - 1, p


@dataclass(frozen=True)
class _Figures:
    """Of changes with lines [J].

    theta, log_strength: angle and ln rho between what the models write
    common: share of the rows' squares that a common direction explains, in the model with less
    beta: what base has along the change, in units of the change
    against: share of the change's squares against its direction; had: how much of it base had there
    has: and how much of it base has, either way round, where it comes
    """

    theta: Floats
    log_strength: Floats
    common: Floats
    beta: Floats
    against: Floats
    had: Floats
    has: Floats


def _figures(sums: WrittenSums) -> tuple[_Figures, _Figures]:
    """Over all blocks, and their jackknife errors over blocks left out."""
    n_blocks = len(sums.effort_GJ)
    whole = _of_blocks(sums, np.ones(n_blocks))
    parts = [_of_blocks(sums, 1 - np.eye(n_blocks)[block]) for block in range(n_blocks)]
    spread = {
        name: jackknife_error(np.stack([vars(part)[name] for part in parts]))
        for name in vars(whole)
    }
    return whole, _Figures(**spread)


def _of_blocks(sums: WrittenSums, weight_G: Floats) -> _Figures:
    half_HG = np.stack([weight_G * (np.arange(len(weight_G)) % 2 == half) for half in (0, 1)])
    first_JMD, second_JMD = np.tensordot(half_HG, sums.written_GJMD, axes=1)
    effort_HJ = np.maximum(half_HG @ sums.effort_GJ, 1e-30)
    product_JMM = (
        np.einsum("jmd,jnd->jmn", first_JMD, second_JMD) / effort_HJ.prod(axis=0)[:, None, None]
    )
    cosine, log_strength, (base, it) = compared(product_JMM)
    away_JM = np.maximum(np.tensordot(weight_G, sums.away_GJM, axes=1), 1e-30)
    common_JM = np.stack([base, it], axis=1) * effort_HJ.sum(axis=0)[:, None] / away_JM
    square_JS = np.maximum(np.tensordot(weight_G, sums.signed_square_GJS, axes=1), 1e-30)
    along_JMS = np.tensordot(weight_G, sums.along_GJMS, axes=1)
    return _Figures(
        theta=np.arccos(np.clip(cosine, -1, 1)),
        log_strength=log_strength,
        common=common_JM.min(axis=1),
        beta=along_JMS[:, BASE].sum(axis=1) / square_JS.sum(axis=1),
        against=square_JS[:, AGAINST] / square_JS.sum(axis=1),
        # h < 0 there: base had the direction where h <x_base, e> is as negative as -h^2
        had=-along_JMS[:, BASE, AGAINST] / square_JS[:, AGAINST],
        has=np.abs(along_JMS[:, BASE, WITH] / square_JS[:, WITH]),
    )


def _claims(figures: _Figures, errors: _Figures, section: ChangesConfig) -> "Claim":
    """The kind that the figures of each change say."""
    by_concept = _concept_claim(figures, errors, section)
    by_direction = _direction_claim(figures, errors, section)
    kind, margin, error = (
        np.where(figures.common >= section.min_common, concept, direction)
        for concept, direction in zip(by_concept, by_direction, strict=True)
    )
    enough = figures.against >= section.min_share_elsewhere
    moved = enough & (figures.had > 0.5) & (figures.has < 0.5)
    kind = np.where(moved, "moved", kind)
    margin = np.where(moved, np.minimum(figures.had - 0.5, 0.5 - figures.has), margin)
    return kind, margin, np.where(moved, np.maximum(errors.had, errors.has), error)


Claim = tuple[NDArray[np.str_], Floats, Floats]
"""Kind, by how much the figure lies inside the kind's range, and the standard error of that."""


def _concept_claim(figures: _Figures, errors: _Figures, section: ChangesConfig) -> Claim:
    """Of rows with a common direction."""
    size, limit = np.abs(figures.log_strength), -np.log(section.max_strength)
    turned = figures.theta > size
    beyond = size > limit
    kind = np.where(figures.log_strength > 0, "stronger", "weaker").astype("<U12")
    kind = np.where(turned, "turned", kind)
    kind = np.where(beyond, np.where(figures.log_strength > 0, "new", "lost"), kind)
    margin = np.where(beyond, size - limit, np.abs(figures.theta - size))
    return kind, margin, np.hypot(errors.theta, errors.log_strength)


def _direction_claim(figures: _Figures, errors: _Figures, section: ChangesConfig) -> Claim:
    """Of other rows."""
    limit = section.max_strength / (1 - section.max_strength)
    edges = np.array([-1 - limit, -1 + limit, -limit, limit])
    kinds = np.array(["weaker", "lost", "turned", "new", "stronger"])
    kind = kinds[np.searchsorted(edges, figures.beta)]
    margin = np.abs(figures.beta[:, None] - edges).min(axis=1)
    return kind, margin, errors.beta
