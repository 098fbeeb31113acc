"""dvc.yaml against the code: DVC looks at no imports and at no configuration of its own accord."""

import ast
import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import Config, compose, load_config
from pipeline.config.compose import params_overrides
from pipeline.stage import Stage

ROOT = Path(__file__).parents[1]
GRAPH: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
STAGES = sorted(set(GRAPH) - {"compose"})


@pytest.fixture(autouse=True)
def _in_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def stage_of(name: str) -> Stage:
    return importlib.import_module(f"stages.{name}").STAGE


def module_file(dotted: str) -> Path | None:
    """The file of a project module, or None where the name is no module of the project."""
    path = ROOT / dotted.replace(".", "/")
    if (path / "__init__.py").exists():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").exists() else None


def imported_modules(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in ("pipeline", "stages")}


def project_files_of(module: str) -> set[Path]:
    """Every project file that a module loads: its imports, theirs, and the packages on the way."""
    found: set[Path] = set()
    queue = [module]
    while queue:
        parts = queue.pop().split(".")
        for end in range(1, len(parts) + 1):
            file = module_file(".".join(parts[:end]))
            if file and file not in found:
                found.add(file)
                queue.extend(imported_modules(file))
    return found


def declared_files(deps: list[str]) -> set[Path]:
    """The Python files that the deps of a stage stand for; a folder stands for all below it."""
    files: set[Path] = set()
    for dep in deps:
        if dep.split("/")[0] in ("pipeline", "stages"):
            path = ROOT / dep
            files |= set(path.rglob("*.py")) if path.is_dir() else {path}
    return {file for file in files if file.suffix == ".py"}


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_the_deps_of_a_stage_are_the_project_files_it_imports(name: str) -> None:
    needed = {str(p.relative_to(ROOT)) for p in project_files_of(f"stages.{name}")}
    declared = {str(p.relative_to(ROOT)) for p in declared_files(GRAPH[name]["deps"])}
    assert sorted(declared - needed) == [], "deps that the stage does not import"
    assert sorted(needed - declared) == [], "imports that are not among the deps"


@pytest.mark.parametrize("name", STAGES)
def test_dvc_yaml_lists_the_sections_that_the_stage_declares(name: str) -> None:
    (params,) = GRAPH[name].get("params", [{"composed.yaml": []}])
    assert sorted(params["composed.yaml"]) == sorted(stage_of(name).sections)
    assert set(stage_of(name).sections) <= set(Config.model_fields) - {"runtime"}


@pytest.mark.parametrize("name", STAGES)
def test_dvc_yaml_lists_the_files_that_the_stage_declares(name: str) -> None:
    stage, node = stage_of(name), GRAPH[name]
    reads = {dep for dep in node["deps"] if dep.split("/")[0] == "data"}
    assert reads == {str(path) for path in stage.inputs.values()}
    entries = [*node.get("outs", []), *node.get("metrics", [])]
    writes = {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}
    results = {f"results/{result}" for result in stage.results}
    if results:
        results.add(f"results/{name}.manifest.json")
    assert writes == {str(path) for path in stage.outputs.values()} | results


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_stage_commands_are_constant(name: str) -> None:
    assert GRAPH[name]["cmd"] == f"python -m stages.{name}"
    assert GRAPH[name].get("desc")


def placeholders(experiment: str) -> list[str]:
    """What a user must give by overrides, for the experiments that leave it open."""
    given = {
        "local": ["models.base.path=a", "models.it.path=b", "hook_point.layer=3"],
        "smollm2": ["models.base.path=a"],
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
