"""A finished crosscoder in place of a trained one."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts import write_bytes
from pipeline.config.crosscoder import PretrainedConfig
from pipeline.crosscoder import Crosscoder
from pipeline.crosscoder.hub import fetch
from pipeline.crosscoder.layouts import outline
from pipeline.errors import MismatchError
from pipeline.labels import MODELS
from pipeline.paths import located
from pipeline.stage import first_difference
from pipeline.training.statistics import first_rows, measure_normalisation
from pipeline.training.stream import Stream
from pipeline.training.training import CURVE

CALIBRATION_ROWS = 16384
"""Rows that a missing threshold is measured on: 16,384 k scores lie above it."""


def import_crosscoder(
    config: PretrainedConfig, stream: Stream, folder: Path, *, provenance: Mapping[str, Any]
) -> None:
    """Write the named crosscoder to `folder` in this project's layout.

    The factors are those of the configuration, else those of the file, else (the reference layout
    has none) those measured on `stream`; a BatchTopK threshold that the file lacks is measured
    there too, and told. Raises MismatchError where the crosscoder has another width than the
    store or another number of latents than the configuration, or where its file records another
    layer or other models than `provenance`, the lineage of the rows.
    """
    origin = _origin(config)
    check_fits(config, origin, provenance, next(stream.batches()).x_raw.shape[-1])
    crosscoder = Crosscoder.load(origin)
    if config.activation_scale is not None:
        crosscoder.set_scale(torch.tensor(config.activation_scale))
    elif not crosscoder.has_scale:
        crosscoder.set_scale(measure_normalisation(stream).scale_M)
    if not crosscoder.has_threshold:
        crosscoder.calibrate(first_rows(stream, CALIBRATION_ROWS))
        sys.stderr.write(
            f"train: {origin} has no inference threshold; it was calibrated on this experiment's "
            "rows, to the number of active latents that the file tells\n"
        )
    write_bytes(folder / CURVE, b"step,n_rows\n")
    nothing = {"n_rows": 0, "n_steps": 0, "last": {}}
    crosscoder.provenance = {**provenance, "training": nothing}
    crosscoder.save(folder)


def _origin(config: PretrainedConfig) -> Path:
    if config.path is not None:
        return located(config.path) / (config.subfolder or "")
    assert config.repo is not None, "the schema asks for one of path and repo"
    return fetch(config.repo, revision=config.revision, subfolder=config.subfolder)


def check_fits(
    config: PretrainedConfig, origin: Path, wanted: Mapping[str, Any], d_model: int | None
) -> None:
    """Raise ArtifactError where the crosscoder at `origin` cannot be one of these rows, by what
    its files tell without its weights.

    wanted: the sections that the rows are made with; d_model: their width, None where not known
    """
    told = outline(origin)
    *found, n_latents = told.shape
    expected = [len(MODELS), d_model or found[1]]
    if found != expected:
        raise MismatchError(
            f"{origin} is a crosscoder of (n_models, d_model) {tuple(found)}, but the activations "
            f"have {tuple(expected)}: set crosscoder.path or crosscoder.repo to one trained on "
            "this site"
        )
    if config.n_latents not in (None, n_latents):
        raise MismatchError(
            f"crosscoder.n_latents is {config.n_latents}, but {origin} has {n_latents} "
            "latents: set crosscoder.n_latents to that, or to null to take what the weights have"
        )
    _check_origin(told.provenance, wanted, origin)


def _check_origin(told: Mapping[str, Any], wanted: Mapping[str, Any], origin: Path) -> None:
    """Compare what the file records with what the rows were made with. Public files record the
    layer at most; what only one of the two tells cannot be compared."""
    for section, name in (("hook_point", "layer"), ("models", "base"), ("models", "it")):
        key = f"{section}.{name}"
        found, expected = (record.get(section, {}).get(name) for record in (told, wanted))
        difference = None if None in (found, expected) else first_difference(key, found, expected)
        if difference:
            where, theirs, ours = difference
            raise MismatchError(
                f"{origin} was trained with {where} = {theirs!r}, but this experiment's rows were "
                f"made with {ours!r}: name a crosscoder of these models and this layer; to try it "
                "on other rows all the same, remove `provenance` from a copy of its config.json"
            )
