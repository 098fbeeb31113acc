"""SIGKILL at random moments: the job goes on from there and ends in the same bytes."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_killed_writers_and_shuffles_end_in_the_same_bytes() -> None:
    command = [sys.executable, "-m", "tests.shuffle.kill", "--kills", "50", "--seed", "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["kills"] >= 50
