"""What an experiment will need, stage by stage, before anything runs.

terms.py     `estimate`: the table of what every stage needs, disk, memory and units of work
rates.py, measure.py   `Rates`, seconds per unit: by arithmetic, and measured on this machine
machine.py   `Machine`: matrix rates, disk and room of this machine
model_size.py, dictionary.py   `ModelSize`, number of latents, both without the weights
ways.py      training rows stored, or made in rounds: both side by side, and rounds that fit
missing.py   what stands between an experiment and its first result
cost.py      `StageCost`, and tables as text
"""

from pipeline.planning.cost import StageCost, plan_table
from pipeline.planning.dictionary import n_latents_of
from pipeline.planning.machine import Machine, measure_machine
from pipeline.planning.missing import missing_for
from pipeline.planning.model_size import ModelSize, size_of
from pipeline.planning.terms import estimate, explain_line
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
