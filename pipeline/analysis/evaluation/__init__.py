"""How well the crosscoder explains held-out rows, and what splicing it in costs.

rows_pass.py   `HeldoutSums`: squares, errors and firing, by unit and group of tokens
splice.py      `SpliceSums`: cross entropy and KL of both models, by patch (`PATCHES`)
published.py   numbers of other runs to set beside ours
table.py       `results/evaluation.json`, its figures with intervals, and `results/latents.csv`
run.py         how it comes about
"""
