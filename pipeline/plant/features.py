"""The planted features: what each is, its directions, and where it fires.

    row_m = background_m + unit * sum_j g_j gain_mj [source of the row in contexts_mj] direction_mj

g_j, the activation of feature j, is a pure function of (seed, sequence, position): it can be asked
for again at any row without the row's activations.

Letters: B rows, F features, M models (base, IT), D d_model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.config.plant import PlantConfig, PlantGroup
from pipeline.plant.hashing import normals, uniforms
from pipeline.runtime import numpy_generator

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]

COLUMNS = {
    "feature": "index in the planted dictionary",
    "kind": "name of its group in the section `plant`",
    "rate": "share of the rows of its contexts on which it fires",
    "base_gain": "size in the base model's rows",
    "it_gain": "size in the IT model's rows",
    "cosine": "cosine between its directions in the two models",
    "base_contexts": "source of the rows on which it fires in the base model",
    "it_contexts": "source of the rows on which it fires in the IT model",
    "strength": "mean norm of what it adds where it fires, over the background's",
}


@dataclass(frozen=True)
class Features:
    """The planted dictionary. Arrays have one entry per feature, groups in the order given.

    direction_FMD: unit vectors; gain_FM; in_context_FMS: 1 where it fires on source S
    cluster_F: features with one number fire together; cofiring_F, document_share_F, strength_F,
    spread_F, rate_F: as in the configuration
    """

    seed: int
    kind_F: tuple[str, ...]
    group_F: tuple[PlantGroup, ...]
    direction_FMD: Floats
    gain_FM: Floats
    in_context_FMS: Floats
    cluster_F: NDArray[np.int64]
    rate_F: Floats
    cofiring_F: Floats
    document_share_F: Floats
    strength_F: Floats
    spread_F: Floats

    @property
    def n(self) -> int:
        return len(self.kind_F)

    def activations(self, document_B: Ints, sequence_B: Ints, position_B: Ints) -> Floats:
        """[B, F] activation g of each feature where it fires, 0 elsewhere; mean `strength_F`."""
        row, cluster = (sequence_B[:, None], position_B[:, None]), self.cluster_F[None]
        # A cluster is on at the rate of its commonest member over cofiring; rarer ones join less.
        on_rate_F = self._cluster_rate()
        on = uniforms(self.seed, "cluster", *row, cluster) < on_rate_F / self.document_share_F
        on &= self._in_document(document_B)
        # Few clusters are on: the members are drawn at those places alone. A number depends on its
        # place, so it is the same as if all had been drawn.
        at = np.nonzero(on)
        join_F = self.rate_F / on_rate_F
        joins = (
            uniforms(self.seed, "member", sequence_B[at[0]], position_B[at[0]], at[1])
            < join_F[at[1]]
        )
        b, f = at[0][joins], at[1][joins]
        bell = normals(self.seed, "strength", sequence_B[b], position_B[b], f)
        g = np.zeros(on.shape)
        # exp(s z - s^2 / 2) has mean 1.
        g[b, f] = self.strength_F[f] * np.exp(self.spread_F[f] * (bell - self.spread_F[f] / 2))
        return g

    def contributions(self, g_BF: Floats, source_B: Ints) -> NDArray[np.float32]:
        """[B, M, D] what the features add to each model's row, in units of the background."""
        parts = [
            (g_BF * self.in_context_FMS[:, m].T[source_B]).astype(np.float32)
            @ (self.gain_FM[:, m, None] * self.direction_FMD[:, m]).astype(np.float32)
            for m in range(self.gain_FM.shape[1])
        ]
        return np.stack(parts, axis=1)

    def anywhere(self, g_BF: Floats, source_B: Ints) -> Floats:
        """[B, F] the activations in whichever model has the feature in the row's context."""
        return g_BF * self.in_context_FMS.max(axis=1).T[source_B]

    def table(self) -> "pd.DataFrame":
        """One row per feature, with the columns of COLUMNS."""
        import pandas as pd

        rows = [
            {
                "feature": j,
                "kind": kind,
                "rate": self.rate_F[j],
                **{
                    name: getattr(group, name)
                    for name in COLUMNS
                    if name in PlantGroup.model_fields
                },
            }
            for j, (kind, group) in enumerate(zip(self.kind_F, self.group_F, strict=True))
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def _cluster_rate(self) -> Floats:
        """[F] share of the rows on which the cluster of each feature is on."""
        most = np.zeros(self.cluster_F.max() + 1)
        np.maximum.at(most, self.cluster_F, self.rate_F / self.cofiring_F)
        return most[self.cluster_F]

    def _in_document(self, document_B: Ints) -> NDArray[np.bool_]:
        """[B, F] whether the cluster of each feature can fire in the row's document."""
        documents, inverse = np.unique(document_B, return_inverse=True)
        drawn = uniforms(self.seed, "document", documents[:, None], self.cluster_F[None])
        return (drawn < self.document_share_F)[inverse]


def draw_features(config: PlantConfig, d_model: int, sources: Sequence[str]) -> Features:
    """The planted dictionary of a configuration, for rows of width `d_model` from these sources."""
    kinds, groups, rates, clusters = [], [], [], []
    for kind, group in config.groups.items():
        kinds += [kind] * group.n
        groups += [group] * group.n
        rates.append(np.geomspace(group.rate_high, group.rate_low, group.n))
        first = clusters[-1].max() + 1 if clusters and clusters[-1].size else 0
        clusters.append(first + np.arange(group.n) // group.cluster_size)

    def per_feature(name: str) -> Floats:
        return np.array([getattr(group, name) for group in groups], dtype=np.float64)

    return Features(
        seed=config.seed,
        kind_F=tuple(kinds),
        group_F=tuple(groups),
        direction_FMD=_directions(config.seed, per_feature("cosine"), d_model),
        gain_FM=np.stack([per_feature("base_gain"), per_feature("it_gain")], axis=1),
        in_context_FMS=np.array(
            [[_in_context(c, sources) for c in (g.base_contexts, g.it_contexts)] for g in groups]
        ),
        cluster_F=np.concatenate(clusters),
        rate_F=np.concatenate(rates),
        cofiring_F=per_feature("cofiring"),
        document_share_F=per_feature("document_share"),
        strength_F=per_feature("strength"),
        spread_F=per_feature("strength_spread"),
    )


def _directions(seed: int, cosine_F: Floats, d_model: int) -> Floats:
    """[F, M, D] unit vectors, uniform on the sphere, base and IT at the given cosine."""
    random = numpy_generator(seed, "plant", "directions")
    base, other = (_unit(random.standard_normal((len(cosine_F), d_model))) for _ in range(2))
    other = _unit(other - (other * base).sum(axis=1, keepdims=True) * base)
    sine_F = np.sqrt(1 - cosine_F**2)
    return np.stack([base, cosine_F[:, None] * base + sine_F[:, None] * other], axis=1)


def _unit(vectors: Floats) -> Floats:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _in_context(contexts: str, sources: Sequence[str]) -> list[float]:
    return [float(contexts in ("all", source)) for source in sources]
