"""Dump paired activations at the hook point, the start left out, of the train and held-out half.

    python -m stages.dump                   # composed.yaml, as `dvc repro` does
    python -m stages.dump +experiment=tiny hook_point.layer=2
    torchrun --nproc-per-node=2 -m stages.dump   # the same store, written by two processes

reads   data/models/, data/tokens.zarr
writes  data/activations.zarr, data/heldout_activations.zarr: rows [model, d_model] in bfloat16 with
        source, token_id, sequence, position, document and token_class. With dump.scatter_seed,
        activations.zarr holds these rows dealt to the shuffle's buckets, and is no Zarr store; with
        dump.rows_per_round it says what they are made from, and training makes them in rounds;
        data/plant/: the features that `plant` adds to the rows, where it does
cost    the forward passes of both models to the hook point, less than 10 % more; 4 * d_model bytes
        of disk per row; killed and run again, it goes on from its last whole chunk
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import Build
from pipeline.config import Config
from pipeline.distributed import ALONE, Ranks, world
from pipeline.errors import ConfigError
from pipeline.shuffle.scatter import BucketWriter, deal_as_produced
from pipeline.stage import (
    ACTIVATIONS,
    HELDOUT_ACTIVATIONS,
    MODELS,
    PLANT,
    TOKENS,
    Stage,
    not_applicable,
    run,
)
from pipeline.store import OpenWriter, StoreLayout, StoreReader, StoreWriter

if TYPE_CHECKING:
    from pipeline.plant.rows import Plant
    from pipeline.rounds.pair_rows import PairRows

STAGE = Stage(
    name="dump",
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
    if world().size > 1 and config.dump.scatter_seed is not None:
        raise ConfigError(
            f"dump.scatter_seed is {config.dump.scatter_seed}, but one process deals rows to "
            f"buckets and {world().size} were started: set dump.scatter_seed=null, or run "
            "`python -m stages.dump` without torchrun"
        )
    with ExitStack() as stack:
        builds = {name: stack.enter_context(STAGE.build(config, name)) for name in STAGE.outputs}
        missing = world().from_first(
            lambda: {name: build for name, build in builds.items() if not build.complete}
        )
        if not missing:
            return
        if config.has_models:
            dump_all(config, missing)
        elif world().is_first:
            plant_all(config, missing)


def dump_all(config: Config, builds: Mapping[str, Build]) -> None:
    """Run the models over the sequences of each build's split, or describe its rounds."""
    from pipeline.rounds.pair_rows import PairRows
    from pipeline.runtime import set_threads

    set_threads(config.runtime.n_threads)
    n_train = STAGE.input(config, "tokens").counts["n_train_sequences"]
    with StoreReader.open(TOKENS, n_threads=config.runtime.io_threads) as tokens:
        rows = PairRows(config, tokens)
        sequences = {
            "activations": range(n_train),
            "heldout_activations": range(n_train, tokens.n_rows),
        }
        for name in [name for name in STORES if name in builds]:
            if name == "activations" and config.dump.rows_per_round is not None:
                describe_rounds(config, tokens, rows, builds[name])
                continue
            open_writer = writer_for(config, name, builds[name].work, world())
            counts = rows.write(open_writer, sequences[name], f"dump_{name}", world())
            if world().is_first:
                builds[name].publish(counts=counts, facts=rows.facts)
        publish_truth(builds, rows.plant)


def plant_all(config: Config, builds: Mapping[str, Build]) -> None:
    """Plant the rows of each split in a synthetic background."""
    from pipeline.plant.pairing import pairing_of
    from pipeline.plant.synthetic import Synthetic, write_rows
    from pipeline.runtime import set_threads

    assert config.plant is not None
    set_threads(config.runtime.n_threads)
    synthetic = Synthetic.draw(config.plant)
    for name in [name for name in STORES if name in builds]:
        counts = write_rows(
            writer_for(config, name, builds[name].work),
            synthetic,
            synthetic.documents(heldout=name == "heldout_activations"),
            pairing_of(config.dump),
            rows_per_chunk=config.dump.rows_per_chunk,
            codec=config.dump.codec,
            progress_name=f"dump_{name}",
        )
        builds[name].publish(counts=counts, facts={"d_model": synthetic.d_model, "n_models": 2})
    publish_truth(builds, synthetic.plant)


def describe_rounds(config: Config, tokens: StoreReader, rows: "PairRows", build: Build) -> None:
    """Publish what the rounds of training rows are made from, in place of the rows."""
    from pipeline.rounds.descriptor import code_digest
    from pipeline.rounds.making import describe

    if world().is_first:
        n_sequences = STAGE.input(config, "tokens").counts["n_train_sequences"]
        described, counts = describe(config, tokens, n_sequences)
        described.write(build.work)
        build.publish(counts=counts, facts={**rows.facts, "code": code_digest("dump")})


def publish_truth(builds: Mapping[str, Build], plant: "Plant | None") -> None:
    """Publish `data/plant/`, which says so where nothing was planted."""
    from pipeline.plant.truth import write_truth

    if "plant" not in builds or not world().is_first:
        return
    nothing = not_applicable("the experiment plants nothing (plant is null)")
    facts = write_truth(builds["plant"].work, plant) if plant else nothing
    builds["plant"].publish(counts={}, facts=facts)


def writer_for(config: Config, name: str, work: Path, ranks: Ranks = ALONE) -> OpenWriter:
    """What opens the writer of a build: a store, or the shuffle's buckets for the training rows.
    Several processes can write a store.

    `shuffle` is not among this stage's sections: its memory decides no byte of the buckets.
    """

    def open_writer(layout: StoreLayout, n_rows: int) -> StoreWriter | BucketWriter:
        seed, n_threads = config.dump.scatter_seed, config.runtime.io_threads
        if seed is None or name != "activations":
            return StoreWriter.open(work, layout, n_threads=n_threads, ranks=ranks, n_rows=n_rows)
        memory = config.shuffle.memory_bytes
        return deal_as_produced(
            work, layout, n_rows, seed=seed, buffer_bytes=memory, n_threads=n_threads
        )

    return open_writer


if __name__ == "__main__":
    run(STAGE, main)
