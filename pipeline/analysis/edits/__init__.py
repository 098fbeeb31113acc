"""How well each method names known edits of a model.

alone.py     `rows_with`, `effect_alone`: base's rows with one edit made, and what it adds to them
effects.py   `Truth`: an edit's share of the difference, its direction and its kind
methods.py   `Entry`: the list that each method gives
score.py     `Match`, `score`: lists against truth: recovered, false, kinds
null.py      lists of pairs that differ by nothing that was learnt
result.py    `EditScores`: what `results/edits.json` holds
run.py       `Known`: the edits of a pair and their effects; `scored`: what the stage does

Many pairs at once, pooled with intervals, are in `pipeline.validation`.
"""
