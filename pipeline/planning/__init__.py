"""What an experiment will need, stage by stage, before anything runs."""

from pipeline.planning.cost import StageCost
from pipeline.planning.dictionary import n_latents_of
from pipeline.planning.estimate import estimate
from pipeline.planning.machine import Machine, measure_machine
from pipeline.planning.missing import missing_for
from pipeline.planning.model_size import ModelSize, size_of
from pipeline.planning.table import plan_table
from pipeline.planning.ways import ways_table

__all__ = [
    "Machine",
    "ModelSize",
    "StageCost",
    "estimate",
    "measure_machine",
    "missing_for",
    "n_latents_of",
    "plan_table",
    "size_of",
    "ways_table",
]
