"""Compare the crosscoders of several seeds: the same latents, the same verdicts, the same spans?

    python -m stages.seeds                      # composed.yaml, as `dvc repro` does

reads   data/crosscoder, data/seeds, data/heldout_activations.zarr, results/latents.parquet
writes  results/seeds.json, results/seeds.csv (MMCS by pair of runs and verdict), .png and .svg
cost    latent scaling once per further run; a one-to-one matching of the latents of each pair of
        runs, with 24 bytes per pair of latents; nothing where seeds.n_runs is 1
"""

from itertools import combinations
from typing import TYPE_CHECKING, Any

from pipeline.config import Config
from pipeline.runtime import numpy_generator, resolve_device, set_threads
from pipeline.stage import (
    CROSSCODER,
    HELDOUT_ACTIVATIONS,
    LATENT_SCALING,
    RESULTS,
    SEEDS,
    Stage,
    run,
    seed_folder,
)

if TYPE_CHECKING:
    from pipeline.analysis.seeds.compare import SeedRun

STAGE = Stage(
    name="seeds",
    sections=("seeds", "latent_scaling"),
    inputs={
        "crosscoder": CROSSCODER,
        "heldout_activations": HELDOUT_ACTIVATIONS,
        "seeds": SEEDS,
        "latent_scaling": LATENT_SCALING,
    },
    results=("seeds.json", "seeds.csv", "seeds.png", "seeds.svg"),
    memory_keys=("latent_scaling.batch_rows",),
)


def main(config: Config) -> None:
    from pipeline.analysis.charts.look import FILE_PALETTE, image_files
    from pipeline.analysis.seeds.chart import seeds_figure
    from pipeline.analysis.seeds.compare import COLUMNS, summary, table
    from pipeline.columns import csv_bytes

    manifests = {name: STAGE.input(config, name) for name in STAGE.inputs}
    n_runs = manifests["seeds"].counts["n_runs"]
    result: dict[str, Any] = {"applicable": False, "reason": "one run (seeds.n_runs is 1)"}
    if n_runs > 1:
        set_threads(config.runtime.n_threads)
        pairs = compare_all(config, judged_runs(config, n_runs))
        result = {
            "applicable": True,
            "n_runs": n_runs,
            "confidence": config.latent_scaling.confidence,
            "columns": COLUMNS,
            "summary": summary(pairs),
            "pairs": pairs,
        }
    table = table(result.get("pairs", []))
    figure = seeds_figure(table, FILE_PALETTE)
    STAGE.publish_results(
        config,
        {
            "seeds.json": result,
            "seeds.csv": csv_bytes(table),
            **image_files("seeds", figure),
        },
    )


def judged_runs(config: Config, n_runs: int) -> "list[SeedRun]":
    """The live latents of every run with their verdicts; those of run 0 are there already."""
    import pandas as pd

    from pipeline.analysis.seeds.compare import SeedRun
    from pipeline.analysis.verdicts.judge import judge
    from pipeline.crosscoder import Crosscoder
    from pipeline.store import StoreReader

    device = resolve_device(config.runtime.device)
    first = Crosscoder.load(CROSSCODER)
    verdicts = pd.read_parquet(RESULTS / "latents.parquet")["verdict"].tolist()
    runs = [SeedRun.of(first.W_dec.numpy(), verdicts)]
    with StoreReader.open(HELDOUT_ACTIVATIONS, n_threads=config.runtime.io_threads) as reader:
        for number in range(1, n_runs):
            model = Crosscoder.load(seed_folder(SEEDS, number)).to(device)
            verdicts = judge(model, reader, config.latent_scaling)["verdict"].tolist()
            runs.append(SeedRun.of(model.W_dec.cpu().numpy(), verdicts))
    return runs


def compare_all(config: Config, runs: "list[SeedRun]") -> list[dict[str, Any]]:
    """Every pair of runs."""
    from pipeline.analysis.seeds.compare import Comparing, compare

    section = config.latent_scaling
    pairs = []
    for a, b in combinations(range(len(runs)), 2):
        how = Comparing(
            n_bootstrap=section.n_bootstrap,
            confidence=section.confidence,
            random=numpy_generator(section.seed, "seeds", f"{a}-{b}"),
        )
        pairs.append({"runs": [a, b], **compare(runs[a], runs[b], how)})
    return pairs


if __name__ == "__main__":
    run(STAGE, main)
