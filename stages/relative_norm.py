"""Count base-only, shared and IT-only latents by relative decoder norm.

    python -m stages.relative_norm              # composed.yaml, as `dvc repro` does
    python -m stages.relative_norm +experiment=tiny relative_norm.n_bins=50

reads   data/crosscoder, data/heldout_activations.zarr (which latents are dead)
writes  results/relative_norm.json (counts), .csv (histogram), .png and .svg
cost    one encoding of `relative_norm.n_rows` rows; memory: `batch_rows` x latents floats
"""

from pipeline.config import Config
from pipeline.runtime import resolve_device, set_threads
from pipeline.stage import CROSSCODER, HELDOUT_ACTIVATIONS, Stage, run

STAGE = Stage(
    name="relative_norm",
    sections=("relative_norm",),
    inputs={"crosscoder": CROSSCODER, "heldout_activations": HELDOUT_ACTIVATIONS},
    results=(
        "relative_norm.json",
        "relative_norm.csv",
        "relative_norm.png",
        "relative_norm.svg",
    ),
    memory_keys=("relative_norm.batch_rows",),
)


def main(config: Config) -> None:
    from pipeline.analysis.charts.look import FILE_PALETTE, image_files
    from pipeline.analysis.decoders.charts import relative_norm_figure
    from pipeline.analysis.decoders.geometry import decoder_geometry
    from pipeline.analysis.decoders.summaries import relative_norm_summary, relative_norm_table
    from pipeline.analysis.heldout import firing_counts
    from pipeline.columns import csv_bytes
    from pipeline.crosscoder import Crosscoder
    from pipeline.store import StoreReader

    for name in STAGE.inputs:
        STAGE.input(config, name)
    set_threads(config.runtime.n_threads)
    section = config.relative_norm
    model = Crosscoder.load(CROSSCODER).to(resolve_device(config.runtime.device))
    with StoreReader.open(HELDOUT_ACTIVATIONS, n_threads=config.runtime.io_threads) as reader:
        fired, window = firing_counts(
            model,
            reader,
            n_rows=section.n_rows,
            batch_rows=section.batch_rows,
            name=STAGE.name,
        )
    geometry = decoder_geometry(model.W_dec.detach().cpu().numpy())
    table = relative_norm_table(geometry, fired > 0, section.n_bins)
    figure = relative_norm_figure(table, FILE_PALETTE)
    STAGE.publish_results(
        config,
        {
            "relative_norm.json": relative_norm_summary(geometry, fired > 0, window_tokens=window),
            "relative_norm.csv": csv_bytes(table),
            **image_files("relative_norm", figure),
        },
    )


if __name__ == "__main__":
    run(STAGE, main)
