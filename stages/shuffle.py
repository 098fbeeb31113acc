"""Put all activation rows in an exactly uniform random order, in bounded memory.

    python -m stages.shuffle
    torchrun --nproc-per-node=2 -m stages.shuffle   # the same store, written by two processes

reads   data/activations.zarr
writes  data/shuffled.zarr: the same rows, each still with its sequence and position; with
        dump.rows_per_round the order of the rounds, which training makes itself
costs   two reads and two writes of the store and, while it runs, its size again in scratch space;
        one of each and no scratch where the dump has dealt the rows (dump.scatter_seed); in several
        processes the scratch stays to the end, and shuffle.memory_bytes holds for each of them

Killed and run again, it goes on where it was; the result is bit-identical. With
runtime.drop_unshuffled the chunks of data/activations.zarr are removed in the end.
"""

from pipeline.artifacts import Build, Manifest
from pipeline.bulk import drop
from pipeline.config import Config
from pipeline.distributed import Ranks, world
from pipeline.errors import ConfigError
from pipeline.progress import Progress
from pipeline.rounds.descriptor import Described, are_rounds, code_digest
from pipeline.runtime import resident_memory_bytes
from pipeline.shuffle.shuffle import shuffle_store
from pipeline.stage import ACTIVATIONS, SHUFFLED, Stage, run

STAGE = Stage(
    name="shuffle",
    sections=("shuffle",),
    inputs={"activations": ACTIVATIONS},
    outputs={"shuffled": SHUFFLED},
    limits_memory=True,
    is_parallel=True,
    resumes=True,
)


def main(config: Config) -> None:
    source = STAGE.input(config, "activations")
    with STAGE.build(config, "shuffled") as build:
        is_rounds, ranks = are_rounds(ACTIVATIONS), world()
        if not ranks.from_first(lambda: build.complete):
            if not is_rounds:
                shuffle(config, source, build, ranks)
            elif ranks.is_first:
                order_rounds(config, source, build)
        if config.runtime.drop_unshuffled and ranks.is_first:
            drop(ACTIVATIONS)


def shuffle(config: Config, source: Manifest, build: Build, ranks: Ranks) -> None:
    """Permute the rows into the build, together with the other processes; the first publishes."""
    total = 2 * len(ranks.part(source.counts["n_rows"]))
    with Progress("shuffle", total=total, unit="rows, twice each") as progress:
        n_rows = shuffle_store(
            ACTIVATIONS,
            build.work,
            seed=config.shuffle.seed,
            buffer_bytes=buffer_bytes(config.shuffle.memory_bytes, resident_memory_bytes()),
            n_threads=config.runtime.io_threads,
            report=progress.advance,
            ranks=ranks,
        )
    if ranks.is_first:
        build.publish(counts={**source.counts, "n_rows": n_rows}, facts=source.facts)


def order_rounds(config: Config, source: Manifest, build: Build) -> None:
    """Publish the order of rows that are made in rounds."""
    described, seed = Described.read(ACTIVATIONS), config.shuffle.seed
    order = described.order(seed)
    described.write(build.work, seed=seed, round_starts=order.starts.tolist())
    facts = {**source.facts, "n_rounds": order.n_rounds, "shuffle_code": code_digest("shuffle")}
    build.publish(counts=source.counts, facts=facts)


def buffer_bytes(limit: int, held: int) -> int:
    """What is left of the limit beside the `held` bytes of the process; ConfigError where nothing
    is. Whether it is enough depends on the store, so the shuffle decides that."""
    if held >= limit:
        raise ConfigError(
            f"shuffle.memory_bytes is {limit:,}, expected more than the {held:,} bytes that this "
            "process holds before its buffers: raise shuffle.memory_bytes"
        )
    return limit - held


if __name__ == "__main__":
    run(STAGE, main)
