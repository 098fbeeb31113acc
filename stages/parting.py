"""Find where the two models predict most differently, and which changes and latents carry it.

    python -m stages.parting                    # composed.yaml, as `dvc repro` does
    python -m stages.parting +experiment=tiny parting.n_tokens=20

reads   data/models, data/tokens.zarr, data/crosscoder, data/changes, results/changes.json
writes  results/parting.json: KL(IT || base) per source, and the tokens after which it is largest,
        each with the changes and latents that carry it, by attribution and by patching
        results/parting.parquet: the KL after every token that was looked at
cost    both models once over `parting.n_sequences` sequences; for each listed token, IT's upper
        blocks `parting.path_points` times forward and back, and once or twice per change and latent
        shown. Memory: both models, `runtime.logits_bytes`, and the upper blocks' activations of one
        sequence
"""

from pipeline.config import Config
from pipeline.stage import Stage, paths_of, run

STAGE = Stage(
    name="parting",
    sections=("parting", "changes", "hook_point"),
    inputs=paths_of("models", "tokens", "crosscoder", "changes", "listed"),
    results=("parting.json", "parting.parquet"),
    memory_keys=("parting.batch_sequences", "runtime.logits_bytes"),
)


def main(config: Config) -> None:
    from pipeline.analysis.opening import Opened
    from pipeline.analysis.parting.run import find
    from pipeline.columns import parquet_bytes

    result, table = find(Opened(STAGE, config))
    STAGE.publish_results(config, {"parting.json": result, "parting.parquet": parquet_bytes(table)})


if __name__ == "__main__":
    run(STAGE, main)
