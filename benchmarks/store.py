"""The store against raw file I/O of the same bytes, in the same run.

    python -m benchmarks.store --json OUT [--gb 2] [--dir build/benchmark] [--repeats 3]

prints  one line per measurement; writes OUT with the medians of the ratios and every single figure
costs   about four times `--gb` of disk, and a few minutes

Each ratio is taken inside one repeat, raw and ours alternating, so that a disk that slows down for
everybody does not show. Cold: the files' pages were dropped from the page cache.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.shuffle.permutation import Permutation
from pipeline.shuffle.scatter import BucketWriter
from pipeline.store import StoreLayout, StoreReader, StoreWriter, activation_layout

N_MODELS, D_MODEL, ROWS_PER_CHUNK, BATCH_ROWS = 2, 2304, 4096, 4096
BLOCK_BYTES = 16 * 2**20
N_THREADS = 2
N_RING_SLOTS = N_THREADS + 1
N_WARM_ROUNDS = 7
CHILD = """
import json, re, sys, time
from pathlib import Path
from benchmarks.store import copy_store
from pipeline.runtime import resident_memory_bytes
from pipeline.shuffle.shuffle import shuffle_store
kind, source, out, limit = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
buffer_bytes = limit - resident_memory_bytes()
began = time.perf_counter()
if kind == "copy":
    copy_store(source, out)
else:
    cached = False if kind == "shuffle_direct" else None
    shuffle_store(source, out, seed=0, buffer_bytes=buffer_bytes, cached=cached)
seconds = time.perf_counter() - began
# Not ru_maxrss, which begins at the size of the parent process.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps([seconds, peak]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--gb", type=float, default=2.0, help="size of the store, 1e9 bytes")
    parser.add_argument("--dir", type=Path, default=Path("build/benchmark"), help="scratch space")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--without-dump", action="store_true", help="leave the models out")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.dir, ignore_errors=True)
    arguments.dir.mkdir(parents=True)
    try:
        repeats = [
            one_repeat(arguments.dir, int(arguments.gb * 1e9)) for _ in range(arguments.repeats)
        ]
        if not arguments.without_dump:
            repeats[0] |= dump_over_forward(arguments.dir)
    finally:
        shutil.rmtree(arguments.dir)
    figures = {
        key: statistics.median(repeat[key] for repeat in repeats if key in repeat)
        for key in repeats[0]
    }
    report = {**figures, "repeats": repeats, "machine": machine(), "gb": arguments.gb}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    for key, value in figures.items():
        spread = sorted(round(repeat[key], 2) for repeat in repeats if key in repeat)
        print(f"{key:40} {value:10.3f}   {spread}")


def one_repeat(folder: Path, n_bytes: int) -> dict[str, float]:
    """All measurements once; every file is removed again."""
    layout = activation_layout(N_MODELS, D_MODEL, ROWS_PER_CHUNK)
    n_rows = n_bytes // layout.row_bytes // ROWS_PER_CHUNK * ROWS_PER_CHUNK
    gb = n_rows * layout.row_bytes / 1e9
    raw, store = folder / "raw.bin", folder / "store.zarr"
    figures: dict[str, float] = {}

    raw_write = timed(lambda: write_raw(raw, n_rows * layout.row_bytes))
    write = timed(lambda: write_store(store, layout, n_rows))
    figures |= {"raw_write_gb_per_second": gb / raw_write, "write_over_raw": raw_write / write}

    activations_gb = n_rows * layout["activations"].row_bytes / 1e9
    raw_cold, cold = [], []
    for _ in range(2):
        drop_from_cache([raw])
        raw_cold.append(timed(lambda: read_raw(raw)) / gb)
        drop_from_cache(files_below(store))
        cold.append(timed(lambda: read_store(store)) / activations_gb)
    figures["raw_read_cold_gb_per_second"] = 1 / min(raw_cold)
    figures["read_cold_over_raw"] = min(raw_cold) / min(cold)
    figures |= warm_reads(raw, store, gb, activations_gb)
    raw.unlink()
    figures |= shuffles(folder, store, layout, n_rows)
    return figures


def warm_reads(raw: Path, store: Path, gb: float, activations_gb: float) -> dict[str, float]:
    """Both read once before, then alternating; the best of each.

    `read_warm_over_raw` is the rate once the reader's ring is filled, as in all but the first
    instant of a training; `read_warm_whole_over_raw` also counts opening, which checks the size of
    every file, and the first touch of the ring's memory.
    """
    read_raw(raw)
    raw_warm, steady, whole, cpu = [], [], [], []
    for _ in range(N_WARM_ROUNDS):
        raw_warm.append(timed(lambda: read_raw(raw)) / gb)
        began = time.process_time()
        steady.append(steady_seconds_per_gb(store))
        cpu.append((time.process_time() - began) / activations_gb)
        whole.append(timed(lambda: read_store(store)) / activations_gb)
    return {
        "raw_read_warm_gb_per_second": 1 / min(raw_warm),
        "read_warm_over_raw": min(raw_warm) / min(steady[1:]),
        "read_warm_whole_over_raw": min(raw_warm) / min(whole[1:]),
        "read_cpu_seconds_per_gb": min(cpu[1:]),
    }


def steady_seconds_per_gb(store: Path) -> float:
    """Between two batches of one epoch, so far from its ends that the threads are as busy at both
    of them: nothing read ahead is counted as read for nothing."""
    with StoreReader.open(store, n_threads=N_THREADS) as reader:
        arrivals = [time.perf_counter() for _ in reader.batches(BATCH_ROWS)]
        batch_bytes = BATCH_ROWS * reader.layout["activations"].row_bytes
    inner = arrivals[N_RING_SLOTS:-N_RING_SLOTS]
    assert len(inner) > 1, "the store is too small to tell a steady rate: raise --gb"
    return (inner[-1] - inner[0]) / ((len(inner) - 1) * batch_bytes / 1e9)


def shuffles(folder: Path, store: Path, layout: StoreLayout, n_rows: int) -> dict[str, float]:
    """From cold files, each in a process of its own under a memory limit: the copy; the two-pass
    shuffle with its scratch in the page cache, and past it as for stores larger than memory; and
    the shuffle of rows that were dealt to their buckets when they were made."""
    limit = max(n_rows * layout.row_bytes // 3, 700_000_000)
    out, buckets = folder / "out.zarr", folder / "buckets"

    def cold(kind: str, source: Path = store) -> tuple[float, float]:
        os.sync()
        drop_from_cache(files_below(source))
        seconds, peak = in_child(kind, source, out, limit)
        shutil.rmtree(out)
        return seconds, peak

    first_copy, _ = cold("copy")
    shuffle, peak = cold("shuffle")
    second_copy, _ = cold("copy")
    direct, direct_peak = cold("shuffle_direct")
    scatter(store, buckets, n_rows)
    third_copy, _ = cold("copy")
    scattered, scattered_peak = cold("shuffle", buckets)
    fourth_copy, _ = cold("copy")
    shutil.rmtree(buckets)
    shutil.rmtree(store)
    return {
        "copy_seconds": statistics.mean([first_copy, second_copy, third_copy, fourth_copy]),
        "shuffle_over_copy": shuffle / statistics.mean([first_copy, second_copy]),
        "shuffle_direct_over_copy": direct / statistics.mean([second_copy, third_copy]),
        "scatter_shuffle_over_copy": scattered / statistics.mean([third_copy, fourth_copy]),
        "shuffle_peak_over_limit": max(peak, direct_peak, scattered_peak) / limit,
    }


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def write_raw(path: Path, n_bytes: int) -> None:
    """Write and flush one file in blocks from one buffer."""
    block = np.random.default_rng(0).integers(0, 256, BLOCK_BYTES, np.uint8).data
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for start in range(0, n_bytes, BLOCK_BYTES):
        os.write(descriptor, block[: min(BLOCK_BYTES, n_bytes - start)])
    os.fsync(descriptor)
    os.close(descriptor)


def read_raw(path: Path) -> None:
    buffer = bytearray(BLOCK_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def write_store(path: Path, layout: StoreLayout, n_rows: int) -> None:
    generator = np.random.default_rng(0)
    rows = {
        spec.name: generator.integers(0, 200, (BATCH_ROWS, *spec.shape)).astype(spec.dtype)
        for spec in layout.arrays
    }
    with StoreWriter.open(path, layout, n_threads=N_THREADS) as writer:
        for _ in range(0, n_rows, BATCH_ROWS):
            writer.append(rows)
        writer.finish()


def read_store(path: Path) -> None:
    """One epoch of activations, as training reads it."""
    with StoreReader.open(path, n_threads=N_THREADS) as reader:
        for _ in reader.batches(BATCH_ROWS):
            pass


def copy_store(source: Path, out: Path) -> None:
    """A plain copy of all arrays through the same reader and writer."""
    with StoreReader.open(source, n_threads=N_THREADS, direct=True) as reader:
        names = reader.layout.names
        with StoreWriter.open(out, reader.layout, n_threads=N_THREADS) as writer:
            for batch in reader.batches(BATCH_ROWS, names=names):
                writer.append(batch)
            writer.finish()


def scatter(source: Path, buckets: Path, n_rows: int) -> None:
    """What a dump that scatters does: rows straight into their buckets."""
    with (
        StoreReader.open(source, n_threads=N_THREADS) as reader,
        BucketWriter.open(
            buckets, reader.layout, Permutation(0, n_rows), load_rows=16_384
        ) as writer,
    ):
        for batch in reader.batches(BATCH_ROWS, names=reader.layout.names):
            writer.append(batch)
        writer.finish()


def in_child(kind: str, source: Path, out: Path, limit: int) -> tuple[float, float]:
    """Seconds and peak resident bytes of a copy or a shuffle in its own process."""
    command = [sys.executable, "-c", CHILD, kind, str(source), str(out), str(limit)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, peak = json.loads(answer)
    return seconds, peak


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def drop_from_cache(files: Iterable[Path]) -> None:
    """Make the next read of the files come from the disk."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def dump_over_forward(folder: Path) -> dict[str, float]:
    """The dump against the bare forward passes, as `benchmarks.dump` measures it, in its own
    process so that its memory does not count here."""
    out = folder / "dump.json"
    options = ["--json", str(out), "--repeats", "3", "--dir", str(folder / "dump")]
    command = [sys.executable, "-m", "benchmarks.dump", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return {"dump_over_forward": json.loads(out.read_text())["dump_over_forward"]}


def machine() -> dict[str, Any]:
    return {"cpus": os.cpu_count(), "system": platform.platform(), "python": sys.version.split()[0]}


if __name__ == "__main__":
    main()
