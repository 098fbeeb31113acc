"""Runs of a module's `main` in children of one process that has loaded the module before.

    python -m tests.forks MODULE

Loading torch takes seconds, a fork milliseconds. Each line of stdin is a run, as JSON:
{"arguments": [...], "n_processes": 2, "told": path}. The children of a run are the ranks of a job,
as `torchrun` would start them; what they write goes to the file `told`. When all have ended, a line
of JSON tells their exit statuses, negative where a signal ended them.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ended:
    statuses: list[int]
    said: str


@dataclass(frozen=True)
class Forks:
    """The process that forks, seen from a test."""

    server: subprocess.Popen[str]
    folder: Path

    def run(self, *arguments: str, n_processes: int = 1) -> Ended:
        """Run `main(arguments)` in so many processes, and wait for them."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        told = self.folder / "told"
        told.unlink(missing_ok=True)
        line = {"arguments": arguments, "n_processes": n_processes, "told": str(told)}
        self.server.stdin.write(json.dumps(line) + "\n")
        self.server.stdin.flush()
        return Ended(json.loads(self.server.stdout.readline()), told.read_text())

    def finish(self, *arguments: str, n_processes: int = 1) -> None:
        ended = self.run(*arguments, n_processes=n_processes)
        assert ended.statuses == [0] * n_processes, ended.said[-3000:]


@contextmanager
def forks(module: str, folder: Path) -> Iterator[Forks]:
    """What runs `main` of `module`; it keeps a file in `folder`."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.forks", module],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        yield Forks(server, folder)
        assert server.stdin is not None
        server.stdin.close()


def die_soon() -> None:
    """Kill this process with signal 9 within 10 ms, whatever it does then."""
    delay_seconds = random.Random(time.time_ns()).uniform(0, 0.01)
    threading.Timer(delay_seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()


def serve(main: Callable[[list[str]], None]) -> None:
    for line in sys.stdin:
        run = json.loads(line)
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        pids = [child(main, rank, address, run) for rank in range(run["n_processes"])]
        ended = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps(ended), flush=True)


def child(
    main: Callable[[list[str]], None], rank: int, address: dict[str, str], run: dict[str, Any]
) -> int:
    """Fork a rank of a run; its process id. One process is no job and has no rank."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        told = os.open(run["told"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(told, 1)
        os.dup2(told, 2)
        if (n := run["n_processes"]) > 1:
            size = {"WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n)}
            os.environ.update(address, RANK=str(rank), LOCAL_RANK=str(rank), **size)
        main(run["arguments"])
        status = 0
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


if __name__ == "__main__":
    serve(import_module(sys.argv[1]).main)
