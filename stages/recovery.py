"""Score every verdict against the planted truth.

    python -m stages.recovery                   # composed.yaml, as `dvc repro` does
    python -m stages.recovery +experiment=planted recovery.min_correlation=0.7

reads   data/plant, data/crosscoder, data/heldout_activations.zarr, results/latents.parquet
writes  results/recovery.json (recall, precision, F1, false discovery rate, by kind and frequency,
        by norms and by nu; known artefacts and how many nu flags), results/recovery.csv (one row
        per planted feature), results/recovery_latents.csv (one row per latent), .png and .svg
cost    one encoding of `recovery.n_rows` rows; nothing where nothing is planted
"""

from typing import Any

from pipeline.config import Config
from pipeline.stage import (
    CROSSCODER,
    HELDOUT_ACTIVATIONS,
    LATENT_SCALING,
    PLANT,
    RESULTS,
    Stage,
    run,
)

STAGE = Stage(
    name="recovery",
    sections=("recovery", "plant"),
    inputs={
        "plant": PLANT,
        "crosscoder": CROSSCODER,
        "heldout_activations": HELDOUT_ACTIVATIONS,
        "latent_scaling": LATENT_SCALING,
    },
    results=(
        "recovery.json",
        "recovery.csv",
        "recovery_latents.csv",
        "recovery.png",
        "recovery.svg",
    ),
    memory_keys=("recovery.batch_rows",),
)

DIGITS = 6
"""Significant ones of the floats in the tables."""


def main(config: Config) -> None:
    from pipeline.analysis.charts.look import image_files
    from pipeline.analysis.recovery.chart import NOTHING_PLANTED, recovery_figure
    from pipeline.columns import csv_bytes

    for name in STAGE.inputs:
        STAGE.input(config, name)
    reason = not_applicable(config)
    if reason:
        empty = {"recovery.csv": b"", "recovery_latents.csv": b""}
        images = image_files("recovery", NOTHING_PLANTED)
        STAGE.publish_results(config, {"recovery.json": reason, **empty, **images})
        return
    scores, features, latents = score(config)
    STAGE.publish_results(
        config,
        {
            "recovery.json": scores,
            "recovery.csv": csv_bytes(features, digits=DIGITS),
            "recovery_latents.csv": csv_bytes(latents, digits=DIGITS),
            **image_files("recovery", recovery_figure(scores)),
        },
    )


def not_applicable(config: Config) -> dict[str, Any] | None:
    """Why there is no truth to hold verdicts against; None where there is one."""
    from pipeline.plant.truth import NOTHING

    if config.plant is None:
        return NOTHING
    if config.dump.pairing != "matched":
        reason = f"dump.pairing is {config.dump.pairing}: no latent belongs to one model"
        return {"applicable": False, "reason": reason}
    return None


def score(config: Config) -> tuple[dict[str, Any], Any, Any]:
    """The scores, the table of features and that of latents."""
    import pandas as pd

    from pipeline.analysis.recovery.matching import cooccurrence, direction_cosine, match
    from pipeline.analysis.recovery.scores import (
        feature_table,
        latent_table,
        recovery_scores,
        with_frequency,
    )
    from pipeline.crosscoder import Crosscoder
    from pipeline.plant.features import draw_features
    from pipeline.runtime import resolve_device, set_threads
    from pipeline.store import StoreReader

    assert config.plant is not None
    set_threads(config.runtime.n_threads)
    section = config.recovery
    model = Crosscoder.load(CROSSCODER).to(resolve_device(config.runtime.device))
    planted = draw_features(config.plant, model.d_model)
    with StoreReader.open(HELDOUT_ACTIVATIONS, n_threads=config.runtime.io_threads) as reader:
        together = cooccurrence(
            model, planted, reader, n_rows=section.n_rows, batch_rows=section.batch_rows
        )
    scale = model.activation_scale.double().cpu().numpy()
    cosine = direction_cosine(model.W_dec.detach().double().cpu().numpy(), planted, scale)
    matching = match(
        together.correlation_LF,
        cosine,
        min_correlation=section.min_correlation,
        min_cosine=section.min_cosine,
    )
    verdicts = pd.read_parquet(RESULTS / "latents.parquet")
    features = feature_table(
        planted.table(),
        verdicts,
        matching,
        together,
        exclusive_below=section.exclusive_below,
        scale_ratio=float(scale[0] / scale[1]),
    )
    latents = latent_table(verdicts, features, matching, together)
    features, latents = (
        with_frequency(table, section.common_rate) for table in (features, latents)
    )
    scores = recovery_scores(features, latents, exclusive_below=section.exclusive_below)
    return scores, features, latents


if __name__ == "__main__":
    run(STAGE, main)
