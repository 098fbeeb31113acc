"""Simpler accounts of the difference: its mean, and an SAE trained on it.

    difference.py   `CellMeans` of training rows; `DifferenceSums` of held-out rows: squared error
                    of every estimator of h_it - h_base, by unit and group; their table
    positions.py, position_lens.py   the mean difference by position, and what it writes
    patches.py      `BaselinePatches`: the estimators as replacements for the causal test
    run.py          `compared`: what `results/baselines.json` holds

The diff-SAE itself is trained by `pipeline.training`; the causal figures come from `causal`.
"""
