"""Test which latents carry the fine-tuning: move base activations by them, go on in the IT model.

    python -m stages.causal                     # composed.yaml, as `dvc repro` does
    python -m stages.causal +experiment=tiny causal.n_sequences=80

reads   data/crosscoder, results/latents.parquet (nu, Delta, verdicts), data/models,
        data/tokens.zarr
writes  results/causal.json (every set, with intervals over sequences), .csv, .png and .svg;
        results/causal_summary.json
cost    for each of `causal.n_sequences` chat sequences, the lower blocks of both models once and
        the IT model's upper blocks once per patch: 8, one per set of latents (at most 7), n_draws
        for each of 4 of these. Memory: both models, `runtime.logits_bytes`, 0.5 GB
"""

from pipeline.config import Config
from pipeline.results import not_applicable
from pipeline.stage import Stage, paths_of, run

STAGE = Stage(
    name="causal",
    is_parallel=True,
    format_version=3,
    sections=("causal", "hook_point"),
    inputs=paths_of("models", "tokens", "crosscoder", "latent_scaling"),
    results=("causal.json", "causal_summary.json", "causal.csv", "causal.png", "causal.svg"),
    memory_keys=("causal.batch_sequences", "runtime.logits_bytes"),
)


def main(config: Config) -> None:
    from pipeline.analysis.causal.chart import causal_figure
    from pipeline.analysis.causal.run import chat_sources, measure_sets
    from pipeline.analysis.causal.table import causal_columns, headline
    from pipeline.analysis.charts import FILE_PALETTE, image_files
    from pipeline.analysis.opening import Opened
    from pipeline.columns import csv_bytes

    opened = Opened(STAGE, config)
    result = short = not_applicable("the experiment has no models to go on in")
    if config.has_models and not chat_sources(opened):
        result = short = not_applicable("no source of the mix holds conversations")
    elif config.has_models:
        result = measure_sets(opened)
        short = headline(result["patches"])
    columns = causal_columns(result.get("patches", {}))
    STAGE.publish_results(
        config,
        {
            "causal.json": result,
            "causal_summary.json": short,
            "causal.csv": csv_bytes(columns),
            **image_files("causal", causal_figure(columns, FILE_PALETTE)),
        },
    )


if __name__ == "__main__":
    run(STAGE, main)
