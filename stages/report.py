"""Put the results on one offline page.

    python -m stages.report                     # composed.yaml, as `dvc repro` does
    python -m stages.report +experiment=tiny report.n_latents=200

reads   results/*.json and *.csv, and the manifest of every artifact
writes  results/report.html: opens from disk, fetches nothing
cost    seconds
"""

from pipeline.config import Config
from pipeline.stage import (
    ACTIVATIONS,
    CROSSCODER,
    HELDOUT_ACTIVATIONS,
    MODELS,
    RESULTS,
    SHUFFLED,
    TOKENS,
    Stage,
    run,
)

STAGE = Stage(
    name="report",
    sections=("experiment", "report"),
    inputs={
        "models": MODELS,
        "tokens": TOKENS,
        "activations": ACTIVATIONS,
        "heldout_activations": HELDOUT_ACTIVATIONS,
        "shuffled": SHUFFLED,
        "crosscoder": CROSSCODER,
    },
    results=("report.html",),
)


def main(config: Config) -> None:
    from pipeline.analysis.findings import read_findings
    from pipeline.analysis.page import render

    manifests = {name: STAGE.input(config, name) for name in STAGE.inputs}
    findings = read_findings(
        RESULTS, manifests, config.model_dump(mode="json", exclude={"runtime"})
    )
    STAGE.publish_results(config, {"report.html": render(findings, config.report)})


if __name__ == "__main__":
    run(STAGE, main)
