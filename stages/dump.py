"""Dump paired activations at the hook point, the start left out, of the train and held-out half.

    python -m stages.dump                   # composed.yaml, as `dvc repro` does
    python -m stages.dump +experiment=tiny hook_point.layer=2
    torchrun --nproc-per-node=2 -m stages.dump   # the same store, written by two processes

reads   data/models/, data/tokens.zarr
writes  data/activations.zarr, data/heldout_activations.zarr: rows [model, d_model] in bfloat16 with
        source, token_id, sequence, position, document and token_class. With dump.scatter_seed,
        activations.zarr holds these rows dealt to the shuffle's buckets, and is no Zarr store; with
        dump.rows_per_round it says what they are made from, and training makes them in rounds;
        data/plant/: the features that `plant` adds to the rows, where it does. With
        dump.max_norm_ratio, rows of a larger norm are left out; outliers.jsonl in a store counts
        them batch by batch
cost    the forward passes of both models to the hook point, less than 10 % more; 4 * d_model bytes
        of disk per row; killed and run again, it goes on from its last whole chunk
"""

from collections.abc import Mapping
from contextlib import ExitStack

from pipeline.artifacts import Build
from pipeline.config import Config
from pipeline.distributed import world
from pipeline.harvest.processes import check_one_process
from pipeline.shuffle.producer import writer_for
from pipeline.stage import ACTIVATIONS, HELDOUT_ACTIVATIONS, MODELS, PLANT, TOKENS, Stage, run
from pipeline.store import StoreReader

STAGE = Stage(
    name="dump",
    format_version=2,
    sections=("dump", "hook_point", "plant"),
    inputs={"models": MODELS, "tokens": TOKENS},
    outputs={
        "activations": ACTIVATIONS,
        "heldout_activations": HELDOUT_ACTIVATIONS,
        "plant": PLANT,
    },
    is_parallel=True,
    resumes=True,
    memory_keys=("dump.batch_tokens",),
)
STORES = ("activations", "heldout_activations")


def main(config: Config) -> None:
    check_one_process(config.dump)
    with ExitStack() as stack:
        builds = {name: stack.enter_context(STAGE.build(config, name)) for name in STAGE.outputs}
        missing = world().from_first(
            lambda: {name: build for name, build in builds.items() if not build.complete}
        )
        if missing and config.has_models:
            dump_all(config, missing)
        elif missing and world().is_first:
            plant_all(config, missing)


def dump_all(config: Config, builds: Mapping[str, Build]) -> None:
    """Run the models over the sequences of each build's split, or describe its rounds."""
    from pipeline.harvest.outliers import left_out
    from pipeline.plant.truth import publish_truth
    from pipeline.rounds.making import publish_description
    from pipeline.rounds.pair_rows import PairRows
    from pipeline.runtime import set_threads

    set_threads(config.runtime.n_threads)
    n_train = STAGE.input(config, "tokens").counts["n_train_sequences"]
    with StoreReader.open(TOKENS, n_threads=config.runtime.io_threads) as tokens:
        rows = PairRows(config, tokens)
        heldout = range(n_train, tokens.n_rows)
        sequences = {"activations": range(n_train), "heldout_activations": heldout}
        for name in [name for name in STORES if name in builds]:
            if name == "activations" and config.dump.rows_per_round is not None:
                if world().is_first:
                    publish_description(config, tokens, n_train, rows.facts, builds[name])
                continue
            work = builds[name].work
            open_writer = writer_for(config, work, is_dealt(config, name), world())
            counts = rows.write(open_writer, sequences[name], f"dump_{name}", world(), folder=work)
            if world().is_first:
                builds[name].publish(counts=counts, facts=rows.facts)
                STAGE.remarks.extend(left_out(builds[name].output, counts, rows.limits))
        if "plant" in builds and world().is_first:
            publish_truth(builds["plant"], rows.plant)


def plant_all(config: Config, builds: Mapping[str, Build]) -> None:
    """Plant the rows of each split in a synthetic background."""
    from pipeline.plant.pairing import pairing_of
    from pipeline.plant.synthetic import Synthetic, write_rows
    from pipeline.plant.truth import publish_truth
    from pipeline.runtime import set_threads

    assert config.plant is not None
    set_threads(config.runtime.n_threads)
    synthetic = Synthetic.draw(config.plant)
    for name in [name for name in STORES if name in builds]:
        counts = write_rows(
            writer_for(config, builds[name].work, is_dealt(config, name)),
            synthetic,
            synthetic.documents(heldout=name == "heldout_activations"),
            pairing_of(config.dump),
            rows_per_chunk=config.dump.rows_per_chunk,
            codec=config.dump.codec,
            progress_name=f"dump_{name}",
        )
        builds[name].publish(counts=counts, facts={"d_model": synthetic.d_model, "n_models": 2})
    if "plant" in builds:
        publish_truth(builds["plant"], synthetic.plant)


def is_dealt(config: Config, name: str) -> bool:
    """Whether the rows of an output go to the shuffle's buckets at once, not into a store."""
    return name == "activations" and config.dump.scatter_seed is not None


if __name__ == "__main__":
    run(STAGE, main)
