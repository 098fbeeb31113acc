"""Score every method on a pair that differs by known edits.

    before=models,mix,dump,shuffle,train,evaluate,latent_scaling,baselines,changes
    python -m stages.chain $before +experiment=edited
    python -m stages.edits +experiment=edited

reads   data/models (with the edits), data/tokens.zarr, data/heldout_activations.zarr,
        data/crosscoder, data/diff_sae, results/latents.parquet, data/changes, results/changes.json
writes  results/edits.json: each edit's effect, and per method what its list named
cost    blocks below the hook point on the held-out sequences, once per edit (of an edited token:
        on those with the token); the effects are held in memory, 4 * d_model bytes per edit and
        row. No stage of the graph: nothing depends on it
"""

from pipeline.config import Config
from pipeline.stage import Stage, paths_of, run

STAGE = Stage(
    name="edits",
    sections=("changes",),
    inputs=paths_of(
        "models",
        "tokens",
        "heldout_activations",
        "crosscoder",
        "diff_sae",
        "latent_scaling",
        "listed",
    ),
    results=("edits.json",),
    format_version=3,
    memory_keys=("changes.batch_rows",),
)


def main(config: Config) -> None:
    from pipeline.analysis.edits.run import scored
    from pipeline.analysis.opening import Opened

    STAGE.publish_results(config, {"edits.json": scored(Opened(STAGE, config))})


if __name__ == "__main__":
    run(STAGE, main)
