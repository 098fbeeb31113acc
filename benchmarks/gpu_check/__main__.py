"""Check the project on the CUDA card of this machine: is it right, is it reproducible, how fast.

    make gpu-check                                   # or, in an environment that stands:
    python -m benchmarks.gpu_check --json OUT [--minutes 8] [--only right|fast]

reads   nothing but the code; needs about 20 GB of memory on the card and 5 GB of temporary disk
writes  a line per finding on the terminal, and all findings to OUT
exit status 0: all as it must be; 1: something is not, the last line names it; 2: no card, or
        a card that PyTorch cannot use
cost    at most about 8 minutes; what the time does not allow is told as left out
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from pipeline.command import command
from pipeline.runtime import resolve_device, set_threads

PARTS = ("right", "fast")


def started(typed: list[str]) -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", type=Path, help="write the findings to this file")
    parser.add_argument("--minutes", type=float, default=8.0, help="time that it may take")
    parser.add_argument("--only", choices=PARTS, help="whether it is right, or how fast it is")
    arguments = parser.parse_args(typed)
    set_threads(os.cpu_count() or 1)
    device = resolve_device("cuda")
    from benchmarks.gpu_check.run import checked

    wanted = PARTS if arguments.only is None else (arguments.only,)
    with tempfile.TemporaryDirectory() as folder:
        found = checked(device, Path(folder), arguments.minutes * 60, wanted)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    failed = found["failed"]
    said = f"not as it must be: {'; '.join(failed)}" if failed else "all as it must be"
    print(f"gpu-check: {said}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    command("gpu_check", started, doc=__doc__)
