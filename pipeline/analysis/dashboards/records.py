"""What is known of each chosen latent, put together as one record per latent."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.dashboards.example_pass import Kept
from pipeline.analysis.dashboards.excerpts import FIELDS as PLACE
from pipeline.analysis.dashboards.excerpts import NO_TOKEN, Windows
from pipeline.analysis.dashboards.file import Record, short
from pipeline.analysis.dashboards.histograms import Activity
from pipeline.analysis.decoders.geometry import EXCLUSIVE_BINS
from pipeline.analysis.groups import Cells
from pipeline.analysis.lens import TokenList
from pipeline.labels import TOKEN_CLASSES

Ints = NDArray[np.int64]


def choose(latents: Mapping[str, Any], n_latents: int) -> Ints:
    """Which latents get a dashboard, of the columns of `results/latents.parquet`, ascending.

    All live ones where they are at most `n_latents`. Else first those whose verdict is exclusive,
    then those that only the norms call exclusive, the most active first, and of the rest an even
    spread over how often they are active.
    """
    verdict, norm_bin = np.asarray(latents["verdict"]), np.asarray(latents["norm_bin"])
    n_active = np.asarray(latents["n_active"])
    live = np.flatnonzero(verdict != "dead")
    if live.size <= n_latents:
        return live
    by_activity = live[np.argsort(-n_active[live], kind="stable")]
    sure = np.isin(verdict[by_activity], EXCLUSIVE_BINS)
    normed = np.isin(norm_bin[by_activity], EXCLUSIVE_BINS) & ~sure
    first = np.concatenate([by_activity[sure], by_activity[normed]])[:n_latents]
    rest = by_activity[~sure & ~normed]
    spread = np.arange(n_latents - first.size) * rest.size // max(1, n_latents - first.size)
    return np.sort(np.concatenate([first, rest[spread]]))


class Records:
    """Puts the dashboards of the chosen latents together.

    norms_JM: decoder norms; nearest: latents and cosines [J, K]; text_of: token ids -> texts of a
    run of text; name_of: token id -> text by itself
    """

    def __init__(
        self,
        latents_J: Ints,
        kept: Kept,
        *,
        norms_JM: NDArray[np.floating],
        lens: Mapping[str, TokenList],
        nearest: tuple[Ints, NDArray[np.floating]],
        text_of: Callable[[Sequence[int]], list[str]],
        name_of: Callable[[int], str],
        n_bands: int,
        n_per_band: int,
    ) -> None:
        self._latents, self._kept, self._norms, self._lens = latents_J, kept, norms_JM, lens
        self._nearest, self._text_of, self._name_of = nearest, text_of, name_of
        self._n_bands, self._n_per_band = n_bands, n_per_band

    @property
    def n_tokens(self) -> int:
        """Tokens of the window."""
        return int(self._kept.activity.n_C.sum())

    def __iter__(self) -> Iterator[Record]:
        return map(self._record, range(len(self._latents)))

    def _record(self, j: int) -> Record:
        activity, nearest = self._kept.activity, self._nearest
        top = [self._example(self._kept.top, j, t) for t in _filled(self._kept.top, j)]
        return {
            "latent": int(self._latents[j]),
            "norm_base": short(self._norms[j, 0]),
            "norm_it": short(self._norms[j, 1]),
            "n_active": by_cell(activity.n_active_JC[j], activity.cells),
            "n_tokens": by_cell(activity.n_C, activity.cells),
            "histogram": histogram(activity, j),
            "top": top,
            "bands": self._bands(j, {(e["sequence"], e["position"]) for e in top}),
            "lens": {name: self._tokens(tokens, j) for name, tokens in self._lens.items()},
            "nearest": [
                {"latent": int(latent), "cosine": short(cosine)}
                for latent, cosine in zip(nearest[0][j], nearest[1][j], strict=True)
            ],
        }

    def _bands(self, j: int, shown: set[tuple[int, int]]) -> list[Record]:
        """Random examples by band of the active values, the strongest band first."""
        activity, n = self._kept.activity, self._n_bands
        edges = activity.quantiles(j, np.linspace(0, 1, n + 1))
        found: list[list[Record]] = [[] for _ in range(n)]
        for t in _filled(self._kept.sampled, j):
            value = float(self._kept.sampled.value_JT[j, t])
            band = found[min(n - 1, int(activity.rank(j, value) * n))]
            place = tuple(self._kept.sampled.place_JTF[j, t, :2].tolist())
            if len(band) < self._n_per_band and place not in shown:
                band.append(self._example(self._kept.sampled, j, t))
        return [
            {
                "from": short(b / n),
                "to": short((b + 1) / n),
                "low": short(edges[b]),
                "high": short(edges[b + 1]),
                "examples": sorted(found[b], key=lambda example: -example["value"]),
            }
            for b in reversed(range(n))
        ]

    def _example(self, windows: Windows, j: int, t: int) -> Record:
        place = dict(zip(PLACE, windows.place_JTF[j, t].tolist(), strict=True))
        inside = np.flatnonzero(windows.token_JTW[j, t] != NO_TOKEN)
        shown = slice(inside[0], inside[-1] + 1)
        return {
            "sequence": place["sequence"],
            "position": place["position"],
            "source": self._kept.activity.cells.sources[place["source"]],
            "token_class": TOKEN_CLASSES[place["token_class"]],
            "value": short(windows.value_JT[j, t]),
            "at": int(windows.before - inside[0]),
            "tokens": self._text_of(windows.token_JTW[j, t, shown].tolist()),
            "values": [None if np.isnan(f) else short(f) for f in windows.f_JTW[j, t, shown]],
        }

    def _tokens(self, tokens: TokenList, j: int) -> list[Record]:
        return [
            {"token": self._name_of(int(token)), "logit": short(logit)}
            for token, logit in zip(tokens.token_JK[j], tokens.logit_JK[j], strict=True)
        ]


def _filled(windows: Windows, j: int) -> list[int]:
    return np.flatnonzero(windows.score_JT[j] > 0).tolist()


def by_cell(count_C: NDArray[np.integer], cells: Cells) -> dict[str, dict[str, int]]:
    """{source: {token class: count}}."""
    nested: dict[str, dict[str, int]] = {source: {} for source in cells.sources}
    for (source, token_class), count in zip(cells.pairs, count_C.tolist(), strict=True):
        nested[source][token_class] = count
    return nested


def histogram(activity: Activity, j: int) -> Record:
    """Bin width and the counts per source, empty bins at the end left out."""
    groups = activity.cells.groups
    counts = {
        name: activity.count_JCH[j, groups[name]].sum(axis=0) for name in activity.cells.sources
    }
    used = np.flatnonzero(activity.count_JCH[j].any(axis=0))
    n_used = int(used[-1]) + 1 if used.size else 0
    return {
        "width": short(activity.width_J[j]),
        "counts": {name: count[:n_used].tolist() for name, count in counts.items()},
    }
