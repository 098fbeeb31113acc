"""Rounds of a real, small pair: the rows that a stored dump has, in the order of the rounds."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.config import Config, compose
from pipeline.distributed import ALONE, Ranks
from pipeline.harvest.dump import dump
from pipeline.harvest.pair import HookedPair
from pipeline.harvest.sink import Target
from pipeline.rounds import making
from pipeline.rounds.making import Maker
from pipeline.rounds.opening import clear_rounds, rounds_folder, training_rows
from pipeline.rounds.order import Round
from pipeline.rounds.pair_rows import PairRows
from pipeline.shuffle.permutation import Permutation
from pipeline.stage import ACTIVATIONS, SHUFFLED, TOKENS
from pipeline.store import StoreReader, StoreWriter, token_layout
from stages import shuffle as shuffle_stage
from tests.harvest.conftest import BOS, LENGTH, VOCABULARY, small_pair
from tests.two_ranks import in_two

N_TRAIN = 40
OVERRIDES = [
    "+experiment=smoke",
    f"mix.sequence_length_tokens={LENGTH}",
    "train.batch_rows=16",
    "dump.rows_per_round=160",
    "dump.batch_tokens=64",
    "dump.rows_per_chunk=64",
    "hook_point.layer=1",
]


@pytest.fixture(scope="module")
def pair() -> HookedPair:
    return replace(small_pair(), layers=(1,))


def write_tokens(path: Path) -> None:
    """Sequences of random tokens, one of them with starts in the middle."""
    random = np.random.default_rng(0)
    token_id = random.integers(2, VOCABULARY, (N_TRAIN + 4, LENGTH)).astype(np.int32)
    token_id[:, 0] = BOS
    token_id[7, 3:9] = BOS
    labels = np.zeros(token_id.shape, np.uint8)
    rows = {
        "token_id": token_id,
        "document": labels.astype(np.int32),
        "source": labels,
        "token_class": labels,
        "split": labels[:, 0],
    }
    with StoreWriter.open(path, token_layout(LENGTH, 8, sources=("pile", "chat"))) as writer:
        writer.append(rows)
        writer.finish()


class Build:
    """A build whose manifest is not looked at."""

    def __init__(self, path: Path) -> None:
        self.work = path
        path.mkdir(parents=True)

    def publish(self, *, counts: dict[str, int], facts: dict[str, object]) -> None:
        self.counts, self.facts = counts, facts
        (self.work / "manifest.json").write_text(repr((counts, facts)))


@pytest.fixture(scope="module")
def described(module_path: Path, pair: HookedPair) -> Iterator[Config]:
    """A folder in which `dump` and `shuffle` have published their descriptors; the small pair is in
    place of a loaded one."""
    config = compose([*OVERRIDES, "runtime.rounds_dir=ram"])
    source = SimpleNamespace(counts={"n_train_sequences": N_TRAIN}, facts={"d_model": 8})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(module_path)
        patch.setattr(PairRows, "pair", pair)
        patch.setattr(making, "read_start", lambda models: SimpleNamespace(id=BOS))
        write_tokens(TOKENS)
        build = Build(ACTIVATIONS)
        with StoreReader.open(TOKENS) as tokens:
            rows = PairRows(config, tokens)
            making.publish_description(config, tokens, N_TRAIN, rows.facts(1), build)  # pyright: ignore
        assert build.counts["n_rows"] == N_TRAIN * (LENGTH - 1) - 6
        assert len(str(build.facts["code"])) == 64
        shuffle_stage.order_rounds(config, source, Build(SHUFFLED))  # pyright: ignore
        yield config


def test_the_rows_of_all_rounds_are_those_of_a_stored_dump(
    described: Config, pair: HookedPair
) -> None:
    with StoreReader.open(TOKENS) as tokens:
        dump(
            [Target(lambda layout, n_rows: StoreWriter.open(Path("stored"), layout))],
            tokens,
            range(N_TRAIN),
            pair,
            batch_tokens=64,
            rows_per_chunk=64,
            codec="none",
            progress_name="dump",
        )
    with StoreReader.open("stored") as reader:
        stored = reader.rows(0, reader.n_rows)
    seen = 0
    with training_rows(described) as rows:
        assert rows.rounds is not None
        order = rows.rounds.order(0, 0)
        assert order.n_rounds >= 4
        for number in range(order.n_rounds):
            each = order.round(number)
            found = rows.rounds._reader(each).rows(0, each.n_rows)
            wanted = np.flatnonzero(np.isin(stored["sequence"], each.sequences))
            in_order = wanted[Permutation(each.seed, each.n_rows).sources()]
            for name in found.keys() - {"activations"}:
                assert np.array_equal(found[name], stored[name][in_order]), name
            near = [
                (a.astype(np.uint32) << 16).view(np.float32)
                for a in (found["activations"], stored["activations"][in_order])
            ]
            np.testing.assert_allclose(*near, rtol=2**-6, atol=1e-5)
            seen += each.n_rows
        assert rows.sample.n_rows == rows.n_sample_rows == order.round(0).n_rows
    assert seen == len(stored["sequence"])
    assert not rounds_folder(described).exists()


def test_rounds_lie_where_the_configuration_says_until_they_are_used_up(
    described: Config,
) -> None:
    def stopped() -> None:
        with training_rows(described) as rows:
            next(rows.source.batches(16))
            raise KeyError

    with pytest.raises(KeyError):
        stopped()
    folder = rounds_folder(described)
    assert folder.is_relative_to("ram")
    assert len(list(folder.iterdir())) == 1
    clear_rounds(described)
    assert not folder.exists()
    clear_rounds(described)


def make(config: Config, ranks: Ranks, each: Round, folder: Path) -> None:
    with Maker(config, ranks) as maker:
        maker.deal(each, folder / "buckets")
        maker.ordering(folder / "buckets", folder / "rows").run()


def test_a_round_is_the_same_to_the_byte_when_it_is_made_again_and_by_two_processes(
    described: Config,
) -> None:
    from tests.store.numbered import bytes_below

    with training_rows(described) as rows:
        assert rows.rounds is not None
        each = rows.rounds.order(0, 0).round(1)
    make(described, ALONE, each, Path("first"))
    make(described, ALONE, each, Path("again"))
    in_two(lambda ranks: make(described, ranks, each, Path("two")))
    first, again, two = (bytes_below(Path(name) / "rows") for name in ("first", "again", "two"))
    assert first == again == two
