"""dvc.yaml against the code: DVC looks at no imports and at no configuration of its own accord."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import Config, compose, load_config
from pipeline.config.compose import params_overrides
from pipeline.imports import PROJECT, Project
from pipeline.local_files import SECTIONS
from pipeline.report.sections.order import SECTIONS as PAGE
from pipeline.results import ResultFile
from pipeline.stage import MADE_BY, Stage

ROOT = Path(__file__).parents[1]
CODE = "data/code"
GRAPH: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
CLAIMS = sorted(path.stem for path in (ROOT / "pipeline/report/claims").glob("[a-z]*.py"))
STAGES = sorted(set(GRAPH) - {"code", "compose", "local_files"})


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def stage_of(name: str) -> Stage:
    return importlib.import_module(f"stages.{name}").STAGE


@pytest.mark.parametrize("name", sorted(set(GRAPH) - {"code"}))
def test_a_stage_depends_on_the_digests_of_its_own_code_and_on_no_file_of_code(name: str) -> None:
    code = [dep for dep in GRAPH[name]["deps"] if dep.split("/")[0] in PROJECT or CODE in dep]
    assert code == [f"{CODE}/{name}.json"]


@pytest.mark.parametrize("name", STAGES)
def test_dvc_yaml_lists_the_sections_that_the_stage_declares(name: str) -> None:
    (params,) = GRAPH[name].get("params", [{"composed.yaml": []}])
    assert sorted(params["composed.yaml"]) == sorted(stage_of(name).sections)
    assert set(stage_of(name).sections) <= set(Config.model_fields) - {"runtime"}


@pytest.mark.parametrize("name", STAGES)
def test_dvc_yaml_lists_the_files_that_the_stage_declares(name: str) -> None:
    stage, node = stage_of(name), GRAPH[name]
    reads = {dep for dep in node["deps"] if dep.startswith("data/") or Path(dep) in MADE_BY}
    reads.remove(f"{CODE}/{name}.json")
    reads -= {f"data/local_files/{section}.json" for section in stage.local_files}
    assert reads == {str(path) for path in stage.inputs.values()}
    entries = [*node.get("outs", []), *node.get("metrics", [])]
    writes = {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}
    results = {f"results/{result}" for result in stage.results}
    if results:
        results.add(f"results/{name}.manifest.json")
    assert writes == {str(path) for path in stage.outputs.values()} | results


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_local_files_of_the_sections_that_it_declares(name: str) -> None:
    declared = {f"data/local_files/{section}.json" for section in stage_of(name).local_files}
    assert declared == {dep for dep in GRAPH[name]["deps"] if dep.startswith("data/local_files/")}
    assert set(stage_of(name).local_files) <= set(stage_of(name).sections) & set(SECTIONS)


def test_local_files_are_looked_at_in_every_run_and_nothing_else_is() -> None:
    assert [name for name in GRAPH if GRAPH[name].get("always_changed")] == ["local_files"]
    (params,) = GRAPH["local_files"]["params"]
    assert tuple(params["composed.yaml"]) == SECTIONS


def test_the_report_depends_on_every_part_of_the_page() -> None:
    """Whatever in the library is no Python belongs to the page."""
    files = (path for path in Path("pipeline").rglob("*") if path.is_file())
    parts = {str(path) for path in files if path.suffix not in (".py", ".pyc")}
    assert parts
    assert parts <= set(Project(Path()).digests("stages.report"))


def test_the_report_waits_for_every_result_it_may_show() -> None:
    """Whatever a section of the page, or a claim, can read is a file that the stage depends on."""
    sections = [importlib.import_module(f"pipeline.report.sections.{s.name}") for s in PAGE]
    claims = [importlib.import_module(f"pipeline.report.claims.{name}") for name in CLAIMS]
    read = {
        f"results/{value.name}"
        for part in [*sections, *claims]
        for value in vars(part).values()
        if isinstance(value, ResultFile)
    }
    assert read <= set(GRAPH["report"]["deps"])
    assert {"results/causal.json", "results/latents.parquet"} <= read


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_stage_commands_are_constant(name: str) -> None:
    assert GRAPH[name]["cmd"] == f"python -m stages.{name}"
    assert GRAPH[name].get("desc")


def placeholders(experiment: str) -> list[str]:
    """What a user must give by overrides, for the experiments that leave it open."""
    given = {
        "local": ["models.base.path=a", "models.it.path=b", "hook_point.layer=3"],
        "smollm2": ["models.base.path=a"],
        "organism_smollm2": ["models.base.path=a"],
        "gemma3_adapter": ["models.base.path=a", "sources.tuning.paths=[c.jsonl]"],
    }
    if experiment not in given:
        return []
    return [*given[experiment], "sources.pile.paths=[a.jsonl]", "sources.chat.paths=[b.jsonl]"]


EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf/experiment").glob("*.yaml"))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_validates(experiment: str) -> None:
    config = compose([f"+experiment={experiment}", *placeholders(experiment)])
    assert config.experiment == experiment


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("variant", ["l1", "batch_topk", "dsf", "jumprelu"])
def test_every_experiment_takes_every_crosscoder(experiment: str, variant: str) -> None:
    overrides = [f"+experiment={experiment}", f"crosscoder={variant}"]
    more = ["crosscoder.n_latents=73728"]
    assert compose([*overrides, *placeholders(experiment), *more]).crosscoder.kind == variant


def test_the_committed_composed_yaml_is_what_params_yaml_asks_for() -> None:
    assert load_config([]) == compose(params_overrides())
