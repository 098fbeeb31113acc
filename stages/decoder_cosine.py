"""Measure how far the two decoders of each shared latent point the same way.

    python -m stages.decoder_cosine             # composed.yaml, as `dvc repro` does
    python -m stages.decoder_cosine +experiment=tiny decoder_cosine.shared_low=0.4

reads   results/latents.parquet (norms, cosines, and which latents are dead)
writes  results/decoder_cosine.json (summary), .csv (histogram), .png and .svg
cost    nothing but its start
"""

from pipeline.config import Config
from pipeline.stage import LATENT_SCALING, Stage, run

STAGE = Stage(
    name="decoder_cosine",
    sections=("decoder_cosine",),
    inputs={"latent_scaling": LATENT_SCALING},
    results=(
        "decoder_cosine.json",
        "decoder_cosine.csv",
        "decoder_cosine.png",
        "decoder_cosine.svg",
    ),
)


def main(config: Config) -> None:
    from pipeline.analysis.charts import FILE_PALETTE, image_files
    from pipeline.analysis.decoders.charts import decoder_cosine_figure
    from pipeline.analysis.decoders.summaries import (
        decoder_cosine_summary,
        decoder_cosine_table,
        live_latents,
    )
    from pipeline.analysis.opening import Opened
    from pipeline.columns import csv_bytes

    section = config.decoder_cosine
    low, high = section.shared_low, section.shared_high
    latents = live_latents(Opened(STAGE, config).latents())
    table = decoder_cosine_table(latents, low=low, high=high, n_bins=section.n_bins)
    STAGE.publish_results(
        config,
        {
            "decoder_cosine.json": decoder_cosine_summary(latents, low=low, high=high),
            "decoder_cosine.csv": csv_bytes(table),
            **image_files("decoder_cosine", decoder_cosine_figure(table, FILE_PALETTE)),
        },
    )


if __name__ == "__main__":
    run(STAGE, main)
