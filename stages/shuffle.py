"""Put all activation rows in an exactly uniform random order, in bounded memory.

    python -m stages.shuffle

reads   data/activations.zarr
writes  data/shuffled.zarr: the same rows, each still with its sequence and position; with
        dump.rows_per_round the order of the rounds, which training makes itself
costs   two reads and two writes of the store and, while it runs, its size again in scratch space;
        one of each and no scratch where the dump has dealt the rows (dump.scatter_seed)

Killed and run again, it goes on where it was; the result is bit-identical. With
runtime.drop_unshuffled the chunks of data/activations.zarr are removed in the end.
"""

from pipeline.artifacts import Build, Manifest
from pipeline.bulk import drop
from pipeline.config import Config
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
    resumes=True,
)


def main(config: Config) -> None:
    source = STAGE.input(config, "activations")
    with STAGE.build(config, "shuffled") as build:
        if not build.complete:
            if are_rounds(ACTIVATIONS):
                order_rounds(config, source, build)
            else:
                shuffle(config, source, build)
        if config.runtime.drop_unshuffled:
            drop(ACTIVATIONS)


def shuffle(config: Config, source: Manifest, build: Build) -> None:
    """Permute the rows into the build and publish it."""
    total = 2 * source.counts["n_rows"]
    with Progress("shuffle", total=total, unit="rows, twice each") as progress:
        n_rows = shuffle_store(
            ACTIVATIONS,
            build.work,
            seed=config.shuffle.seed,
            buffer_bytes=buffer_bytes(config.shuffle.memory_bytes, resident_memory_bytes()),
            n_threads=config.runtime.io_threads,
            report=progress.advance,
        )
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
