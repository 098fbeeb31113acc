"""List what fine-tuning changed: directions of the difference, ranked, tested, each with its kind.

    python -m stages.changes                    # composed.yaml, as `dvc repro` does
    python -m stages.changes +experiment=tiny changes.min_share=0.005

reads   data/shuffled.zarr (changes are found on training rows), data/heldout_activations.zarr
        (and measured on others), data/crosscoder, results/latents.parquet, data/models,
        data/tokens.zarr
writes  data/changes/: the directions, to read any rows by; results/changes.json (the list, each
        figure explained under `fields`), changes.parquet (the same as a table, with directions),
        changes_summary.json
cost    `changes.n_find_rows` rows in memory, 4 * d_model bytes each; per direction found n_starts *
        n_iterations products of these rows with one vector; two passes over `changes.n_rows`
        held-out rows; upper blocks of the IT model on `causal.n_sequences` sequences 2 +
        causal.n_draws times per weighed change. Where training rows come in rounds, it makes the
        first round to find changes on
"""

from typing import TYPE_CHECKING

from pipeline.artifacts import Build
from pipeline.config import Config
from pipeline.stage import CHANGES, Stage, paths_of, run

if TYPE_CHECKING:
    from pipeline.analysis.opening import Opened

STAGE = Stage(
    name="changes",
    is_parallel=True,
    sections=("changes", "causal", "hook_point"),
    inputs=paths_of(
        "models", "tokens", "shuffled", "heldout_activations", "crosscoder", "latent_scaling"
    ),
    outputs={"changes": CHANGES},
    results=("changes.json", "changes.parquet", "changes_summary.json"),
    memory_keys=("changes.batch_rows", "runtime.logits_bytes"),
    format_version=5,
)


def find_once(opened: "Opened", build: Build) -> None:
    """Find the changes where that is not done, and publish their directions."""
    from pipeline.analysis.changes.run import find

    if not build.complete:
        build.publish(counts=find(opened, build.work), facts=opened.outliers)


def main(config: Config) -> None:
    from pipeline.analysis.changes.run import list_changes
    from pipeline.analysis.opening import Opened
    from pipeline.columns import parquet_bytes

    opened = Opened(STAGE, config)
    with STAGE.build(config, "changes") as build:
        # One process finds the changes, on a sample that fits into memory; all measure them.
        opened.ranks.from_first(lambda: find_once(opened, build))
    listed, table = list_changes(opened)
    STAGE.publish_results(
        config,
        {
            "changes.json": listed,
            "changes.parquet": parquet_bytes(table),
            "changes_summary.json": {n: listed[n] for n in listed.keys() - {"fields", "changes"}},
        },
    )


if __name__ == "__main__":
    run(STAGE, main)
