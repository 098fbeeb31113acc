"""Score every verdict against the planted truth.

    python -m stages.recovery                   # composed.yaml, as `dvc repro` does
    python -m stages.recovery +experiment=planted recovery.min_correlation=0.7

reads   data/plant, data/crosscoder, data/heldout_activations.zarr, results/latents.parquet
writes  results/recovery.json (recall, precision, F1, false discovery rate, by kind and frequency,
        by norms and by nu; known artefacts and how many nu flags), results/recovery.csv (one row
        per planted feature), results/recovery_latents.csv (one row per latent), .png and .svg
cost    one encoding of `recovery.n_rows` rows; nothing where nothing is planted
"""

from pipeline.config import Config
from pipeline.results import not_applicable
from pipeline.stage import Stage, paths_of, run

STAGE = Stage(
    name="recovery",
    format_version=3,
    sections=("recovery", "plant"),
    inputs=paths_of("plant", "crosscoder", "heldout_activations", "latent_scaling"),
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
    from pipeline.analysis.charts import FILE_PALETTE, image_files
    from pipeline.analysis.opening import Opened
    from pipeline.analysis.recovery.chart import recovery_figure
    from pipeline.analysis.recovery.result import without_truth
    from pipeline.columns import csv_bytes

    opened = Opened(STAGE, config)
    reason = nothing_to_score(config)
    if reason:
        scores, (features, latents) = not_applicable(reason), without_truth()
    else:
        from pipeline.analysis.recovery.run import score

        scores, features, latents = score(opened)
    STAGE.publish_results(
        config,
        {
            "recovery.json": scores,
            "recovery.csv": csv_bytes(features, digits=DIGITS),
            "recovery_latents.csv": csv_bytes(latents, digits=DIGITS),
            **image_files("recovery", recovery_figure(scores, FILE_PALETTE)),
        },
    )


def nothing_to_score(config: Config) -> str | None:
    """Why there is no truth to hold verdicts against; None where there is one."""
    if config.plant is None:
        return "the experiment plants nothing (plant is null)"
    if config.dump.pairing != "matched":
        return f"dump.pairing is {config.dump.pairing}: no latent belongs to one model"
    return None


if __name__ == "__main__":
    run(STAGE, main)
