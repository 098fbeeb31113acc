"""Give each latent a verdict by latent scaling, which norms alone cannot be trusted to give.

    python -m stages.latent_scaling             # composed.yaml, as `dvc repro` does
    python -m stages.latent_scaling +experiment=tiny latent_scaling.n_rows=65536
    torchrun --nproc-per-node=2 -m stages.latent_scaling   # batches of rows shared

reads   data/crosscoder, data/heldout_activations.zarr
writes  results/latents.parquet (one row per latent: pandas.read_parquet), its columns explained in
        results/latents.columns.json; results/latent_scaling.json (counts), .png and .svg
cost    three passes over `latent_scaling.n_rows` rows, each encoding them: twelve products over the
        active pairs of row and latent, one dense product per model, and four to eight products
        over the active pairs; two more that encode them, where latents look exclusive;
        memory: 144 bytes per block and latent, twice the decoders, twice four covariances of
        d_model^2 doubles, 30 doubles x d_model for each of those, and 1 GB at most beside them,
        however many latents
"""

from pipeline.config import Config
from pipeline.stage import Stage, paths_of, run

STAGE = Stage(
    name="latent_scaling",
    sections=("latent_scaling",),
    inputs=paths_of("crosscoder", "heldout_activations"),
    results=(
        "latents.parquet",
        "latents.columns.json",
        "latent_scaling.json",
        "latent_scaling.png",
        "latent_scaling.svg",
    ),
    memory_keys=("latent_scaling.batch_rows",),
    format_version=2,
    is_parallel=True,
)


def main(config: Config) -> None:
    from pipeline.analysis.charts import FILE_PALETTE, image_files
    from pipeline.analysis.opening import Opened
    from pipeline.analysis.verdicts.chart import scaling_figure, scaling_points
    from pipeline.analysis.verdicts.columns import COLUMNS
    from pipeline.analysis.verdicts.judge import judge
    from pipeline.analysis.verdicts.table import summary
    from pipeline.columns import parquet_bytes

    opened, section = Opened(STAGE, config), config.latent_scaling
    with opened.heldout(section) as window:
        table = judge(opened.crosscoder(), window, section)
        window_tokens = min(section.n_rows, window.reader.n_rows)
    limits = (section.max_nu_error, section.max_nu_reconstruction)
    points = scaling_points(table.to_dict("list"))
    figure = scaling_figure(points, FILE_PALETTE, limits=limits)
    STAGE.publish_results(
        config,
        {
            "latents.parquet": parquet_bytes(table),
            "latents.columns.json": COLUMNS,
            "latent_scaling.json": summary(table, section, window_tokens=window_tokens),
            **image_files("latent_scaling", figure),
        },
    )


if __name__ == "__main__":
    run(STAGE, main)
