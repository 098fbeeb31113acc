"""The validation: verdicts held against planted truth, null pairs and other seeds; the frontier.

    experiments.py   `Plan`: which experiments there are, each in a workspace of its own
    run.py           `validate`: runs what is not done, and gathers what they found
    scores.py        rates with intervals over seeds; what is aimed at, and what was reached
    frontier.py      sparsity against fidelity, one crosscoder per point
    charts.py        pictures of both

It stands beside the graph: it runs stages in workspaces and reads the results they leave.
"""
