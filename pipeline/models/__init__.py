"""The model pair: hub, local, trained or tuned; where it is read; how it is continued.

materialise.py, pair.py    find or make both models, and whether they can be compared
locate.py, adapter.py, architecture.py, edits/   hub, local, LoRA, random weights, edits
fitting.py, sequences.py   training from scratch and tuning, on packed sequences
records.py                 `ModelRecord`: what `data/models/` says of a model; loads no torch
start.py, template.py      what every sequence starts with; how conversations are written
load.py, hook.py           the pair, whole or cut off, and its residual stream read or replaced
here.py                    what of a pair is on this machine, before anything is downloaded or made
skeleton.py, size.py       a model's modules, shapes and size without its weights
figures.py, result.py      `results/models.json`
"""
