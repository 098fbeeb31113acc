"""The section on the baselines."""

from pipeline.report.rows import NO_ESTIMATE, Result, Row

BASELINE_NAMES = {
    "mean": "mean difference",
    "cell_mean": "mean difference per source and token class",
    "diff_sae": "diff-SAE",
    "crosscoder": "crosscoder",
}


BASELINE_PATCHES = {
    "mean": "mean",
    "cell_mean": "cell_mean",
    "diff_sae": "diff_sae",
    "crosscoder": "full",
}
"""Estimator of the difference -> the patch of the causal test that adds it."""


def baseline_rows(result: Result) -> list[Row]:
    """One row per estimator of the difference: variance explained, L0, KL removed."""
    patches = result["causal"].get("patches", {})
    rows = []
    for estimator, name in BASELINE_NAMES.items():
        figures = result["explained"]["all"][estimator]
        patch = patches.get(BASELINE_PATCHES[estimator])
        tokens = patch["tokens"] if patch else {}
        rows.append(
            {
                "name": name,
                **{
                    key: figures.get(key, NO_ESTIMATE) for key in ("explained", "beyond_mean", "l0")
                },
                **{
                    group: tokens[group]["removed"] if group in tokens else NO_ESTIMATE
                    for group in ("first", "later")
                },
            }
        )
    return rows
