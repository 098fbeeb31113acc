"""Any damage to any array is refused with the chunk's name: by reading, training and verifying."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ArtifactError, DamagedStoreError
from pipeline.signed import signed
from pipeline.store import (
    StoreLayout,
    StoreReader,
    StoreWriter,
    activation_layout,
    token_layout,
    verify_store,
)
from pipeline.store import writer as writing
from pipeline.store.codecs import CODECS
from tests.store.numbered import D_MODEL, N_ROWS, ROWS_PER_CHUNK, numbered_rows

LAYOUT = activation_layout(2, D_MODEL, ROWS_PER_CHUNK)
CODED = {codec: activation_layout(2, D_MODEL, ROWS_PER_CHUNK, codec) for codec in CODECS[1:]}
LAYOUTS = {"activations": LAYOUT, "tokens": token_layout(12, ROWS_PER_CHUNK), **CODED}
ARRAYS = [
    (kind, name)
    for kind, layout in LAYOUTS.items()
    for name in (("activations", "source") if kind in CODED else layout.names)
]
CHUNK = 4


def remove(chunk: Path, other: Path, foreign: Path) -> None:
    chunk.unlink()


def remove_folder(chunk: Path, other: Path, foreign: Path) -> None:
    shutil.rmtree(chunk.parents[1] if chunk.name == "0" else chunk.parent)


def empty(chunk: Path, other: Path, foreign: Path) -> None:
    os.truncate(chunk, 0)


def truncate(chunk: Path, other: Path, foreign: Path) -> None:
    os.truncate(chunk, chunk.stat().st_size - 1)


def extend(chunk: Path, other: Path, foreign: Path) -> None:
    chunk.write_bytes(chunk.read_bytes() + b"\0")


def flip_first_bit(chunk: Path, other: Path, foreign: Path) -> None:
    flip(chunk, 0)


def flip_bit_of_checksum(chunk: Path, other: Path, foreign: Path) -> None:
    flip(chunk, chunk.stat().st_size * 8 - 1)


def flip(chunk: Path, bit: int) -> None:
    data = bytearray(chunk.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    chunk.write_bytes(data)


def zero(chunk: Path, other: Path, foreign: Path) -> None:
    chunk.write_bytes(bytes(chunk.stat().st_size))


def zero_with_right_checksum(chunk: Path, other: Path, foreign: Path) -> None:
    from crc32c import crc32c

    payload = bytes(chunk.stat().st_size - 4)
    chunk.write_bytes(payload + crc32c(payload).to_bytes(4, "little"))


def swap(chunk: Path, other: Path, foreign: Path) -> None:
    mine, theirs = chunk.read_bytes(), other.read_bytes()
    chunk.write_bytes(theirs)
    other.write_bytes(mine)


def copy_neighbour(chunk: Path, other: Path, foreign: Path) -> None:
    shutil.copyfile(other, chunk)


def copy_from_another_store(chunk: Path, other: Path, foreign: Path) -> None:
    shutil.copyfile(foreign, chunk)


DAMAGES = [
    remove,
    remove_folder,
    empty,
    truncate,
    extend,
    flip_first_bit,
    flip_bit_of_checksum,
    zero,
    zero_with_right_checksum,
    swap,
    copy_neighbour,
    copy_from_another_store,
]


def read_everything(store: Path) -> None:
    with StoreReader.open(store) as reader:
        reader.rows(0, reader.n_rows)


def stream_one_epoch(store: Path) -> None:
    with StoreReader.open(store) as reader:
        for _ in reader.batches(32, names=reader.layout.names):
            pass


def stream_a_later_epoch(store: Path) -> None:
    with StoreReader.open(store) as reader:
        names = reader.layout.names
        for _ in reader.batches(32, epoch=1, seed=0, window_rows=48, names=names):
            pass


Stores = dict[str, tuple[Path, Path]]


@pytest.fixture(scope="module")
def all_stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    """Of each kind a store, and another of the same layout with other rows."""

    def write(layout: StoreLayout, first: int) -> Path:
        path = tmp_path_factory.mktemp("damage") / "store.zarr"
        with StoreWriter.open(path, layout) as writer:
            writer.append(numbered_rows(layout, first, first + N_ROWS))
            writer.finish()
        return path

    return {kind: (write(layout, 0), write(layout, 1000)) for kind, layout in LAYOUTS.items()}


@pytest.fixture
def sound_stores(all_stores: Stores) -> tuple[Path, Path]:
    return all_stores["activations"]


@pytest.mark.parametrize(("kind", "name"), ARRAYS)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_damage_to_any_array_is_refused_by_every_reader(
    all_stores: Stores, tmp_path: Path, damage: Callable, kind: str, name: str
) -> None:
    (sound, foreign), layout = all_stores[kind], LAYOUTS[kind]
    store = shutil.copytree(sound, tmp_path / "store.zarr")
    chunk, other = (store / layout.chunk_path(name, i) for i in (CHUNK, CHUNK + 1))
    damage(chunk, other, foreign / layout.chunk_path(name, CHUNK))
    for use in (read_everything, stream_one_epoch, stream_a_later_epoch, verify_store):
        with pytest.raises(DamagedStoreError) as refusal:
            use(store)
        message = str(refusal.value)
        assert re.search(rf"\(chunk \d+ of {name}\)", message)
        assert "remove" in message
        assert "dvc repro" in message


@pytest.mark.parametrize(
    ("kind", "one", "two"),
    [
        ("activations", "token_id", "position"),
        ("activations", "source", "token_class"),
        ("tokens", "token_id", "document"),
        ("tokens", "source", "token_class"),
    ],
)
def test_chunks_swapped_between_arrays_are_refused(
    all_stores: Stores, tmp_path: Path, kind: str, one: str, two: str
) -> None:
    store = shutil.copytree(all_stores[kind][0], tmp_path / "store.zarr")
    mine, theirs = (store / LAYOUTS[kind].chunk_path(name, CHUNK) for name in (one, two))
    assert mine.stat().st_size == theirs.stat().st_size
    swap(mine, theirs, mine)
    for use in (read_everything, stream_one_epoch, stream_a_later_epoch, verify_store):
        with pytest.raises(DamagedStoreError, match=rf"\(chunk {CHUNK} of ({one}|{two})\)"):
            use(store)


@pytest.mark.parametrize("target", ["nowhere", "itself", "folder", "neighbour"])
def test_a_chunk_that_is_a_link_to_anything_else_is_refused(
    sound_stores: tuple[Path, Path], tmp_path: Path, target: str
) -> None:
    store = shutil.copytree(sound_stores[0], tmp_path / "store.zarr")
    chunk = store / LAYOUT.chunk_path("position", CHUNK)
    chunk.unlink()
    places = {"nowhere": tmp_path / "gone", "itself": chunk, "folder": store}
    chunk.symlink_to(places.get(target, store / LAYOUT.chunk_path("position", CHUNK + 1)))
    with pytest.raises(DamagedStoreError, match=rf"\(chunk {CHUNK} of position\)"):
        read_everything(store)


def test_a_chunk_that_is_a_link_to_its_own_bytes_is_read(
    sound_stores: tuple[Path, Path], tmp_path: Path
) -> None:
    """As DVC lays files out with `cache.type symlink`."""
    store = shutil.copytree(sound_stores[0], tmp_path / "store.zarr")
    chunk = store / LAYOUT.chunk_path("position", CHUNK)
    chunk.rename(tmp_path / "cached")
    chunk.symlink_to(tmp_path / "cached")
    assert verify_store(store).n_rows == N_ROWS


def test_a_chunk_that_may_not_be_read_says_so(
    sound_stores: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    true_open = os.open

    def refuse(path: Path, *options: int) -> int:
        if str(path).endswith("position/c/4"):
            raise PermissionError(13, "Permission denied", str(path))
        return true_open(path, *options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ArtifactError, match=r"chunk 4 of position\) may not be read") as refusal:
        read_everything(sound_stores[0])
    assert not isinstance(refusal.value, DamagedStoreError)


@contextmanager
def overwritten(file: Path, data: bytes) -> Iterator[None]:
    """The file with other contents for a while."""
    before = file.read_bytes()
    file.write_bytes(data)
    try:
        yield
    finally:
        file.write_bytes(before)


def files_of(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("*") if path.is_file())


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_of_any_file_is_refused(all_stores: Stores, data: st.DataObject) -> None:
    sound = all_stores[data.draw(st.sampled_from(sorted(all_stores)))][0]
    file = data.draw(st.sampled_from(files_of(sound)))
    damaged = bytearray(file.read_bytes())
    bit = data.draw(st.integers(0, len(damaged) * 8 - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    with (
        overwritten(file, bytes(damaged)),
        pytest.raises(DamagedStoreError, match=str(file.relative_to(sound))),
    ):
        verify_store(sound)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_overwritten_run_of_bytes_is_refused_unless_it_changes_nothing(
    all_stores: Stores, data: st.DataObject
) -> None:
    sound = all_stores[data.draw(st.sampled_from(sorted(all_stores)))][0]
    file = data.draw(st.sampled_from(files_of(sound)))
    before = file.read_bytes()
    start = data.draw(st.integers(0, len(before)))
    stop = data.draw(st.integers(start, len(before)))
    after = before[:start] + data.draw(st.binary(max_size=40)) + before[stop:]
    expected = nullcontext() if after == before else pytest.raises(DamagedStoreError)
    with overwritten(file, after), expected:
        verify_store(sound)


@pytest.mark.parametrize("name", ["seal.json", "chunks.npy", "zarr.json", "position/zarr.json"])
def test_lost_metadata_is_refused_with_its_name(
    sound_stores: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    store = shutil.copytree(sound_stores[0], tmp_path / "store.zarr")
    (store / name).unlink()
    with pytest.raises(DamagedStoreError, match=name):
        StoreReader.open(store)


def test_metadata_of_another_store_is_refused(
    sound_stores: tuple[Path, Path], tmp_path: Path
) -> None:
    store = shutil.copytree(sound_stores[0], tmp_path / "store.zarr")
    shutil.copyfile(sound_stores[1] / "chunks.npy", store / "chunks.npy")
    with pytest.raises(DamagedStoreError, match=r"chunks.npy has sha256"):
        StoreReader.open(store)


def test_a_row_count_edited_in_metadata_and_seal_is_refused(
    sound_stores: tuple[Path, Path], tmp_path: Path
) -> None:
    store = shutil.copytree(sound_stores[0], tmp_path / "store.zarr")
    for name in ("seal.json", "zarr.json"):
        text = (store / name).read_text()
        (store / name).write_text(text.replace(str(N_ROWS), str(N_ROWS - 1)))
    with pytest.raises(DamagedStoreError, match=r"seal.json .*it was altered"):
        StoreReader.open(store)


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        ({"counts": {"n_rows": 7}}, "says n_rows = 7, the sealed store has 150"),
        ({"files": {"seal.json": {"bytes": 1, "sha256": "0"}}}, "seal.json has sha256"),
        ({"files": {"gone.bin": {"bytes": 1, "sha256": "0"}}}, "gone.bin is missing"),
        ({"files": None}, "manifest.json cannot be read"),
    ],
)
def test_a_manifest_that_disagrees_with_the_store_is_refused(
    sound_stores: tuple[Path, Path], tmp_path: Path, edit: dict, complaint: str
) -> None:
    store = shutil.copytree(sound_stores[0], tmp_path / "store.zarr")
    manifest = {"files": {}, "counts": {"n_rows": N_ROWS}} | edit
    (store / "manifest.json").write_text(json.dumps(signed(manifest)))
    with pytest.raises(DamagedStoreError, match=complaint):
        StoreReader.open(store)


@pytest.mark.parametrize("stranger", ["activations/c/99/0/0", ".DS_Store", "source/c/4.bak"])
def test_verify_names_files_that_do_not_belong(
    sound_stores: tuple[Path, Path], tmp_path: Path, stranger: str
) -> None:
    store = shutil.copytree(sound_stores[0], tmp_path / "store.zarr")
    (store / stranger).parent.mkdir(parents=True, exist_ok=True)
    (store / stranger).write_bytes(b"x")
    with pytest.raises(DamagedStoreError, match=f"{stranger} does not belong") as told:
        verify_store(store)
    assert "remove this file alone" in str(told.value)
    assert "damaged" not in str(told.value)


def test_a_sound_store_is_verified_whole(sound_stores: tuple[Path, Path]) -> None:
    checked = verify_store(sound_stores[0])
    assert checked.n_rows == N_ROWS
    assert checked.n_chunks == LAYOUT.n_chunks(N_ROWS) * len(LAYOUT.arrays)
    on_disk = sum(p.stat().st_size for p in sound_stores[0].rglob("c/**/*") if p.is_file())
    assert checked.n_bytes == on_disk


@pytest.mark.parametrize("codec", CODED)
def test_a_chunk_that_was_coded_wrong_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    """All sums are right, and the bytes decode to another number of bytes, or to none."""
    layout, chunks = CODED[codec], iter([b"no codec wrote this", None])
    true_encode = writing.encode

    def encode(codec: str, payload: np.ndarray) -> Any:
        return next(chunks, None) or true_encode(codec, payload[: len(payload) // 2])

    monkeypatch.setattr(writing, "encode", encode)
    with StoreWriter.open(tmp_path / "store", layout, n_threads=1) as writer:
        writer.append(numbered_rows(layout, 0, N_ROWS))
        writer.finish()
    verify_store(tmp_path / "store")
    for name in ("activations", "source"):
        with (
            StoreReader.open(tmp_path / "store") as reader,
            pytest.raises(DamagedStoreError, match=rf"\(chunk 0 of {name}\) cannot be decoded"),
        ):
            reader.read(name)


def test_no_row_of_a_damaged_chunk_is_handed_out(
    sound_stores: tuple[Path, Path], tmp_path: Path
) -> None:
    store = shutil.copytree(sound_stores[0], tmp_path / "store.zarr")
    flip(store / LAYOUT.chunk_path("position", CHUNK), 0)
    served: list[int] = []
    with StoreReader.open(store) as reader:
        stream = reader.batches(1, names=("position",))
        with pytest.raises(DamagedStoreError):
            served.extend(int(batch["position"][0]) for batch in stream)
    assert len(served) <= CHUNK * ROWS_PER_CHUNK
    np.testing.assert_array_equal(served, np.arange(len(served)) * 31 + 4)
