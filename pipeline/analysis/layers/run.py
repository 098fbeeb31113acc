"""The figures of this experiment's layer beside those that earlier ones have left.

Figures can be compared where the experiments differ in `hook_point.layer` and in nothing else. So
each row keeps a digest of everything that made it but that key, and rows of another digest go.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.analysis.changes.result import CHANGES, ChangeList
from pipeline.analysis.evaluation.result import EVALUATION
from pipeline.analysis.layers.result import LAYERS, LargestChange, LayerFigures, Layers
from pipeline.analysis.verdicts.result import VERDICT_COUNTS
from pipeline.artifacts import Manifest, canonical_json
from pipeline.config.models import HookPointConfig
from pipeline.errors import ArtifactError

N_TOKENS = 3
"""Tokens named of the largest change."""


def compared(results: Path, hook_point: HookPointConfig, manifests: Sequence[Manifest]) -> Layers:
    """What `results/layers.json` is to hold. manifests: of the results that are read"""
    own = figures(results, hook_point.layer, alike(manifests))
    rows = {row["layer"]: row for row in before(results) if row["alike"] == own["alike"]}
    rows[own["layer"]] = own
    kept = [rows[layer] for layer in sorted(rows) if layer in hook_point.layers]
    return {"applicable": True, "layers": list(hook_point.layers), "rows": kept}


def before(results: Path) -> list[LayerFigures]:
    """The rows that are there; none where the file is missing, or of another version."""
    try:
        found = LAYERS.read_applicable(results)
    except ArtifactError:
        return []
    return found["rows"] if found else []


def alike(manifests: Sequence[Manifest]) -> str:
    """Digest of the configuration that made these results, but for the layer."""
    lineage: dict[str, Any] = {}
    for manifest in manifests:
        lineage |= manifest.lineage
    lineage["hook_point"] = {**lineage["hook_point"], "layer": None}
    return hashlib.sha256(canonical_json(lineage)).hexdigest()


def figures(results: Path, layer: int, of_what: str) -> LayerFigures:
    """The row of one experiment, from its results."""
    explained = EVALUATION.read(results)["reconstruction"]["all"]
    verdicts, changes = VERDICT_COUNTS.read(results), CHANGES.read(results)
    return {
        "layer": layer,
        "alike": of_what,
        "l0": explained["l0"],
        "fve_base": explained["fve_base"],
        "fve_it": explained["fve_it"],
        "fve_difference": explained["fve_difference"],
        "base_only": verdicts["base_only"],
        "it_only": verdicts["it_only"],
        "n_listed": changes["n_listed"],
        "share_listed": changes["share_listed"],
        "kinds": changes["kinds"],
        "largest": largest(changes),
    }


def largest(changes: ChangeList) -> LargestChange | None:
    """The first entry of the list."""
    if not changes["changes"]:
        return None
    first: Mapping[str, Any] = changes["changes"][0]
    tokens = [token for token, _ in first["tokens"][:N_TOKENS]]
    return {"kind": first["kind"], "share": first["share"], "tokens": tokens}
