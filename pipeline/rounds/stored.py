"""The rows of the configured pair as stores, one for each layer that is read.

Stores of other layers than the one in force are finished aside, under the fingerprint that an
experiment with that `hook_point.layer` asks for, and become its output when it comes.
"""

from collections.abc import Mapping

from pipeline.artifacts import Build
from pipeline.config import Config
from pipeline.distributed import world
from pipeline.harvest.outliers import left_out
from pipeline.harvest.sequences import Sequences
from pipeline.plant.truth import publish_truth
from pipeline.rounds.making import publish_description
from pipeline.rounds.pair_rows import PairRows
from pipeline.runtime import set_threads
from pipeline.shuffle.producer import is_dealt, writer_for
from pipeline.stage import TOKENS
from pipeline.store import StoreReader

Builds = Mapping[int, Build]
"""Layer -> where its store is built."""


def take_turns(builds: Builds, layer: int) -> None:
    """Put the store of `layer` in its place where it was finished aside before, and set aside the
    one that is there."""
    for other in builds.keys() - {layer}:
        builds[other].take_back()
    builds[layer].put_in_place()


def dump_pair(
    config: Config, n_train: int, builds: Mapping[str, Build], layered: Mapping[str, Builds]
) -> list[str]:
    """Run the models over the sequences of each output's split, or describe its rounds; what there
    is to say of it.

    n_train: sequences of the train split; builds: of the outputs that are missing; layered: of each
    store, those of every layer that is read
    """
    set_threads(config.runtime.n_threads)
    said = list[str]()
    with StoreReader.open(TOKENS, n_threads=config.runtime.io_threads) as tokens:
        rows, layer = PairRows(config, tokens), config.hook_point.layer
        splits = {
            "activations": range(n_train),
            "heldout_activations": range(n_train, tokens.n_rows),
        }
        for name in [name for name in splits if name in builds]:
            if name == "activations" and config.dump.rows_per_round is not None:
                if world().is_first:
                    publish_description(config, tokens, n_train, rows.facts(layer), builds[name])
                continue
            said += _store_rows(config, rows, splits[name], layered[name], name)
        if "plant" in builds and world().is_first:
            publish_truth(builds["plant"], rows.plant)
    return said


def _store_rows(
    config: Config, rows: PairRows, sequences: Sequences, builds: Builds, name: str
) -> list[str]:
    """Write the stores of an output that are not complete, and publish them."""
    dealt = is_dealt(config, name)
    works = world().from_first(
        lambda: {layer: build.work for layer, build in builds.items() if not build.complete}
    )
    writers = {n: writer_for(config, work, dealt, world()) for n, work in works.items()}
    counts = rows.write(writers, sequences, f"dump_{name}", world(), folders=works)
    if not world().is_first:
        return []
    said = list[str]()
    for layer in sorted(works):
        build = builds[layer]
        build.publish(counts=counts[layer], facts=rows.facts(layer))
        if not build.is_aside:
            said += left_out(build.output, counts[layer], rows.limits.get(layer))
    aside = [layer for layer in sorted(works) if builds[layer].is_aside]
    if aside:
        of_which = f"layer {', '.join(map(str, aside))}"
        said.append(f"{builds[aside[0]].output.name} of {of_which} waits for that hook_point.layer")
    return said
