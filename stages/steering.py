"""Write on with changes taken out, doubled and added in both models, beside random directions.

    python -m stages.steering                   # composed.yaml, as `dvc repro` does
    python -m stages.steering +experiment=tiny steering.n_changes=2 steering.n_samples=3

reads   data/models, data/changes, results/changes.json (the first of the list are steered with),
        results/positions.parquet (and the mean differences at the first positions of text)
writes  results/steering.json: continuations of the configured prompts, greedy and sampled, under
        every condition; where a reply was planted, how often it appears under each
cost    per model and prompt, `steering.n_tokens` steps of a batch of all conditions, of which a
        change has up to six; keys and values of `steering.batch_texts` texts in memory. Where a
        reply was planted, the upper blocks over `steering.n_planted` questions per condition
"""

from pipeline.config import Config
from pipeline.stage import Stage, paths_of, run

STAGE = Stage(
    name="steering",
    sections=("steering", "changes", "organism", "sources", "mix", "hook_point"),
    local_files=("sources",),
    inputs=paths_of("models", "changes", "listed", "compared"),
    results=("steering.json",),
    memory_keys=("steering.batch_texts", "organism.batch_prompts"),
)


def main(config: Config) -> None:
    from pipeline.analysis.opening import Opened
    from pipeline.analysis.steering.run import steer

    STAGE.publish_results(config, {"steering.json": steer(Opened(STAGE, config))})


if __name__ == "__main__":
    run(STAGE, main)
