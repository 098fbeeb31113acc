"""Let a model write a sentence for each change and latent, and score it on text it has not seen.

    python -m stages.explain                    # composed.yaml, as `dvc repro` does: off
    python -m stages.explain +experiment=tiny explain/writer=local explain.writer.path=/my/folder
    EXPLAIN_BASE_URL=... EXPLAIN_MODEL=... EXPLAIN_API_KEY=... \\
        python -m stages.explain +experiment=tiny explain/writer=endpoint

reads   data/heldout_activations.zarr, data/tokens.zarr (examples), data/models, data/changes,
        results/changes.json, data/crosscoder, results/latents.parquet
writes  results/explanations.json; data/.work/explain.jsonl: every request and answer, so that none
        is asked twice
cost    at least three requests per sentence (to write it, to judge it, and to judge another one on
        the same examples), at most `explain.max_requests` and about
        `explain.max_tokens`; one pass over `explain.n_rows` rows. Excerpts of held-out text and
        tokens are sent to the endpoint, if there is one, and nothing otherwise
"""

from pipeline.config import Config
from pipeline.results import not_applicable
from pipeline.stage import Stage, paths_of, run

STAGE = Stage(
    name="explain",
    sections=("explain", "changes", "hook_point"),
    local_files=("explain",),
    inputs=paths_of(
        "models",
        "tokens",
        "heldout_activations",
        "crosscoder",
        "latent_scaling",
        "changes",
        "listed",
    ),
    results=("explanations.json",),
    format_version=2,
    memory_keys=("explain.batch_rows",),
    resumes=True,
)


def main(config: Config) -> None:
    result = not_applicable("explain.writer is none: nobody is asked")
    if not config.has_models:
        result = not_applicable("the experiment has no models, and so no text to explain")
    elif config.explain.writer.kind != "none":
        from pipeline.analysis.explain.run import TRANSCRIPT, explained
        from pipeline.analysis.explain.ways import way_of
        from pipeline.analysis.opening import Opened

        way = way_of(config.explain, config.runtime.device, TRANSCRIPT)
        result = explained(Opened(STAGE, config), way)
    STAGE.publish_results(config, {"explanations.json": result})


if __name__ == "__main__":
    run(STAGE, main)
