"""How well the crosscoder explains held-out rows, and what splicing it in costs.

rows_pass.py        `HeldoutSums`: squares, errors and firing, by unit and group of tokens
reconstruction.py   L0 and explained variance of these
splice.py           `SpliceSums`: cross entropy and KL of both models, by patch (`PATCHES`)
splice_table.py     their figures; fractions recovered, with and without BOS replaced
latent_table.py     one row per latent: `results/latents.csv`
published.py        numbers of other runs to set beside ours
table.py, run.py    `results/evaluation.json`, and how it comes about
"""
