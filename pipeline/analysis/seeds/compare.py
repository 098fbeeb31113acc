"""Do two crosscoders that differ in nothing but the seed find the same latents, and judge alike?

Latents are compared by the cosine of [d_base; d_IT], both decoders together in the normalised
space, so that a shared and an IT-only latent of one IT direction are not taken for the same.

    MMCS     mean over a run's latents of the largest cosine with any latent of the other run
    kappa    Cohen's: (agreement - agreement by chance) / (1 - agreement by chance), of the
             verdicts of latents paired one to one with the largest sum of cosines (Hungarian)
    overlap  ||Q_a^T Q_b||_F^2 / min(rank_a, rank_b), Q orthonormal bases of the spans of the IT
             decoders of the IT-only latents (base decoders of base-only ones): the mean squared
             cosine of the principal angles; of random subspaces max(rank_a, rank_b) / D

Letters: L latents, M models, D d_model, P = M * D, R resamples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline.analysis.bootstrap import mean_of
from pipeline.analysis.seeds.result import (
    Agreement,
    Compared,
    Mmcs,
    Overlap,
    Pair,
    SeedColumns,
    Summary,
)
from pipeline.analysis.verdicts.table import VERDICTS
from pipeline.columns import Table, table_of
from pipeline.labels import MODELS
from pipeline.results import NOT_MEASURED, Measured, descriptions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Names = NDArray[np.str_]

JUDGED = tuple(verdict for verdict in VERDICTS if verdict != "dead")
EXCLUSIVE = {"base_only": MODELS.index("base"), "it_only": MODELS.index("it")}
"""Verdict -> the model whose decoders span its subspace."""
RANK_TOLERANCE = 1e-3
"""Singular values below this share of the largest do not count to a span."""
N_ANGLES = 10
N_SUBSPACES = 100
"""Random pairs of subspaces behind the overlap that chance gives."""

COLUMNS = descriptions(SeedColumns)


@dataclass(frozen=True)
class SeedRun:
    """One run's live latents: decoders [L, M, D] in the normalised space, verdicts [L]."""

    W_dec_LMD: Floats
    verdict_L: Names

    @classmethod
    def of(cls, W_dec_LMD: NDArray[np.floating[Any]], verdicts: Sequence[str]) -> "SeedRun":
        """The latents that are not dead, of decoders and verdicts of all."""
        verdict = np.array(verdicts)
        live = verdict != "dead"
        return cls(np.asarray(W_dec_LMD, np.float64)[live], verdict[live])


@dataclass(frozen=True)
class Comparing:
    """Resamples behind each interval, its coverage, and the random stream."""

    n_bootstrap: int
    confidence: float
    random: np.random.Generator

    def interval(self, draws_R: Floats) -> tuple[float, float]:
        low, high = np.quantile(draws_R, ((1 - self.confidence) / 2, (1 + self.confidence) / 2))
        return float(low), float(high)


def compare(a: SeedRun, b: SeedRun, how: Comparing) -> Compared:
    """Everything two runs have in common, as plain data."""
    cosine_LL = cosines(a.W_dec_LMD, b.W_dec_LMD)
    rotated_LL = cosines(a.W_dec_LMD, rotated(b.W_dec_LMD, how.random))
    rows, columns = linear_sum_assignment(cosine_LL, maximize=True)
    matched = cosine_LL[rows, columns]
    return {
        "n_live": [len(a.verdict_L), len(b.verdict_L)],
        "mmcs": {
            verdict: _mmcs(cosine_LL, rotated_LL, a.verdict_L, b.verdict_L, verdict, how)
            for verdict in ("all", *JUDGED)
        },
        "matched": {
            "n_pairs": int(rows.size),
            "mean_cosine": float(matched.mean()),
            "share_above_0.9": float((matched > 0.9).mean()),
            "share_above_0.7": float((matched > 0.7).mean()),
        },
        "verdicts": agreement(a.verdict_L[rows], b.verdict_L[columns], how),
        "verdicts_where_cosine_above_0.7": agreement(
            a.verdict_L[rows][matched > 0.7], b.verdict_L[columns][matched > 0.7], how
        ),
        "subspaces": {
            verdict: subspace_overlap(
                a.W_dec_LMD[a.verdict_L == verdict, model],
                b.W_dec_LMD[b.verdict_L == verdict, model],
                how,
            )
            for verdict, model in EXCLUSIVE.items()
        },
    }


def cosines(W_a_LMD: Floats, W_b_LMD: Floats) -> Floats:
    """[L_a, L_b] cosine of the concatenated decoders."""
    return _unit(W_a_LMD.reshape(len(W_a_LMD), -1)) @ _unit(W_b_LMD.reshape(len(W_b_LMD), -1)).T


def _unit(vectors: Floats) -> Floats:
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 0)


def rotated(W_LMD: Floats, random: np.random.Generator) -> Floats:
    """The decoders with one random rotation of each model's space: norms and the angles between
    latents stay, what they point at does not."""
    d_model = W_LMD.shape[2]
    turned = [W_LMD[:, m] @ _rotation(d_model, random) for m in range(W_LMD.shape[1])]
    return np.stack(turned, axis=1)


def _rotation(d_model: int, random: np.random.Generator) -> Floats:
    q, r = np.linalg.qr(random.standard_normal((d_model, d_model)))
    return q * np.sign(np.diag(r))


def _mmcs(
    cosine_LL: Floats,
    rotated_LL: Floats,
    verdict_a: Names,
    verdict_b: Names,
    verdict: str,
    how: Comparing,
) -> Mmcs:
    """Both directions together: each latent of the verdict counts with its best match."""

    def best(score: Floats) -> Floats:
        in_a = (verdict_a == verdict) | (verdict == "all")
        in_b = (verdict_b == verdict) | (verdict == "all")
        return np.concatenate([score.max(axis=1)[in_a], score.max(axis=0)[in_b]])

    found = best(cosine_LL)
    if found.size == 0:
        return {"n_latents": 0, "value": None, "low": None, "high": None, "rotated": None}
    draws = [how.random.choice(found, found.size).mean() for _ in range(how.n_bootstrap)]
    low, high = how.interval(np.array(draws))
    return {
        "n_latents": int(found.size),
        "value": float(found.mean()),
        "low": low,
        "high": high,
        "rotated": float(best(rotated_LL).mean()),
    }


def agreement(verdict_a: Names, verdict_b: Names, how: Comparing) -> Agreement:
    """Agreement of the verdicts of matched latents, with intervals over the pairs.

    kappa is None where it is not defined: where one verdict holds for every latent of both runs.
    """
    table = np.array(
        [[((verdict_a == x) & (verdict_b == y)).sum() for y in JUDGED] for x in JUDGED]
    )
    n = int(table.sum())
    counts: dict[str, dict[str, int]] = {
        x: dict(zip(JUDGED, row.tolist(), strict=True))
        for x, row in zip(JUDGED, table, strict=True)
    }
    if n == 0:
        return {"n_pairs": 0, "agreement": NOT_MEASURED, "kappa": NOT_MEASURED, "counts": counts}
    shares = table.ravel() / n
    draws = how.random.multinomial(n, shares, size=how.n_bootstrap).reshape(-1, *table.shape)

    def measured(figure: Callable[[NDArray[np.integer]], float]) -> Measured:
        value = figure(table)
        drawn = np.array([figure(draw) for draw in draws])
        drawn = drawn[np.isfinite(drawn)]
        if not (np.isfinite(value) and drawn.size):
            return NOT_MEASURED
        low, high = how.interval(drawn)
        return {"value": float(value), "low": low, "high": high}

    return {
        "n_pairs": n,
        "agreement": measured(_agreement),
        "kappa": measured(kappa),
        "counts": counts,
    }


def _agreement(table: NDArray[np.integer]) -> float:
    return float(np.trace(table) / table.sum())


def kappa(table: NDArray[np.integer]) -> float:
    """Cohen's kappa of a square table of counts; NaN where chance alone would agree always."""
    n = table.sum()
    chance = float((table.sum(axis=0) * table.sum(axis=1)).sum() / n**2)
    return float("nan") if chance >= 1 else (_agreement(table) - chance) / (1 - chance)


def subspace_overlap(A: Floats, B: Floats, how: Comparing) -> Overlap:
    """Overlap of the spans of the rows of A and B, beside that of random subspaces."""
    bases = [span(A), span(B)]
    ranks = [basis.shape[1] for basis in bases]
    found: Overlap = {
        "n_latents": [len(A), len(B)],
        "rank": ranks,
        "overlap": None,
        "random": None,
        "principal_angles_degrees": [],
    }
    if min(ranks) == 0:
        return found
    cosine = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).clip(0.0, 1.0)
    d_model = A.shape[1]
    draws = np.array(
        [
            _overlap(*(span(how.random.standard_normal((rank, d_model))) for rank in ranks))
            for _ in range(N_SUBSPACES)
        ]
    )
    low, high = how.interval(draws)
    return {
        **found,
        "overlap": _overlap(*bases),
        "random": {"mean": float(draws.mean()), "low": low, "high": high},
        "principal_angles_degrees": np.degrees(np.arccos(cosine[:N_ANGLES])).tolist(),
    }


def span(rows: Floats) -> Floats:
    """[D, rank] orthonormal basis of the span of the rows, each taken at unit length."""
    if len(rows) == 0:
        return np.zeros((rows.shape[1], 0))
    _, size, basis = np.linalg.svd(_unit(rows), full_matrices=False)
    return basis[size > RANK_TOLERANCE * max(size.max(), 1e-12)].T


def _overlap(Q_a: Floats, Q_b: Floats) -> float:
    return float(np.square(Q_a.T @ Q_b).sum() / min(Q_a.shape[1], Q_b.shape[1]))


def summary(pairs: Sequence[Pair]) -> Summary:
    """Means over the pairs of runs: MMCS by verdict, agreement, kappa, overlap of the subspaces;
    None where no pair has the figure."""
    return {
        "mmcs": {v: mean_of(pair["mmcs"][v]["value"] for pair in pairs) for v in ("all", *JUDGED)},
        "agreement": mean_of(pair["verdicts"]["agreement"]["value"] for pair in pairs),
        "kappa": mean_of(pair["verdicts"]["kappa"]["value"] for pair in pairs),
        "overlap": {
            v: mean_of(pair["subspaces"][v]["overlap"] for pair in pairs) for v in EXCLUSIVE
        },
    }


def table(pairs: Sequence[Pair]) -> Table:
    """MMCS by pair of runs and verdict, with the columns of COLUMNS; empty verdicts left out."""
    rows = (
        {
            "run_a": pair["runs"][0],
            "run_b": pair["runs"][1],
            "verdict": verdict,
            "mmcs": found["value"],
            "mmcs_rotated": found["rotated"],
            **found,
        }
        for pair in pairs
        for verdict, found in pair["mmcs"].items()
        if found["n_latents"]
    )
    return table_of(rows, COLUMNS)
