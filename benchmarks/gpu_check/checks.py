"""What was found, line by line: printed as it comes, kept for a JSON file."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.errors import PipelineError


@dataclass(frozen=True)
class Finding:
    """ok: whether it is as it must be; None for a figure that has no right or wrong, and for what
    was left out, whose figures then say why under `left_out`."""

    name: str
    ok: bool | None
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        word = {True: "ok", False: "FAIL", None: "-"}[self.ok]
        said = ", ".join(f"{name} {shown(value)}" for name, value in self.figures.items())
        return f"{word:4} {self.name}: {said}"


def left_out(name: str, why: str) -> Finding:
    """A finding for what could not be looked at."""
    return Finding(name, None, {"left_out": why})


def within(name: str, found: Mapping[str, float], limits: Mapping[str, float]) -> Finding:
    """Whether every figure is at most its limit (a NaN is not); both are told."""
    ok = all(found[key] <= limit for key, limit in limits.items())
    return Finding(name, ok, {**found, **{f"{key}_limit": limit for key, limit in limits.items()}})


ERRORS = (PipelineError, RuntimeError, ValueError, TypeError, MemoryError)
"""What a device that is not as it must be makes the code raise."""


def raised(name: str, error: BaseException) -> Finding:
    """A finding for what could not be looked at because it ended in an error."""
    said = " ".join(str(error).split())
    said = said if len(said) <= 600 else f"{said[:200]} ... {said[-400:]}"
    return Finding(name, False, {"raised": f"{type(error).__name__}: {said}"})


def shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


Part = Callable[[], Iterator[Finding]]


class Checks:
    """Runs parts of the check until the time is up, and keeps what they find."""

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds
        self.findings: list[Finding] = []

    def run(self, name: str, part: Part) -> None:
        """Take the findings of a part. What it raises is a finding too, and ends the part."""
        if time.monotonic() > self.until:
            self.add(left_out(name, "the time was up"))
            return
        try:
            for finding in part():
                self.add(finding)
                if time.monotonic() > self.until:
                    self.add(left_out(f"the rest of {name}", "the time was up"))
                    return
        except ERRORS as error:
            self.add(raised(name, error))

    def add(self, finding: Finding) -> None:
        self.findings.append(finding)
        print(finding.line, flush=True)

    @property
    def failed(self) -> list[str]:
        """Names of what is not as it must be."""
        return [finding.name for finding in self.findings if finding.ok is False]

    def plain(self) -> list[dict[str, Any]]:
        """The findings as plain data."""
        return [asdict(finding) for finding in self.findings]
