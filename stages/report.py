"""Put the results on one offline page.

    python -m stages.report                     # composed.yaml, as `dvc repro` does
    python -m stages.report +experiment=tiny report.n_curve_points=100

reads   results/*.json, *.csv and *.parquet, results/dashboards, the manifest of every artifact
writes  results/report.html: opens from disk, fetches nothing
        results/figures/NAME.png and NAME.csv: every chart of the page, and its data
        results/summary.json: the few figures by which DVC compares runs
        results/findings.json: what the first screen claims, for a program (docs/findings.md)
cost    seconds; memory: the page twice
"""

from dataclasses import replace

from pipeline.config import Config
from pipeline.results import ResultFile, applies
from pipeline.stage import DASHBOARDS, MODELS, RESULTS, Stage, paths_of, run

STAGE = Stage(
    name="report",
    sections=("experiment", "report"),
    inputs=paths_of(
        "models",
        "tokens",
        "activations",
        "heldout_activations",
        "shuffled",
        "crosscoder",
        "dashboards",
    ),
    outputs={"figures": RESULTS / "figures"},
    results=("report.html", "summary.json", "findings.json"),
    format_version=3,
)


def main(config: Config) -> None:
    from pipeline.analysis.dashboards.file import read_dashboards
    from pipeline.models.records import read_records
    from pipeline.report.browser import browser_data
    from pipeline.report.claims.screen import claims_file
    from pipeline.report.findings import Findings, recorded
    from pipeline.report.page import page_charts, page_sections, render, sentences
    from pipeline.report.summary import SOURCES, summary

    manifests = {name: STAGE.input(config, name) for name in STAGE.inputs}
    findings = Findings(
        RESULTS,
        config,
        manifests,
        runs=recorded(RESULTS) if config.report.shows_runs else (),
        models=read_records(MODELS) if config.has_models else {},
    )
    has_text = applies(manifests["dashboards"].facts)
    browser = browser_data(findings, read_dashboards(DASHBOARDS) if has_text else ())
    sections = page_sections(findings, browser)
    charts = page_charts(sections)
    with STAGE.build(config, "figures") as build:
        for name, chart in charts.items():
            for file, content in chart.files(name).items():
                (build.work / file).write_bytes(content)
        build.publish(counts={"n_figures": len(charts)}, facts={})
    figures = summary({n: ResultFile(n, by, dict).read(RESULTS) for n, by in SOURCES.items()})
    page = render(findings, sections, browser)
    known = replace(findings, excerpts=browser.excerpts)
    claims = claims_file(known, sentences(sections))
    STAGE.publish_results(
        config, {"report.html": page, "summary.json": figures, "findings.json": claims}
    )


if __name__ == "__main__":
    run(STAGE, main)
