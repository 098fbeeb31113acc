"""Test which latents carry the fine-tuning: move base activations by them, go on in the IT model.

    python -m stages.causal                     # composed.yaml, as `dvc repro` does
    python -m stages.causal +experiment=tiny causal.n_sequences=80

reads   data/crosscoder, results/latents.parquet (nu, Delta, verdicts), data/models,
        data/tokens.zarr
writes  results/causal.json (every set, with intervals over sequences), .csv, .png and .svg;
        results/causal_summary.json
cost    for each of `causal.n_sequences` chat sequences, the lower blocks of both models once and
        the IT model's upper blocks once per patch: 8, one per set of latents (at most 7), n_draws
        for each of 4 of these. Memory: both models, an activation per patch and batch, 0.5 GB
"""

from typing import TYPE_CHECKING, Any

from pipeline.config import Config
from pipeline.runtime import numpy_generator, resolve_device, set_threads
from pipeline.stage import CROSSCODER, LATENT_SCALING, MODELS, RESULTS, TOKENS, Stage, run

if TYPE_CHECKING:
    from pipeline.crosscoder import Crosscoder

STAGE = Stage(
    name="causal",
    sections=("causal", "hook_point"),
    inputs={
        "models": MODELS,
        "tokens": TOKENS,
        "crosscoder": CROSSCODER,
        "latent_scaling": LATENT_SCALING,
    },
    results=("causal.json", "causal_summary.json", "causal.csv", "causal.png", "causal.svg"),
    memory_keys=("causal.batch_sequences",),
)
NO_MODELS: dict[str, Any] = {
    "applicable": False,
    "reason": "the experiment has no models to go on in",
}


def main(config: Config) -> None:
    from pipeline.analysis.causal.chart import causal_figure
    from pipeline.analysis.causal.table import causal_columns, headline
    from pipeline.analysis.charts.look import FILE_PALETTE, image_files
    from pipeline.columns import csv_bytes
    from pipeline.crosscoder import Crosscoder

    for name in STAGE.inputs:
        STAGE.input(config, name)
    set_threads(config.runtime.n_threads)
    result = NO_MODELS
    if config.has_models:
        model = Crosscoder.load(CROSSCODER).to(resolve_device(config.runtime.device))
        result = examine(config, model)
    columns = causal_columns(result.get("patches", {}))
    STAGE.publish_results(
        config,
        {
            "causal.json": result,
            "causal_summary.json": headline(result["patches"]) if config.has_models else result,
            "causal.csv": csv_bytes(columns),
            **image_files("causal", causal_figure(columns, FILE_PALETTE)),
        },
    )


def examine(config: Config, model: "Crosscoder") -> dict[str, Any]:
    """Choose the sets by the latents' table, and measure each in the IT model."""
    import pandas as pd

    from pipeline.analysis.bootstrap import Bootstrap
    from pipeline.analysis.causal.patches import LatentPatches
    from pipeline.analysis.causal.run import causal_pass
    from pipeline.analysis.causal.sets import DESCRIPTIONS, MATCHED, latent_sets, random_sets
    from pipeline.analysis.causal.table import UNITS, causal_table, controls
    from pipeline.models.load import load_tokenizer
    from pipeline.text.tokens import bos_id

    section = config.causal
    table = pd.read_parquet(RESULTS / "latents.parquet")
    latents = {name: table[name].to_numpy() for name in table.columns}
    sets = latent_sets(latents)
    draws = {}
    for name in MATCHED:
        if name in sets:
            random = numpy_generator(section.seed, "causal", "random", name)
            drawn = random_sets(sets[name], latents["n_active"], section.n_draws, random)
            draws[name] = {f"random_{name}_{i}": set_J for i, set_J in enumerate(drawn)}
    every = sets | {name: set_J for drawn in draws.values() for name, set_J in drawn.items()}
    sums = causal_pass(
        config,
        LatentPatches(model, every),
        name="causal",
        bos_token_id=bos_id(load_tokenizer(MODELS)),
    )
    bootstrap = Bootstrap(
        len(sums.n_QG),
        n_resamples=section.n_bootstrap,
        confidence=section.confidence,
        random=numpy_generator(section.seed, "causal", "bootstrap"),
    )
    patches = causal_table(
        sums,
        bootstrap,
        draws={name: list(drawn) for name, drawn in draws.items()},
        n_latents={name: int(set_J.size) for name, set_J in sets.items()},
    )
    return {
        "units": UNITS,
        "sets": {name: DESCRIPTIONS[name] for name in sets},
        "confidence": section.confidence,
        "n_sequences": len(sums.n_QG),
        "n_first_tokens": section.n_first_tokens,
        "n_draws": section.n_draws,
        "controls": controls(patches),
        "patches": patches,
    }


if __name__ == "__main__":
    run(STAGE, main)
