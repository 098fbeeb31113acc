"""Show what each latent fires on and what it writes in each model.

    python -m stages.dashboards                 # composed.yaml, as `dvc repro` does
    python -m stages.dashboards +experiment=tiny dashboards.n_latents=100

reads   data/crosscoder, data/heldout_activations.zarr, data/tokens.zarr, data/models,
        results/latents.parquet
writes  results/dashboards/dashboards.jsonl.gz: one JSON object per latent, explained in
        pipeline.analysis.dashboards.file; pandas.read_json(..., lines=True) reads it
cost    one pass over `dashboards.n_rows` rows, encoding the chosen latents alone; for each of
        these one unembedding per model. Memory: see pipeline.analysis.dashboards.example_pass, and
        the embedding of both models in float32 with `runtime.logits_bytes`
"""

from pipeline.config import Config
from pipeline.results import not_applicable
from pipeline.stage import DASHBOARDS, Stage, paths_of, run

STAGE = Stage(
    name="dashboards",
    is_parallel=True,
    format_version=2,
    sections=("dashboards",),
    inputs=paths_of("models", "tokens", "heldout_activations", "crosscoder", "latent_scaling"),
    outputs={"dashboards": DASHBOARDS},
    memory_keys=("dashboards.batch_rows", "runtime.logits_bytes"),
)


def main(config: Config) -> None:
    from pipeline.analysis.dashboards.file import DASHBOARDS, FIELDS, write_dashboards
    from pipeline.analysis.dashboards.run import make_records
    from pipeline.analysis.opening import Opened

    opened = Opened(STAGE, config)
    with STAGE.build(config, "dashboards") as build:
        if not config.has_models:
            nothing = not_applicable("the experiment has no models and no text")
            if opened.ranks.is_first:
                build.publish(counts={}, facts=nothing)
            return
        records = make_records(opened)
        if not opened.ranks.is_first:
            return
        n = write_dashboards(build.work / DASHBOARDS, iter(records))
        counts = {"n_latents": n, "n_tokens": records.n_tokens}
        build.publish(counts=counts, facts={"fields": FIELDS})


if __name__ == "__main__":
    run(STAGE, main)
