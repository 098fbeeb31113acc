"""Each codec of the store on rows of a finished one: bytes, and rates of writing and reading.

    python -m benchmarks.codecs data/activations.zarr --json OUT [--rows 40000] [--repeats 3]

prints  a line per codec; writes OUT with every repeat
costs   three times the size of the rows on disk, and a minute or two

The codecs take turns inside a repeat, so that a machine that slows down slows down all of them.
Rates are gigabytes of uncompressed rows per second, with as many threads as `runtime.io_threads`
has by default.
"""

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.store import N_THREADS, drop_from_cache, files_below, machine
from pipeline.store import StoreLayout, StoreReader, StoreWriter
from pipeline.store.codecs import CODECS


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("store", type=Path, help="a store of activation rows")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--rows", type=int, default=40_000, help="rows taken from the store")
    parser.add_argument("--dir", type=Path, default=Path("build/benchmark"), help="scratch space")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with StoreReader.open(arguments.store) as reader:
        layout, rows = reader.layout, reader.rows(0, min(arguments.rows, reader.n_rows))
    repeats = [
        {codec: one_codec(arguments.dir, replace(layout, codec=codec), rows) for codec in CODECS}
        for _ in range(arguments.repeats)
    ]
    report = {"repeats": repeats, "machine": machine(), "n_rows": len(rows["source"])}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    for codec in CODECS:
        medians = {
            key: statistics.median(repeat[codec][key] for repeat in repeats)
            for key in repeats[0][codec]
        }
        print(f"{codec:10}", *(f"{key} {value:.3f}" for key, value in medians.items()), sep="  ")


def one_codec(folder: Path, layout: StoreLayout, rows: dict[str, np.ndarray]) -> dict[str, float]:
    """Write the rows, read them cold and warm; the store is removed again."""
    path = folder / "codec.zarr"
    shutil.rmtree(path, ignore_errors=True)
    gb = sum(array.nbytes for array in rows.values()) / 1e9

    def write() -> None:
        with StoreWriter.open(path, layout, n_threads=N_THREADS) as writer:
            writer.append(rows)
            writer.finish()

    def read() -> None:
        with StoreReader.open(path, n_threads=N_THREADS) as reader:
            for _ in reader.batches(layout.rows_per_chunk, names=layout.names):
                pass

    write_seconds, write_cpu = clocked(write)
    files = files_below(path)
    drop_from_cache(files)
    cold_seconds, _ = clocked(read)
    warm_seconds, read_cpu = min(clocked(read) for _ in range(3))
    size = sum(file.stat().st_size for file in files if "c" in file.relative_to(path).parts)
    shutil.rmtree(path)
    return {
        "bytes_over_uncompressed": size / (gb * 1e9),
        "write_gb_per_second": gb / write_seconds,
        "write_cpu_seconds_per_gb": write_cpu / gb,
        "read_cold_gb_per_second": gb / cold_seconds,
        "read_warm_gb_per_second": gb / warm_seconds,
        "read_cpu_seconds_per_gb": read_cpu / gb,
    }


def clocked(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of the clock and of the processor that the work takes."""
    began, cpu_began = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - cpu_began


if __name__ == "__main__":
    main()
