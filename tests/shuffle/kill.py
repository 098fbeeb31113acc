"""Kill writers and shuffles with SIGKILL at random points, let them go on, compare every byte.

    python -m tests.shuffle.kill --kills 1000 [--seed 0]

Two kinds of kill. `call`: at the n-th call that changes the disk, before it, or half way through
where it writes. `time`: whenever. A job is killed again and again until it gets through; then its
files must equal those of an unbroken run. Prints kills and finished runs per job as JSON.
"""

import argparse
import json
import os
import random
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import artifacts
from pipeline.bulk import resolve
from pipeline.shuffle import blocks, memory, permutation
from pipeline.shuffle import scatter as scattering
from pipeline.shuffle.memory import least_bytes, plan_memory
from pipeline.shuffle.permutation import Permutation
from pipeline.shuffle.scatter import BucketWriter
from pipeline.shuffle.shuffle import Ordering, shuffle_store
from pipeline.store import (
    StoreLayout,
    StoreWriter,
    activation_layout,
    chunkfile,
    token_layout,
    verify_store,
)
from tests.store.numbered import bytes_below, numbered_rows

N_ROWS, SEED = 1500, 3
LAYOUT = activation_layout(2, 150, 64)
CHANGING_CALLS = (
    "pwrite",
    "write",
    "replace",
    "rename",
    "unlink",
    "mkdir",
    "ftruncate",
    "rmdir",
    "open",
    "symlink",
)


def append(folder: Path, source: Path, name: str = "store", layout: StoreLayout = LAYOUT) -> None:
    """What a dump does."""
    with StoreWriter.open(folder / name, layout) as writer:
        for start in range(writer.next_row, N_ROWS, 50):
            writer.append(numbered_rows(layout, start, min(start + 50, N_ROWS)))
        writer.finish()


def append_tokens(folder: Path, source: Path) -> None:
    """What the mix does."""
    append(folder, source, layout=token_layout(40, 64))


def publish(folder: Path, source: Path, bulk: Path | None = None) -> None:
    """What a stage does: build a store beside its place, give it a manifest, rename it there."""
    with artifacts.build(
        folder / "store",
        artifact="store",
        format_version=1,
        config={},
        inputs={},
        bulk_dir=bulk,
    ) as build:
        if build.complete:
            return
        append(build.work.parent, source, name=build.work.name)
        build.publish(counts={"n_rows": N_ROWS}, facts={})


def publish_bulk(folder: Path, source: Path) -> None:
    """The same with the chunks in another folder."""
    publish(folder, source, folder / "bulk")


def append_zstd(folder: Path, source: Path) -> None:
    append(folder, source, layout=replace(LAYOUT, codec="zstd"))


def append_blosc(folder: Path, source: Path) -> None:
    append(folder, source, layout=replace(LAYOUT, codec="blosc_lz4"))


def shuffle_two_pass(folder: Path, source: Path) -> None:
    shuffle_store(source, folder / "store", seed=SEED, buffer_bytes=two_pass_bytes(), cached=False)


def shuffle_two_pass_cached(folder: Path, source: Path) -> None:
    buffer_bytes = two_pass_bytes()
    shuffle_store(source, folder / "store", seed=SEED, buffer_bytes=buffer_bytes, cached=True)


def shuffle_in_memory(folder: Path, source: Path) -> None:
    shuffle_store(source, folder / "store", seed=SEED, buffer_bytes=2**30)


def scatter(folder: Path, source: Path) -> None:
    """What a dump that scatters does, and the shuffle after it."""
    permuted = Permutation(SEED, N_ROWS)
    layout = replace(LAYOUT, codec="zstd")
    with BucketWriter.open(folder / "buckets", layout, permuted, load_rows=200) as writer:
        for start in range(writer.next_row, N_ROWS, 50):
            writer.append(numbered_rows(LAYOUT, start, min(start + 50, N_ROWS)))
        writer.finish()
    Ordering.open(folder / "buckets", folder / "store", buffer_bytes=2**30).run()


def two_pass_bytes() -> int:
    return least_bytes(LAYOUT, Permutation(SEED, N_ROWS))


JOBS = (
    append,
    append_zstd,
    append_blosc,
    append_tokens,
    shuffle_two_pass,
    shuffle_two_pass_cached,
    shuffle_in_memory,
    scatter,
    publish,
    publish_bulk,
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100, help="kills in all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    use_small_buckets()
    # A kill leaves the page cache to the system: flushing proves nothing here and takes long.
    os.fsync = lambda descriptor: None
    with tempfile.TemporaryDirectory() as folder:
        counts = campaign(Path(folder), arguments.kills, random.Random(arguments.seed))
    print(json.dumps(counts))


def use_small_buckets() -> None:
    """Make a few rows need many buckets and several loads."""
    permutation.MIN_BUCKET_ROWS = 256
    permutation.ROWS_PER_PIECE = 4
    memory.SLACK_BYTES = 0
    memory.MIN_SLAB_ROWS = 16
    memory.STAGE_BYTES = blocks.STAGE_BYTES = scattering.STAGE_BYTES = 8192
    assert not plan_memory(LAYOUT, Permutation(SEED, N_ROWS), two_pass_bytes(), 2).in_memory
    chunkfile.MIN_DIRECT_BYTES = 20_000  # activations past the page cache, the other arrays not


def campaign(folder: Path, n_kills: int, draw: random.Random) -> dict[str, Any]:
    source = folder / "source"
    with StoreWriter.open(source, LAYOUT) as writer:
        writer.append(numbered_rows(LAYOUT, 0, N_ROWS))
        writer.finish()
    counts: dict[str, Any] = {}
    for job in JOBS:
        unbroken = folder / "unbroken"
        n_calls, seconds = measure(job, unbroken, source)
        expected = contents(unbroken)
        count = {"kills": 0, "finished_runs": 0, "disk_calls_of_a_run": n_calls}
        while count["kills"] < n_kills / len(JOBS):
            count["kills"] += kill_until_finished(
                job, folder / "killed", source, n_calls, seconds, draw
            )
            count["finished_runs"] += 1
            verify_store(folder / "killed" / "store")
            assert contents(folder / "killed") == expected, job.__name__
            shutil.rmtree(folder / "killed")
        shutil.rmtree(unbroken)
        counts[job.__name__] = count
    counts["kills"] = sum(counts[job.__name__]["kills"] for job in JOBS)
    return counts


def contents(folder: Path) -> list[dict[str, bytes]]:
    """All files of the store that a job made, and of its bulk where it has one."""
    return [bytes_below(folder / "store"), bytes_below(resolve(folder / "store"))]


def measure(job: Callable[[Path, Path], None], folder: Path, source: Path) -> tuple[int, float]:
    """Disk-changing calls and seconds of an unbroken run."""
    reader, writer = os.pipe()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        calls = watch_calls(None, half_way=False)
        finish_child(lambda: job(folder, source), lambda: os.write(writer, str(calls[0]).encode()))
    os.waitpid(pid, 0)
    seconds = time.monotonic() - began
    answer = os.read(reader, 20)
    os.close(reader)
    os.close(writer)
    return int(answer), seconds


def kill_until_finished(
    job: Callable[[Path, Path], None],
    folder: Path,
    source: Path,
    n_calls: int,
    seconds: float,
    draw: random.Random,
) -> int:
    """Run the job, killing it, until a run gets through. Returns the kills."""
    n_kills = 0
    while True:
        by_call = draw.random() < 0.7
        at_call = draw.randrange(1, int(n_calls * 1.1)) if by_call else None
        half_way = draw.random() < 0.5
        delay = draw.uniform(0, 1.2 * seconds)
        pid = os.fork()
        if pid == 0:
            if at_call is not None:
                watch_calls(at_call, half_way=half_way)
            finish_child(lambda: job(folder, source), lambda: None)
        if at_call is None:
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status):
            n_kills += 1
        elif os.WEXITSTATUS(status) == 0:
            return n_kills
        else:
            raise AssertionError(f"{job.__name__} ended with an error after {n_kills} kills")


def finish_child(work: Callable[[], Any], report: Callable[[], Any]) -> None:
    """Do the work of a forked child and end it without the parent's cleaning up."""
    try:
        work()
        report()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def watch_calls(kill_at: int | None, *, half_way: bool) -> list[int]:
    """Count the calls that change the disk; at number `kill_at`, die. Returns the running count.

    half_way: a call that writes has written half of its bytes when the process dies
    """
    n_calls = [0]

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            n_calls[0] += 1
            if n_calls[0] == kill_at:
                if half_way and real.__name__ in ("pwrite", "write"):
                    data = memoryview(arguments[1])
                    real(arguments[0], data[: len(data) // 2], *arguments[2:])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call

    for name in CHANGING_CALLS:
        setattr(os, name, watched(getattr(os, name)))
    return n_calls


if __name__ == "__main__":
    main()
