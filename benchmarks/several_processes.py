"""A training step in two processes of one thread beside one process of two threads.

    python -m benchmarks.several_processes --json OUT          # about three minutes on two cores

Each way of running takes its turn in every round; times are medians over all rounds. Also the bytes
that a rank puts into reductions per step. On a machine that others use too, `--cpu-time` sums the
processor time of all processes instead, one thread each: what dividing the work costs, not what it
gains (threads that wait for each other spin, and would count).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.train_step import SIZES, MemoryRows, make_training, random_rows
from pipeline.distributed import Mesh, joined, world
from pipeline.runtime import set_threads

N_THREADS = 2
WAYS = {"one_process": (1, "data"), "data": (2, "data"), "latents": (2, "latents")}
JOBS = [("l1", "fp32"), ("l1", "bf16"), ("batch_topk", "fp32"), ("batch_topk", "bf16")]


@contextmanager
def counted_bytes() -> Iterator[list[int]]:
    """The bytes of every tensor that this rank puts into a reduction."""
    total, reduce, gather = [0], dist.all_reduce, dist.all_gather

    def all_reduce(tensor: Any, *arguments: Any, **options: Any) -> Any:
        total[0] += tensor.nbytes
        return reduce(tensor, *arguments, **options)

    def all_gather(tensors: Any, tensor: Any) -> Any:
        total[0] += tensor.nbytes
        return gather(tensors, tensor)

    dist.all_reduce, dist.all_gather = all_reduce, all_gather
    try:
        yield total
    finally:
        dist.all_reduce, dist.all_gather = reduce, gather


def work(size_name: str, shard: Any, n_steps: int, *, cpu_time: bool) -> None:
    """Time steps of every job in this process, one of `world()`; the first prints them as JSON."""
    set_threads(1 if cpu_time else N_THREADS)
    size, results = SIZES[size_name], {}
    clock = time.process_time if cpu_time else time.perf_counter
    rows = random_rows(size.batch_rows, size.d_model)
    with (
        joined(300.0, "cpu", "steps"),
        tempfile.TemporaryDirectory() as folder,
        counted_bytes() as n_bytes,
    ):
        for kind, precision in JOBS:
            training = make_training(
                size, kind, precision, MemoryRows(rows), Path(folder), n_rows=10**9
            )
            run = replace(training, mesh=Mesh.of(world(), shard)).start()
            batch, seconds, sent = next(run.stream.batches()), [], 0
            for _ in range(n_steps + 1):
                run.step = 1  # a step that is not logged
                before, began = n_bytes[0], clock()
                run.train_on(batch)
                seconds.append(clock() - began)
                sent = n_bytes[0] - before
            of_ranks = torch.stack(world().gathered(torch.tensor(seconds[1:])))
            together = of_ranks.sum(0) if cpu_time else of_ranks.amax(0)
            results[f"{kind}_{precision}"] = {"seconds": together.tolist(), "bytes": sent}
    if world().is_first:
        print(json.dumps(results))


def run_way(way: str, options: list[str]) -> dict[str, Any]:
    """One turn of a way of running, in processes of its own."""
    n_processes, shard = WAYS[way]
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n_processes}"]
    module = ["-m", "benchmarks.several_processes", "--worker", shard]
    command = [sys.executable, *(launch if n_processes > 1 else []), *module]
    environment = os.environ | {"OMP_NUM_THREADS": str(N_THREADS // n_processes)}
    output = subprocess.run(
        [*command, *options],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ).stdout
    return json.loads(output.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--steps", type=int, default=8, help="timed steps per turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu-time", action="store_true", help="processor, not elapsed, time")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.size, arguments.worker, arguments.steps, cpu_time=arguments.cpu_time)
        return
    options = ["--size", arguments.size, "--steps", str(arguments.steps)]
    options += ["--cpu-time"] if arguments.cpu_time else []
    turns = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way, results in turns.items():
            results.append(run_way(way, options))
    figures: dict[str, Any] = {}
    for job in turns["one_process"][0]:
        medians = {
            way: statistics.median([s for turn in results for s in turn[job]["seconds"]])
            for way, results in turns.items()
        }
        figures[job] = {
            "milliseconds": {way: 1e3 * value for way, value in medians.items()},
            "bytes_per_step": {way: results[0][job]["bytes"] for way, results in turns.items()},
            **{f"{w}_over_one": medians[w] / medians["one_process"] for w in ("data", "latents")},
        }
    print(json.dumps(figures, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
