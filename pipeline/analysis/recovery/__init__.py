"""Verdicts against planted truth.

    matching.py   `Cooccurrence` of latents and features on held-out rows; `Matching` of the two
    scores.py     the tables of features and latents, and rates of right and wrong verdicts
    kinds.py      verdicts by kind, rates by how often a feature fires
    chart.py      recall and false discoveries
    run.py        `score`: from the opened stage to `results/recovery.json` and its tables

Features come from `pipeline.plant`, which can be asked again where each of them fires.
"""
