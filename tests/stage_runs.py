"""Runs of a stage in a folder, in the processes that `tests.forks` starts.

{"arguments": [FOLDER, STAGE, OVERRIDE...], "n_processes": 2, "told": path}
"""

import os
import sys
from importlib import import_module

import pipeline.analysis.opening
import pipeline.analysis.splicing
import pipeline.crosscoder  # noqa: F401 - loaded once, before the forks


def main(arguments: list[str]) -> None:
    folder, stage, *overrides = arguments
    os.chdir(folder)
    sys.argv = [stage, *overrides]
    module = import_module(f"stages.{stage}")
    module.run(module.STAGE, module.main)
