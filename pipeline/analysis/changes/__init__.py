"""What fine-tuning changed: directions of h_it - h_base, found on training rows, tested on others.

lines.py          `Lines`: the directions that difference rows lie along, and are coded by
search.py         `find_lines`: narrow lines, on few rows each
everywhere.py     the shift of the mean, and of the scale; whose the shift is
broad.py          broad lines, on every row in proportion to what base has there
measure.py        `ChangeSums`: one pass over held-out rows, sums per block of documents
rows.py           `ChangeRows`: what each change puts into the difference of any other rows
judge.py          `Judgement`: sums -> shares, kinds, tests, what is listed
latents.py        `Rests`: the crosscoder latents that a change rests on; where it acts
causal.py         `Weight`: a change undone in the IT model, or made in base
surroundings.py   the last two for the listed changes, with promoted tokens and examples in context
result.py         `Change`, an entry of `results/changes.json`, and what each figure means
table.py          the entries; `results/changes.parquet`
run.py            `find` and `list_changes`: what the stage does
"""
