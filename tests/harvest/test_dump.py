from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import NonFiniteError
from pipeline.harvest import dump as dump_module
from pipeline.harvest.dump import dump
from pipeline.harvest.pair import HookedPair, PairedForward
from pipeline.harvest.sink import Target
from pipeline.shuffle import permutation as permutation_module
from pipeline.shuffle.buckets import verify_buckets
from pipeline.shuffle.permutation import Permutation
from pipeline.shuffle.scatter import BucketWriter
from pipeline.shuffle.shuffle import shuffle_store
from pipeline.store import StoreReader, StoreWriter, verify_store

ALL = range(22)
BATCH_TOKENS = 4 * 16
ROWS_PER_CHUNK = 30


@pytest.fixture(autouse=True)
def in_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # logs/ goes here


def run(
    path: Path,
    tokens: StoreReader,
    pair: HookedPair,
    sequences: range = ALL,
    batch_tokens: int = BATCH_TOKENS,
) -> dict[str, int]:
    (counts,) = dump(
        [Target(lambda layout, n_rows: StoreWriter.open(path, layout))],
        tokens,
        sequences,
        pair,
        batch_tokens=batch_tokens,
        rows_per_chunk=ROWS_PER_CHUNK,
        codec="none",
        progress_name="dump",
    )
    return counts


def read(path: Path) -> dict[str, np.ndarray]:
    with StoreReader.open(path) as store:
        return store.rows(0, store.n_rows)


def files(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_each_row_is_the_hidden_state_of_both_full_models(tokens, pair: HookedPair) -> None:
    run(Path("a.zarr"), tokens, pair)
    rows = read(Path("a.zarr"))
    token_id = tokens.read("token_id")
    for index, model in enumerate(pair.models):
        hidden = model(
            input_ids=torch.from_numpy(token_id).long(), output_hidden_states=True
        ).hidden_states[pair.layers[0]]
        expected = hidden[rows["sequence"], rows["position"]]
        found = torch.from_numpy(rows["activations"][:, index]).view(torch.bfloat16)
        torch.testing.assert_close(found.float(), expected, rtol=2**-8, atol=1e-6)


def test_rows_are_the_bits_of_the_residual_rounded_to_bfloat16(tokens, pair: HookedPair) -> None:
    """In the batch that the dump runs: other batch shapes may round otherwise."""
    from pipeline.models.hook import residual

    run(Path("a.zarr"), tokens, pair)
    rows = read(Path("a.zarr"))
    first = torch.from_numpy(tokens.read("token_id", 0, 4)).long()
    in_first = rows["sequence"] < 4
    position = rows["sequence"][in_first], rows["position"][in_first]
    for index, model in enumerate(pair.models):
        expected = residual(model, pair.layers[0], first)[position].to(torch.bfloat16)
        found = torch.from_numpy(rows["activations"][in_first, index]).view(torch.bfloat16)
        assert torch.equal(found, expected)


def test_every_token_but_bos_is_a_row_once_and_in_order(tokens, pair: HookedPair) -> None:
    counts = run(Path("a.zarr"), tokens, pair)
    rows = read(Path("a.zarr"))
    sequence, position = np.nonzero(tokens.read("token_id") != pair.start_id)
    assert np.array_equal(rows["sequence"], sequence)
    assert np.array_equal(rows["position"], position)
    assert not (rows["token_id"] == pair.start_id).any()
    assert counts["n_bos_dropped"] == 22 + 3
    assert counts["n_rows"] == len(sequence) == 22 * 16 - 25


def test_per_row_arrays_are_those_of_the_token(tokens, pair: HookedPair) -> None:
    counts = run(Path("a.zarr"), tokens, pair)
    rows = read(Path("a.zarr"))
    place = rows["sequence"], rows["position"]
    for name in ("token_id", "document", "source", "token_class"):
        assert np.array_equal(rows[name], tokens.read(name)[place]), name
    assert counts["n_chat_rows"] == int(rows["source"].sum())
    assert counts["n_template_rows"] == int(rows["token_class"].sum())
    assert counts["n_pile_rows"] + counts["n_chat_rows"] == counts["n_rows"]


def test_a_range_of_sequences_keeps_their_numbers(tokens, pair: HookedPair) -> None:
    counts = run(Path("a.zarr"), tokens, pair, range(15, 22))
    rows = read(Path("a.zarr"))
    assert set(rows["sequence"]) == set(range(15, 22))
    assert np.array_equal(rows["token_id"], tokens.read("token_id")[15:, 1:].flatten())
    assert counts["n_sequences"] == 7


@pytest.mark.parametrize("batch_tokens", [1, 16, 50, 10_000])
def test_the_batch_size_changes_no_row(tokens, pair: HookedPair, batch_tokens: int) -> None:
    run(Path("a.zarr"), tokens, pair)
    run(Path("b.zarr"), tokens, pair, batch_tokens=batch_tokens)
    found, expected = read(Path("b.zarr")), read(Path("a.zarr"))
    for name in expected.keys() - {"activations"}:
        assert np.array_equal(found[name], expected[name])
    left, right = (
        torch.from_numpy(rows["activations"]).view(torch.bfloat16).float()
        for rows in (found, expected)
    )
    torch.testing.assert_close(left, right, rtol=2**-7, atol=1e-6)


@pytest.mark.parametrize("deaths", [[1], [2], [5], [1, 1, 1], [3, 2, 1]])
def test_a_killed_dump_goes_on_to_equal_bytes(
    tokens, pair: HookedPair, monkeypatch: pytest.MonkeyPatch, deaths: list[int]
) -> None:
    run(Path("unbroken.zarr"), tokens, pair)
    for batches_before_death in deaths:
        with monkeypatch.context() as patch:
            die_after(patch, batches_before_death)
            with pytest.raises(KeyboardInterrupt):
                run(Path("killed.zarr"), tokens, pair)
    run(Path("killed.zarr"), tokens, pair)
    assert files(Path("killed.zarr")) == files(Path("unbroken.zarr"))
    verify_store(Path("killed.zarr"))


def die_after(monkeypatch: pytest.MonkeyPatch, n_batches: int) -> None:
    calls = 0
    original = PairedForward.__call__

    def forward(self: PairedForward, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > n_batches:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(PairedForward, "__call__", forward)


def test_a_resumed_dump_does_not_compute_what_is_on_disk(
    tokens, pair: HookedPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        die_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            run(Path("a.zarr"), tokens, pair)
    starts: list[int] = []
    original = dump_module.harvest

    def harvest(tokens: StoreReader, sequences: range, *args: Any) -> Any:
        starts.append(sequences.start)
        return original(tokens, sequences, *args)

    monkeypatch.setattr(dump_module, "harvest", harvest)
    run(Path("a.zarr"), tokens, pair)
    run(Path("a.zarr"), tokens, pair)  # finished: nothing is run
    assert len(starts) == 1
    assert starts[0] >= 4


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 3.4e38])
@pytest.mark.parametrize("which", [0, 1])
def test_activations_that_are_not_finite_are_refused_with_their_sequence(
    tokens, pair: HookedPair, which: int, value: float
) -> None:
    """3.4e38 is finite in float32 and infinite in bfloat16."""
    token_id = tokens.read("token_id")
    once = [int(i) for i in np.flatnonzero(np.bincount(token_id.flatten(), minlength=60) == 1)]
    token = once[0] if once else int(token_id[9, 5])
    pair = HookedPair(pair.models, layers=(0,), d_model=8, start_id=pair.start_id)
    pair.models[which].get_parameter("model.embed_tokens.weight")[token, 3] = value
    sequence, position = (int(i[0]) for i in np.nonzero(token_id == token))
    name = ("base", "it")[which]
    with pytest.raises(
        NonFiniteError,
        match=rf"models\.{name} gives 1 .* in sequence {sequence} .*, position {position} ",
    ):
        run(Path("a.zarr"), tokens, pair)


def test_a_store_begun_by_a_writer_of_another_width_is_refused(tokens, pair: HookedPair) -> None:
    from pipeline.errors import MismatchError
    from pipeline.store import activation_layout

    with StoreWriter.open(Path("a.zarr"), activation_layout(2, 4, ROWS_PER_CHUNK)):
        pass
    with pytest.raises(MismatchError):
        run(Path("a.zarr"), tokens, pair)


def scattered(path: Path, tokens: StoreReader, pair: HookedPair, load_rows: int) -> None:
    dump(
        [
            Target(
                lambda layout, n_rows: BucketWriter.open(
                    path, layout, Permutation(5, n_rows), load_rows=load_rows, durable=True
                )
            )
        ],
        tokens,
        ALL,
        pair,
        batch_tokens=BATCH_TOKENS,
        rows_per_chunk=ROWS_PER_CHUNK,
        codec="none",
        progress_name="dump",
    )


@pytest.mark.parametrize("deaths", [[], [3], [4, 1, 2]])
def test_a_dump_that_scatters_is_shuffled_to_the_bytes_of_two_passes(
    tokens, pair: HookedPair, monkeypatch: pytest.MonkeyPatch, deaths: list[int]
) -> None:
    monkeypatch.setattr(permutation_module, "MIN_BUCKET_ROWS", 64)
    monkeypatch.setattr(permutation_module, "ROWS_PER_PIECE", 4)
    run(Path("plain.zarr"), tokens, pair)
    shuffle_store(Path("plain.zarr"), Path("two_pass.zarr"), seed=5, buffer_bytes=2**30)
    for batches_before_death in deaths:
        with monkeypatch.context() as patch:
            die_after(patch, batches_before_death)
            with pytest.raises(KeyboardInterrupt):
                scattered(Path("buckets"), tokens, pair, load_rows=70)
    scattered(Path("buckets"), tokens, pair, load_rows=50)
    assert verify_buckets(Path("buckets")).n_chunks > 3
    shuffle_store(Path("buckets"), Path("one_pass.zarr"), seed=5, buffer_bytes=2**30)
    assert files(Path("one_pass.zarr")) == files(Path("two_pass.zarr"))
