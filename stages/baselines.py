"""Set simple explanations of the difference beside the crosscoder: its mean, and an SAE on it.

    python -m stages.baselines                  # composed.yaml, as `dvc repro` does
    python -m stages.baselines +experiment=tiny baselines.match_l0=false baselines.diff_sae.k=16

reads   data/shuffled.zarr, data/heldout_activations.zarr, data/crosscoder, data/models,
        data/tokens.zarr, results/evaluation.json (the L0 to match)
writes  data/diff_sae/ (a BatchTopK dictionary on h_it - h_base, by the crosscoder's trainer);
        results/baselines.json (mean differences with their logit lens, also at each of the first
        positions of unrelated text; variance explained, KL removed), results/positions.parquet (the
        differences by position, to steer with), results/baselines_summary.json
cost    training on `baselines.n_train_rows` rows of half the crosscoder's width, resumable; one
        pass over `baselines.n_rows` training rows and one over as many held-out rows; the causal
        test's pass with five patches; the lower blocks of both models on the first tokens of
        `baselines.positions.n_documents` documents. Memory: both dictionaries and their [rows,
        latents]. Where training rows come in rounds, it makes the first round, and then those it
        trains on
"""

from pipeline.artifacts import Build
from pipeline.config import Config
from pipeline.config.crosscoder import BatchTopKConfig
from pipeline.results import not_applicable
from pipeline.runtime import resolve_device, set_threads
from pipeline.stage import DIFF_SAE, HELDOUT_ACTIVATIONS, RESULTS, Stage, paths_of, run

STAGE = Stage(
    name="baselines",
    sections=("baselines", "causal", "train", "hook_point", "sources", "mix"),
    inputs=paths_of(
        "models", "tokens", "shuffled", "heldout_activations", "crosscoder", "evaluation"
    ),
    outputs={"diff_sae": DIFF_SAE},
    results=("baselines.json", "baselines_summary.json", "positions.parquet"),
    resumes=True,
    memory_keys=("baselines.batch_rows", "causal.batch_sequences", "runtime.logits_bytes"),
    format_version=2,
)


def main(config: Config) -> None:
    from pipeline.analysis.baselines.difference import headline
    from pipeline.analysis.baselines.position_lens import position_frame
    from pipeline.analysis.baselines.run import compared, first_positions, mean_rows
    from pipeline.analysis.evaluation.result import EVALUATION
    from pipeline.analysis.opening import Opened
    from pipeline.columns import parquet_bytes
    from pipeline.training.difference import diff_sae_config
    from pipeline.training.training import is_finished, read_outcome

    set_threads(config.runtime.n_threads)
    opened = Opened(STAGE, config)
    means = mean_rows(opened)
    if not means.differ:
        result = not_applicable("both models have the same rows here: there is no difference")
        with STAGE.build(config, "diff_sae") as build:
            if not build.complete:
                build.publish(counts={}, facts=result)
        table = parquet_bytes(position_frame(None))
        STAGE.publish_results(
            config, dict(zip(STAGE.results, (result, result, table), strict=True))
        )
        return
    l0 = EVALUATION.read(RESULTS)["reconstruction"]["all"]["l0"]["value"]
    assert l0 is not None, "held-out rows have a mean of active latents"
    dictionary = diff_sae_config(config.baselines, l0)
    with STAGE.build(config, "diff_sae") as build:
        if not build.complete:
            if not is_finished(build.work):
                train_diff_sae(config, dictionary, build)
            counts, facts = read_outcome(build.work)
            build.publish(counts=counts, facts=facts)
    positions = first_positions(opened)
    result = compared(opened, means, opened.crosscoder(DIFF_SAE), positions, k=dictionary.k)
    short = headline(result["explained"], result["causal"].get("patches"))
    table = parquet_bytes(position_frame(positions))
    STAGE.publish_results(config, dict(zip(STAGE.results, (result, short, table), strict=True)))


def train_diff_sae(config: Config, dictionary: BatchTopKConfig, build: Build) -> None:
    """Train in `build.work`, going on from its last checkpoint."""
    from pipeline.progress import Progress
    from pipeline.rounds.opening import training_rows
    from pipeline.store import StoreReader
    from pipeline.training.difference import DifferenceRows, trained_as
    from pipeline.training.training import Training

    with training_rows(config) as rows, StoreReader.open(HELDOUT_ACTIVATIONS) as heldout:
        training = Training(
            crosscoder=dictionary,
            train=trained_as(config.baselines, config.train),
            source=DifferenceRows(rows.source),
            rounds=rows.rounds,
            heldout=DifferenceRows(heldout),
            folder=build.work,
            device=resolve_device(config.runtime.device),
        )
        job = training.start()
        with Progress("diff_sae", total=training.n_rows, unit="rows", start=job.n_rows) as progress:
            job.train(progress.advance)
        training.write(job, provenance=build.manifest.lineage)


if __name__ == "__main__":
    run(STAGE, main)
