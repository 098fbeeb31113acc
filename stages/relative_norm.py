"""Count base-only, shared and IT-only latents by relative decoder norm.

    python -m stages.relative_norm              # composed.yaml, as `dvc repro` does
    python -m stages.relative_norm +experiment=tiny relative_norm.n_bins=50

reads   results/latents.parquet (norms, and which latents are dead), results/latent_scaling.json
        (on how many tokens)
writes  results/relative_norm.json (counts), .csv (histogram), .png and .svg
cost    nothing but its start
"""

from pipeline.config import Config
from pipeline.stage import LATENT_SCALING, RESULTS, Stage, run

STAGE = Stage(
    name="relative_norm",
    sections=("relative_norm",),
    inputs={"latent_scaling": LATENT_SCALING},
    results=("relative_norm.json", "relative_norm.csv", "relative_norm.png", "relative_norm.svg"),
)


def main(config: Config) -> None:
    from pipeline.analysis.charts import FILE_PALETTE, image_files
    from pipeline.analysis.decoders.charts import relative_norm_figure
    from pipeline.analysis.decoders.summaries import (
        live_latents,
        relative_norm_summary,
        relative_norm_table,
    )
    from pipeline.analysis.opening import Opened
    from pipeline.analysis.verdicts.result import VERDICT_COUNTS
    from pipeline.columns import csv_bytes

    latents = live_latents(Opened(STAGE, config).latents())
    table = relative_norm_table(latents, config.relative_norm.n_bins)
    window = VERDICT_COUNTS.read(RESULTS)["window_tokens"]
    STAGE.publish_results(
        config,
        {
            "relative_norm.json": relative_norm_summary(latents, window_tokens=window),
            "relative_norm.csv": csv_bytes(table),
            **image_files("relative_norm", relative_norm_figure(table, FILE_PALETTE)),
        },
    )


if __name__ == "__main__":
    run(STAGE, main)
