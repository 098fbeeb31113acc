"""What the machine refuses or the user breaks off: a full disk, missing rights, signals."""

import ctypes
import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from unittest import mock

from pipeline import artifacts
from tests.mistakes.table import TINY, Mistake
from tests.mistakes.texts import read

PLANTED = "+experiment=planted"
OVERRIDING_RIGHTS = 0b110
"""Linux's CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by which root passes over every mode."""
CAPABILITIES_VERSION = 0x20080522


@contextmanager
def full_disk() -> Iterator[None]:
    with mock.patch.object(os, "fsync", side_effect=OSError(errno.ENOSPC, "No space left")):
        yield


@contextmanager
def small_files_only() -> Iterator[None]:
    """As `ulimit -f` leaves it: files of 512 bytes at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def without_roots_rights() -> Iterator[None]:
    """Modes count for this process as for any user's, also where root runs the tests."""
    if os.geteuid():
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then their upper halves
    assert libc.capget(header, sets) == 0
    before = sets[0]
    sets[0] &= ~OVERRIDING_RIGHTS
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = before
        assert libc.capset(header, sets) == 0


def sent(number: signal.Signals) -> Callable[[], AbstractContextManager[object]]:
    """The signal comes when the command is about to write."""

    def raise_it(path: Path, data: bytes) -> None:
        os.kill(os.getpid(), number)
        while True:
            signal.pause()

    return lambda: mock.patch.object(artifacts, "write_bytes", raise_it)


def closed(place: str, mode: int = 0o000) -> Callable[[Path], None]:
    """Take the rights to a file, or to a folder that may be new, away."""

    def prepare(folder: Path) -> None:
        path = folder / place
        if not path.exists():
            path.mkdir()
        path.chmod(mode)

    return prepare


def forbidden(name: str, stage: str, place: str, *words: str, mode: int = 0o000) -> Mistake:
    return Mistake(
        name,
        (place, *words),
        typed=(PLANTED,),
        stage=stage,
        prepare=closed(place, mode),
        around=without_roots_rights,
    )


MISTAKES = [
    Mistake(
        "a disk that is full when a configuration is written",
        ("no space left", "free some space", "again"),
        typed=(TINY,),
        around=full_disk,
    ),
    Mistake(
        "a disk that is full when an artifact is written",
        ("no space left", "data", "stages.unfinished", "again"),
        typed=(PLANTED,),
        stage="models",
        around=full_disk,
    ),
    Mistake(
        "a limit on the size of files",
        ("largest size", "ulimit -f", "again"),
        typed=(TINY,),
        around=small_files_only,
    ),
    forbidden("a folder that may not be written", "models", "data", "right to", mode=0o500),
    forbidden("a file of conf/ that may not be read", "compose", "conf/config.yaml", "denied"),
    forbidden("a folder of conf/ that may not be read", "compose", "conf", "right to read"),
    Mistake(
        "a params.yaml that may not be read",
        ("params.yaml", "denied", "read"),
        prepare=closed("params.yaml"),
        around=without_roots_rights,
    ),
    *(
        Mistake(
            f"{name} while a configuration is written",
            ("nothing was finished", "begins anew"),
            typed=(TINY,),
            around=sent(number),
            status=128 + number,
        )
        for name, number in (("Ctrl-C", signal.SIGINT), ("SIGTERM", signal.SIGTERM))
    ),
    *(
        read(
            f"{place} that may not be read",
            {},
            place,
            "denied",
            "right to read",
            prepare=closed(place),
            around=without_roots_rights,
        )
        for place in ("t/a.jsonl", "data/models/manifest.json")
    ),
]
