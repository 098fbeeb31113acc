"""Train the crosscoder on the shuffled rows.

    python -m stages.train                      # composed.yaml, as `dvc repro` does
    python -m stages.train +experiment=tiny crosscoder=batch_topk
    torchrun --nproc-per-node=2 -m stages.train # the same in two processes (runtime.shard)

reads   data/shuffled.zarr, data/heldout_activations.zarr (for a calibrated threshold); where rows
        come in rounds (dump.rows_per_round), data/models and data/tokens.zarr to make them from
writes  data/crosscoder/ (config.json, weights.safetensors), results/training.csv; while it runs
        logs/train.jsonl and what `runtime.trackers` names (tensorboard, wandb)
cost    one pass over the rows; six times the weights in memory; killed and run again, it goes on
        from its last checkpoint with the same result to the bit. In rounds also the models' passes
        over every epoch, both models in memory, and two rounds of rows on disk
"""

from pipeline.artifacts import Build
from pipeline.config import Config
from pipeline.distributed import ALONE, Mesh, world
from pipeline.labels import OUTLIERS
from pipeline.progress import Progress
from pipeline.runtime import resolve_device, set_threads
from pipeline.stage import CROSSCODER, HELDOUT_ACTIVATIONS, Stage, paths_of, run

STAGE = Stage(
    name="train",
    sections=("crosscoder", "train"),
    local_files=("crosscoder",),
    inputs=paths_of("shuffled", "heldout_activations", "models", "tokens"),
    outputs={"crosscoder": CROSSCODER},
    results=("training.csv",),
    is_parallel=True,
    resumes=True,
    memory_keys=("train.batch_rows",),
    format_version=2,
)


def main(config: Config) -> None:
    from pipeline.rounds.opening import clear_rounds
    from pipeline.training.training import CURVE, is_finished, read_outcome

    set_threads(config.runtime.n_threads)
    with STAGE.build(config, "crosscoder") as build:
        if world().from_first(lambda: not (build.complete or is_finished(build.work))):
            make_crosscoder(config, build)
        if not world().is_first:
            return
        if not build.complete:
            counts, facts = read_outcome(build.work)
            rows = STAGE.input(config, "shuffled").facts
            outliers = {OUTLIERS: rows[OUTLIERS]} if OUTLIERS in rows else {}
            build.publish(counts=counts, facts=facts | outliers)
        clear_rounds(config)
    STAGE.publish_results(config, {"training.csv": (CROSSCODER / CURVE).read_bytes()})


def make_crosscoder(config: Config, build: Build) -> None:
    """Train in `build.work`, or take over the finished crosscoder that the configuration names."""
    from pipeline.rounds.opening import training_rows
    from pipeline.store import StoreReader
    from pipeline.training.pretrained import import_crosscoder
    from pipeline.training.stream import Stream
    from pipeline.training.trackers import LABELS, LiveView, TrackedRun, open_trackers
    from pipeline.training.training import Training

    provenance, ranks = build.manifest.lineage, world()
    if config.crosscoder.kind == "pretrained":  # one process takes it over
        if not ranks.is_first:
            return
        ranks = ALONE
    with training_rows(config, ranks) as rows, StoreReader.open(HELDOUT_ACTIVATIONS) as heldout:
        if config.crosscoder.kind == "pretrained":
            n_rows = min(config.train.normalisation_rows or rows.n_sample_rows, rows.n_sample_rows)
            stream = Stream(rows.source, config.train.batch_rows, n_rows, config.train.seed)
            import_crosscoder(config.crosscoder, stream, build.work, provenance=provenance)
            return
        training = Training(
            crosscoder=config.crosscoder,
            train=config.train,
            source=rows.source,
            rounds=rows.rounds,
            heldout=heldout,
            folder=build.work,
            device=resolve_device(config.runtime.device),
            mesh=Mesh.of(ranks, config.runtime.shard),
        )
        job = training.start()
        tracked = TrackedRun(
            run_id=f"train-{build.manifest.fingerprint[:16]}",
            name=f"{config.experiment} {config.crosscoder.kind}",
            start_step=job.step,
            config=provenance,
        )
        with (
            Progress(
                "train", total=training.n_rows, unit="rows", start=job.n_rows, labels=LABELS
            ) as progress,
            open_trackers(config.runtime.trackers if ranks.is_first else [], tracked) as trackers,
        ):
            job.train(LiveView(progress, trackers))
        training.write(job, provenance=provenance)


if __name__ == "__main__":
    run(STAGE, main)
