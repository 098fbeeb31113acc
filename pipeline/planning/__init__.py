"""What an experiment will need, stage by stage, before anything runs.

machine.py      `Machine`: rates and room of this machine, measured in two seconds
model_size.py, dictionary.py   `ModelSize`, number of latents, both without the weights
estimate.py     `StageCost` of each stage: disk, memory, time; analyses.py, training_step.py in part
rounds.py, ways.py   training rows stored, or made in rounds: both costs side by side
explaining.py   requests and tokens of the stage `explain`
missing.py      what stands between an experiment and its first result
table.py        the plan as text
"""

from pipeline.planning.cost import StageCost
from pipeline.planning.dictionary import n_latents_of
from pipeline.planning.estimate import estimate
from pipeline.planning.explaining import explain_line
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
    "explain_line",
    "measure_machine",
    "missing_for",
    "n_latents_of",
    "plan_table",
    "size_of",
    "ways_table",
]
