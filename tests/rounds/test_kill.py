"""SIGKILL at random moments of a training in rounds: it goes on and ends in the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_killed_training_in_rounds_ends_in_the_same_bytes_on_a_bounded_disk() -> None:
    command = [sys.executable, "-m", "tests.rounds.kill", "--kills", "4", "--seed", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["kills"] >= 4
    assert told["most_bytes"] <= told["allowed"]
