"""Measure the crosscoder on held-out data: sparsity, explained variance, CE and KL when spliced.

    python -m stages.evaluate                   # composed.yaml, as `dvc repro` does
    python -m stages.evaluate +experiment=tiny evaluate.n_sequences=80
    torchrun --nproc-per-node=2 -m stages.evaluate   # batches of rows and sequences shared

reads   data/crosscoder, data/heldout_activations.zarr, data/models, data/tokens.zarr
writes  results/evaluation.json (all figures with intervals), results/evaluation_summary.json,
        results/latents.csv (one row per latent)
cost    one pass over `evaluate.n_rows` rows; for each of `evaluate.n_sequences` sequences, the
        lower blocks of each model once and the upper ones six times; memory: both models,
        `runtime.logits_bytes`, three arrays of `batch_rows` x latents
"""

from pipeline.config import Config
from pipeline.stage import Stage, paths_of, run

STAGE = Stage(
    name="evaluate",
    format_version=3,
    is_parallel=True,
    sections=("evaluate",),
    inputs=paths_of("models", "tokens", "heldout_activations", "crosscoder"),
    results=("evaluation.json", "evaluation_summary.json", "latents.csv"),
    memory_keys=("evaluate.batch_sequences", "evaluate.batch_rows", "runtime.logits_bytes"),
)


def main(config: Config) -> None:
    from pipeline.analysis.decoders.geometry import decoder_geometry
    from pipeline.analysis.evaluation.run import evaluated, over_rows
    from pipeline.analysis.evaluation.table import DIGITS, latent_table, summary
    from pipeline.analysis.opening import Opened
    from pipeline.columns import csv_bytes

    opened = Opened(STAGE, config)
    crosscoder = opened.crosscoder()
    sums = over_rows(opened, crosscoder)
    full = evaluated(opened, crosscoder, sums)
    table = latent_table(decoder_geometry(crosscoder.W_dec.detach().cpu().numpy()), sums)
    STAGE.publish_results(
        config,
        {
            "evaluation.json": full,
            "evaluation_summary.json": summary(full),
            "latents.csv": csv_bytes(table, digits=DIGITS),
        },
    )


if __name__ == "__main__":
    run(STAGE, main)
