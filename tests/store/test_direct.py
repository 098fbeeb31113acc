"""Past the page cache or through it: the same bytes, the same refusals."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DamagedStoreError
from pipeline.store import StoreReader, StoreWriter, activation_layout
from pipeline.store.chunkfile import BLOCK_BYTES, DIRECT, MIN_DIRECT_BYTES, aligned_empty
from tests.store.numbered import bytes_below, numbered_rows

N_ROWS = 2500
LAYOUT = activation_layout(2, 512, 1024)  # chunks of 2 MiB


def write(path: Path) -> Path:
    assert LAYOUT["activations"].row_bytes * LAYOUT.rows_per_chunk >= MIN_DIRECT_BYTES
    with StoreWriter.open(path, LAYOUT) as writer:
        writer.append(numbered_rows(LAYOUT, 0, N_ROWS))
        writer.finish()
    return path


def refuse_direct_opening(path: Path, flags: int, mode: int = 0o777, **options: int) -> int:
    if flags & DIRECT:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return TRUE_OPEN(path, flags, mode, **options)


TRUE_OPEN = os.open


def test_a_file_system_without_direct_access_gives_the_same_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = write(tmp_path / "direct")
    monkeypatch.setattr(os, "open", refuse_direct_opening)
    cached = write(tmp_path / "cached")
    with StoreReader.open(cached, direct=True) as reader:
        np.testing.assert_array_equal(
            reader.read("activations"), numbered_rows(LAYOUT, 0, N_ROWS)["activations"]
        )
    assert bytes_below(direct) == bytes_below(cached)


def test_blocks_refused_at_writing_are_written_through_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_write = os.pwrite

    def refuse(descriptor: int, data: memoryview, offset: int) -> int:
        if len(data) % BLOCK_BYTES == 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return true_write(descriptor, data, offset)

    expected = bytes_below(write(tmp_path / "direct"))
    monkeypatch.setattr(os, "pwrite", refuse)
    assert bytes_below(write(tmp_path / "cached")) == expected


@pytest.mark.parametrize("direct", [True, False, None])
def test_rows_are_the_same_past_the_cache_and_through_it(
    tmp_path: Path, direct: bool | None
) -> None:
    expected = numbered_rows(LAYOUT, 0, N_ROWS)["activations"]
    with StoreReader.open(write(tmp_path / "store"), direct=direct) as reader:
        np.testing.assert_array_equal(reader.read("activations"), expected)
        np.testing.assert_array_equal(reader.read("activations", 7, 2040), expected[7:2040])
        for batch_rows in (500, 1024):
            batches = [b["activations"].copy() for b in reader.batches(batch_rows)]
            np.testing.assert_array_equal(np.concatenate(batches), expected)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("where", [0, 2**20, 2**21 - 1, 2**21, 2**21 + 3])
def test_a_flipped_byte_is_refused_past_the_cache_and_through_it(
    tmp_path: Path, where: int, direct: bool
) -> None:
    store = write(tmp_path / "store")
    with (store / LAYOUT.chunk_path("activations", 1)).open("r+b") as file:
        file.seek(where)
        byte = file.read(1)[0]
        file.seek(where)
        file.write(bytes([byte ^ 8]))
    with (
        StoreReader.open(store, direct=direct) as reader,
        pytest.raises(DamagedStoreError, match=r"\(chunk 1 of activations\) has crc32c"),
    ):
        list(reader.batches(1024))


def test_buffers_begin_at_block_boundaries() -> None:
    for shape in (3, (5, 2, 7)):
        array = aligned_empty(shape, np.uint16)
        assert array.ctypes.data % BLOCK_BYTES == 0
        assert array.shape == ((shape,) if isinstance(shape, int) else shape)
