"""Ctrl-C, SIGTERM and the end of the process that started this one, for commands that run long.

Library code in a notebook or a test is left alone: only a `listening` command has these handlers.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
WORDS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
SAME_PRESS_SECONDS = 2.0
"""A second signal within this time repeats the first: torchrun passes on what a terminal has sent
to all processes already."""
PARENT_INTERVAL_SECONDS = 1.0
STARTED_BY_STAGE = "PIPELINE_STARTED_BY"
"""Set for a stage that another command of this project has started."""
STARTED_BY_DVC = "DVC_STAGE"
SHELLS = {"sh", "dash", "bash", "zsh", "fish", "ksh"}


class Interrupted(KeyboardInterrupt):
    """A signal asked this command to end. kept: folders of unfinished work that stay."""

    def __init__(self, number: int) -> None:
        super().__init__(WORDS[signal.Signals(number)])
        self.number = number
        self.kept: list[Path] = []


class _State:
    """Of this process: whether signals wait for a good moment, the first one and when it came."""

    is_listening = False
    n_holding = 0
    asked: int | None = None
    asked_at = 0.0
    children: "set[subprocess.Popen[Any]]" = set()  # noqa: RUF012


@contextmanager
def listening() -> Iterator[None]:
    """Let both signals raise Interrupted, once the children that run are told to end; and take the
    end of DVC, or of the command that started this one, as SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _on_signal) for number in SIGNALS}
    was_listening, _State.is_listening = _State.is_listening, True
    if not was_listening:
        _State.asked = None
        _watch_parents()
    try:
        yield
    finally:
        _State.is_listening = was_listening
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held() -> Iterator[Callable[[], bool]]:
    """Let signals wait inside; the caller asks whether one came, puts its work in order and calls
    `stop`. A further one after two seconds ends at once."""
    if not _State.is_listening:
        yield lambda: False
        return
    before = {number: signal.signal(number, _on_signal) for number in SIGNALS}
    _State.n_holding += 1
    try:
        yield lambda: _State.asked is not None
    finally:
        _State.n_holding -= 1
        for number, handler in before.items():
            signal.signal(number, handler)


def stop() -> None:
    """Raise Interrupted for the signal that came to this process, or to another of its job."""
    raise Interrupted(_State.asked or signal.SIGTERM)


def _on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    now = time.monotonic()
    is_first = _State.asked is None
    if is_first:
        _State.asked, _State.asked_at = number, now
        for child in tuple(_State.children):
            child.terminate()
    elif now - _State.asked_at < SAME_PRESS_SECONDS:
        return
    if not (is_first and _State.n_holding):
        raise Interrupted(number)


def run_child(
    command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Exit status of a command and what it wrote to stderr. It gets no signal of the terminal, but
    SIGTERM where this process gets one, and it ends where this process ends."""
    if _State.asked is not None:
        stop()
    child = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {}), STARTED_BY_STAGE: str(os.getpid())},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _State.children.add(child)
    try:
        _, said = child.communicate()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    finally:
        _State.children.discard(child)
    return child.returncode, said


def _watch_parents() -> None:
    """End as by SIGTERM once the process that waits for this one is gone; else it would work on,
    seen by nobody, and hold the lock of its artifact."""
    if STARTED_BY_DVC in os.environ or STARTED_BY_STAGE in os.environ:
        parents = _waiting_parents()
        threading.Thread(target=_end_with, args=(parents,), daemon=True).start()


def _waiting_parents() -> list[int]:
    """Process ids from the parent up: the shells between, if any, and the one that runs them."""
    import psutil

    parents = [os.getppid()]
    while (process := psutil.Process(parents[-1])).name() in SHELLS and process.ppid() > 1:
        parents.append(process.ppid())
    return parents


def _end_with(parents: list[int]) -> None:
    import psutil

    while True:
        time.sleep(PARENT_INTERVAL_SECONDS)
        try:
            above = [os.getppid(), *(psutil.Process(pid).ppid() for pid in parents[:-1])]
        except psutil.Error:
            above = []
        if above != parents:
            os.kill(os.getpid(), signal.SIGTERM)
            return


def end_quietly_before_start(name: str) -> None:
    """Until a command listens: one line, no traceback out of an import."""

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        sys.stderr.write(f"{name}: stopped by {WORDS[signal.Signals(number)]} before it began\n")
        sys.stderr.flush()
        os._exit(128 + number)

    for number in SIGNALS:
        signal.signal(number, end)
