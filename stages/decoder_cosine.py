"""Measure how far the two decoders of each shared latent point the same way.

    python -m stages.decoder_cosine             # composed.yaml, as `dvc repro` does
    python -m stages.decoder_cosine +experiment=tiny decoder_cosine.shared_low=0.4

reads   data/crosscoder, data/heldout_activations.zarr (which latents are dead)
writes  results/decoder_cosine.json (summary), .csv (histogram), .png and .svg
cost    one encoding of `decoder_cosine.n_rows` rows; memory: `batch_rows` x latents floats
"""

from pipeline.config import Config
from pipeline.runtime import resolve_device, set_threads
from pipeline.stage import CROSSCODER, HELDOUT_ACTIVATIONS, Stage, run

STAGE = Stage(
    name="decoder_cosine",
    sections=("decoder_cosine",),
    inputs={"crosscoder": CROSSCODER, "heldout_activations": HELDOUT_ACTIVATIONS},
    results=(
        "decoder_cosine.json",
        "decoder_cosine.csv",
        "decoder_cosine.png",
        "decoder_cosine.svg",
    ),
    memory_keys=("decoder_cosine.batch_rows",),
)


def main(config: Config) -> None:
    from pipeline.analysis.charts.look import FILE_PALETTE, image_files
    from pipeline.analysis.decoders.charts import decoder_cosine_figure
    from pipeline.analysis.decoders.geometry import decoder_geometry
    from pipeline.analysis.decoders.summaries import decoder_cosine_summary, decoder_cosine_table
    from pipeline.analysis.heldout import firing_counts
    from pipeline.columns import csv_bytes
    from pipeline.crosscoder import Crosscoder
    from pipeline.store import StoreReader

    for name in STAGE.inputs:
        STAGE.input(config, name)
    set_threads(config.runtime.n_threads)
    section = config.decoder_cosine
    low, high = section.shared_low, section.shared_high
    model = Crosscoder.load(CROSSCODER).to(resolve_device(config.runtime.device))
    with StoreReader.open(HELDOUT_ACTIVATIONS, n_threads=config.runtime.io_threads) as reader:
        fired, _ = firing_counts(
            model,
            reader,
            n_rows=section.n_rows,
            batch_rows=section.batch_rows,
            name=STAGE.name,
        )
    geometry = decoder_geometry(model.W_dec.detach().cpu().numpy())
    table = decoder_cosine_table(geometry, fired > 0, low=low, high=high, n_bins=section.n_bins)
    figure = decoder_cosine_figure(table, FILE_PALETTE)
    STAGE.publish_results(
        config,
        {
            "decoder_cosine.json": decoder_cosine_summary(geometry, fired > 0, low, high),
            "decoder_cosine.csv": csv_bytes(table),
            **image_files("decoder_cosine", figure),
        },
    )


if __name__ == "__main__":
    run(STAGE, main)
