"""`stages.chain` in the folder that the first argument names, typed as the others say."""

import os

import pipeline.analysis.charts
import pipeline.analysis.evaluation.table
import pipeline.training.training  # noqa: F401 - loaded before the fork
from pipeline.workspace import ROOT
from stages import chain


def main(arguments: list[str]) -> None:
    folder, *typed = arguments
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(ROOT)  # for the shuffle, which has a process of its own
    chain.started(typed)
