"""Compare the crosscoders of several seeds: the same latents, the same verdicts, the same spans?

    python -m stages.seeds                      # composed.yaml, as `dvc repro` does

reads   data/crosscoder, data/seeds, data/heldout_activations.zarr, results/latents.parquet
writes  results/seeds.json, results/seeds.csv (MMCS by pair of runs and verdict), .png and .svg
cost    latent scaling once per further run; a one-to-one matching of the latents of each pair of
        runs, with 24 bytes per pair of latents; nothing where seeds.n_runs is 1
"""

from pipeline.config import Config
from pipeline.results import not_applicable
from pipeline.stage import Stage, paths_of, run

STAGE = Stage(
    name="seeds",
    sections=("seeds", "latent_scaling"),
    inputs=paths_of("crosscoder", "heldout_activations", "seeds", "latent_scaling"),
    results=("seeds.json", "seeds.csv", "seeds.png", "seeds.svg"),
    memory_keys=("latent_scaling.batch_rows",),
    format_version=2,
)


def main(config: Config) -> None:
    from pipeline.analysis.charts import FILE_PALETTE, image_files
    from pipeline.analysis.opening import Opened
    from pipeline.analysis.seeds.chart import seeds_figure
    from pipeline.analysis.seeds.compare import table
    from pipeline.columns import csv_bytes

    opened = Opened(STAGE, config)
    n_runs = opened.manifests["seeds"].counts["n_runs"]
    result = not_applicable("one run (seeds.n_runs is 1)")
    if n_runs > 1:
        from pipeline.analysis.seeds.run import compare_all

        result = compare_all(opened, n_runs)
    columns = table(result.get("pairs", []))
    STAGE.publish_results(
        config,
        {
            "seeds.json": result,
            "seeds.csv": csv_bytes(columns),
            **image_files("seeds", seeds_figure(columns, FILE_PALETTE)),
        },
    )


if __name__ == "__main__":
    run(STAGE, main)
