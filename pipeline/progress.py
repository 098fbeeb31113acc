"""One live line on a terminal, a line a minute elsewhere, and the figures in `logs/*.jsonl`."""

import json
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from pipeline.distributed import world
from pipeline.runtime import peak_device_bytes, resident_memory_bytes

LOGS = Path("logs")
LINE_INTERVAL_SECONDS = 0.25
LOG_INTERVAL_SECONDS = 5.0
RATE_WINDOW_SECONDS = 30.0
SIGN_INTERVAL_SECONDS = 60.0

_AT_WORK: "list[Progress]" = []
"""Jobs that are counted now, the innermost last."""


class Progress:
    """Counts finished units of a long job and shows rate, time left and memory.

    The line is drawn on a terminal only, and cut at its width. The log gets one JSON object at most
    every five seconds, one for every `record` and one at the end, terminal or not. Of several
    processes of one job only the first shows.

    labels: the figures that the line shows and their names there; None shows all as they are
    """

    def __init__(
        self,
        name: str,
        *,
        total: int,
        unit: str,
        start: int = 0,
        log_dir: Path | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.total, self.unit, self.labels = name, total, unit, labels
        self.done = start
        self._figures: dict[str, float] = {}
        self._log_path = (log_dir or LOGS) / f"{name}.jsonl"
        self._shows = world().is_first
        self._live = self._shows and sys.stderr.isatty()
        self._began = self._last_line = self._last_log = time.monotonic()
        self._window = deque([(self._began, start)])

    def __enter__(self) -> Self:
        _AT_WORK.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        _AT_WORK.remove(self)
        self._log(finished=kind is None)
        if self._live:
            self._draw()
            sys.stderr.write("\n")

    def advance(self, n: int, **figures: float) -> None:
        """Count `n` more units done and remember the latest `figures`, such as the loss."""
        self.done += n
        self._figures.update(figures)
        now = time.monotonic()
        if now - self._window[-1][0] >= LINE_INTERVAL_SECONDS:
            self._window.append((now, self.done))
        if self._live and now - self._last_line >= LINE_INTERVAL_SECONDS:
            self._last_line = now
            self._draw()
        if now - self._last_log >= LOG_INTERVAL_SECONDS:
            self.record()

    def record(self) -> None:
        """Log where the job stands now."""
        self._last_log = time.monotonic()
        self._log(finished=False)

    def rate(self) -> float:
        """Units per second over the last half minute, so that warm-up does not count for ever, or
        since the last count but one where units take longer than that."""
        now = time.monotonic()
        while len(self._window) > 2 and now - self._window[1][0] > RATE_WINDOW_SECONDS:
            self._window.popleft()
        began, done = self._window[0]
        return (self.done - done) / max(now - began, 1e-9)

    def _draw(self) -> None:
        # A line wider than the terminal would leave its remains behind.
        width = shutil.get_terminal_size((250, 24)).columns - 1
        sys.stderr.write(f"\r\x1b[K{self.line()[:width]}")
        sys.stderr.flush()

    def line(self) -> str:
        """Where the job stands: done, rate, time left, memory and the latest figures."""
        rate = self.rate()
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        share = self.done / self.total if self.total else 1.0
        shown = self.labels or {name: name for name in self._figures}
        figures = "  ".join(
            f"{label} {self._figures[name]:.4g}"
            for name, label in shown.items()
            if name in self._figures
        )
        return (
            f"{self.name}: {self.done:,}/{self.total:,} {self.unit} ({share:.0%})  "
            f"{format_rate(rate)}  {format_seconds(left)} left  "
            f"{resident_memory_bytes() / 1e9:.1f} GB  {figures}"
        )

    def _log(self, *, finished: bool) -> None:
        if not self._shows:
            return
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        on_device = peak_device_bytes()
        record = {
            "stage": self.name,
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "per_second": round(self.rate(), 3),
            "elapsed_seconds": round(time.monotonic() - self._began, 3),
            "resident_bytes": resident_memory_bytes(),
            **({} if on_device is None else {"device_peak_bytes": on_device}),
            "finished": finished,
            **self._figures,
        }
        with self._log_path.open("a") as log:
            log.write(json.dumps(record) + "\n")


@contextmanager
def sign_of_life(name: str, interval_seconds: float = SIGN_INTERVAL_SECONDS) -> Iterator[None]:
    """Where there is no terminal, write a line every minute from a thread of its own: where the
    job stands, or how long the command is at work where nothing is counted."""
    if sys.stderr.isatty() or not world().is_first:
        yield
        return
    ended, began = threading.Event(), time.monotonic()

    def write() -> None:
        while not ended.wait(interval_seconds):
            since = format_seconds(time.monotonic() - began)
            memory = f"{resident_memory_bytes() / 1e9:.1f} GB"
            line = _AT_WORK[-1].line() if _AT_WORK else f"{name}: at work for {since}  {memory}"
            sys.stderr.write(f"{line.rstrip()}\n")
            sys.stderr.flush()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def format_rate(per_second: float) -> str:
    """`1,200/s`, `3.5/s`, `12/min`, `1.5/h`: the unit of time in which there is one at least."""
    for unit, seconds in (("s", 1), ("min", 60), ("h", 3600)):
        if (rate := per_second * seconds) >= 1:
            return f"{rate:,.0f}/{unit}" if rate >= 10 else f"{rate:.1f}/{unit}"
    return f"{per_second * 3600:.1g}/h" if per_second else "0/s"


def format_seconds(seconds: float) -> str:
    """`3 s`, `4 min 10 s`, `2 h 05 min`, `3 d 4 h`."""
    if seconds == float("inf"):
        return "? s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
