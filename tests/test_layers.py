"""Imports go one way: stages -> parts -> foundations."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOUNDATION_IMPORTS = {
    "errors": set(),
    "imports": {"errors"},
    "labels": set(),
    "columns": set(),
    "distributed": {"errors"},
    "runtime": {"distributed", "errors"},
    "progress": {"distributed", "runtime"},
    "config": {"errors", "artifacts", "labels", "paths"},
    "signed": set(),
    "interruption": set(),
    "command": {"artifacts", "command_help", "distributed", "errors", "interruption", "progress"},
    "command_help": {"config", "errors"},
    "paths": set(),
    "hub_cache": set(),
    "bulk": {"errors"},
    "artifacts": {"errors", "bulk", "interruption", "signed"},
    "local_files": {"artifacts", "paths"},
    "results": {"errors"},
    "claims": {"errors", "results"},
    "run_records": {"artifacts", "errors", "paths", "runtime"},
    "stage": {
        "artifacts",
        "bulk",
        "command",
        "config",
        "distributed",
        "errors",
        "local_files",
        "paths",
        "progress",
        "run_records",
        "runtime",
    },
    "workspace": {"artifacts", "config", "errors", "interruption"},
    "store": {"distributed", "errors", "labels", "runtime", "bulk", "signed"},
}
FOUNDATIONS = set(FOUNDATION_IMPORTS)
PART_IMPORTS = {
    "text": set(),
    "models": {"text"},
    "harvest": {"models", "text"},
    "shuffle": set(),
    "plant": set(),
    "rounds": {"harvest", "models", "plant", "shuffle"},
    "crosscoder": set(),
    "training": {"crosscoder", "models"},
    "analysis": {"crosscoder", "models", "plant", "rounds", "text"},
    "report": {"analysis", "models", "training"},
    "planning": {"analysis", "crosscoder", "models", "shuffle", "text", "training"},
    "validation": {"analysis", "models", "text"},
}
# Within the analysis: what each question stands on besides the ground floor (the files that lie
# directly in pipeline/analysis, which stand on no question).
QUESTION_IMPORTS = {
    "decoders": set(),
    "evaluation": {"decoders"},
    "verdicts": {"decoders"},
    "causal": {"decoders"},
    "baselines": {"causal"},
    "organism": set(),
    "dashboards": {"decoders"},
    "seeds": {"verdicts"},
    "recovery": {"decoders"},
    "changes": {"causal", "verdicts"},
    "parting": {"changes"},
    "steering": {"changes", "organism"},
    "layers": {"changes", "evaluation", "verdicts"},
    "explain": {"changes"},
    "edits": {"changes", "decoders"},
}
STAGE_LINES, FUNCTION_LINES = 120, 55
HEAVY = {"torch", "transformers", "datasets", "altair", "pandas", "zarr"}


def imports_of(file: Path) -> set[str]:
    """Dotted names of all modules that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} uses a relative import: name the module in full"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part_of(name: str) -> str | None:
    """`store` for `pipeline.store.reader`."""
    pieces = name.split(".")
    return pieces[1] if pieces[0] == "pipeline" and len(pieces) > 1 else None


def project_modules() -> list[Path]:
    return sorted((ROOT / "pipeline").rglob("*.py"))


@pytest.mark.parametrize("file", project_modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_library_imports_only_downwards(file: Path) -> None:
    relative = file.relative_to(ROOT / "pipeline")
    part = relative.parts[0].removesuffix(".py")
    if part == "__init__":
        return
    allowed = (
        FOUNDATION_IMPORTS[part] if part in FOUNDATIONS else PART_IMPORTS[part] | FOUNDATIONS
    ) | {part}
    used = {found for name in imports_of(file) if (found := part_of(name))}
    assert used <= allowed, f"{relative} imports {used - allowed}"
    assert not any(name.split(".")[0] == "stages" for name in imports_of(file))


def question_of(name: str) -> str | None:
    """`causal` for `pipeline.analysis.causal.run`; None for what lies on the ground floor."""
    pieces = name.split(".")
    is_question = pieces[:2] == ["pipeline", "analysis"] and len(pieces) > 2
    return pieces[2] if is_question and (ROOT.joinpath(*pieces[:3])).is_dir() else None


@pytest.mark.parametrize(
    "file",
    sorted((ROOT / "pipeline/analysis").rglob("*.py")),
    ids=lambda p: str(p.relative_to(ROOT / "pipeline/analysis")),
)
def test_questions_of_the_analysis_import_one_way(file: Path) -> None:
    place = file.relative_to(ROOT / "pipeline/analysis").parts
    question = place[0] if len(place) > 1 else None
    allowed = QUESTION_IMPORTS[question] | {question} if question else set()
    used = {found for name in imports_of(file) if (found := question_of(name))}
    assert used <= allowed, f"{file.name} imports {used - allowed}"


def test_stages_are_thin_and_functions_short() -> None:
    """What a stage assembles is assembled in the package of its name."""
    lines = {
        file: file.read_text() for file in [*project_modules(), *(ROOT / "stages").glob("*.py")]
    }
    long = [
        f.name for f in lines if f.parent.name == "stages" and lines[f].count("\n") > STAGE_LINES
    ]
    assert not long, f"above {STAGE_LINES} lines: {long}"
    functions = [(f.name, node) for f, text in lines.items() for node in ast.walk(ast.parse(text))]
    assert not {
        f"{file}: {node.name}"
        for file, node in functions
        if isinstance(node, ast.FunctionDef)
        and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES
    }


@pytest.mark.parametrize("file", sorted((ROOT / "stages").glob("*.py")), ids=lambda p: p.name)
def test_stages_import_no_other_stage(file: Path) -> None:
    assert not {name for name in imports_of(file) if name.startswith("stages")}


LIGHT_FOUNDATIONS = ["errors", "labels", "artifacts", "distributed", "progress", "stage", "config"]
WITHOUT_TORCH = ["compose", "code", "shuffle", "relative_norm", "decoder_cosine"]


@pytest.fixture(scope="module")
def loaded_after() -> dict[str, set[str]]:
    """Module -> which of HEAVY are loaded once it is imported, in one process and in this order:
    foundations, stages, what the functions of a stage without torch import, the page's last."""
    stages = [f"stages.{file.stem}" for file in sorted((ROOT / "stages").glob("[a-z]*.py"))]
    wanted = [f"pipeline.{name}" for name in LIGHT_FOUNDATIONS] + stages
    for stage in [*WITHOUT_TORCH, "report"]:
        wanted += sorted(project_imports(ROOT / "stages" / f"{stage}.py"))
    code = "import sys, importlib\nfor name in sys.argv[1:]:\n    "
    code += f"importlib.import_module(name); print(name, *{HEAVY!r} & set(sys.modules))"
    told = subprocess.run(
        [sys.executable, "-c", code, *wanted], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = [line.split() for line in told.stdout.splitlines()]
    return {name: set(heavy) for name, *heavy in reversed(lines)}


def project_imports(file: Path) -> set[str]:
    """Modules of the library that a file imports, also inside functions."""
    places = {name: ROOT.joinpath(*name.split(".")) for name in imports_of(file)}
    return {
        name
        for name, place in places.items()
        if name.startswith("pipeline") and (place.is_dir() or place.with_suffix(".py").is_file())
    }


def test_foundations_and_stages_load_nothing_heavy_at_import(
    loaded_after: dict[str, set[str]],
) -> None:
    light = {f"pipeline.{name}" for name in LIGHT_FOUNDATIONS}
    light |= {name for name in loaded_after if name.startswith("stages.")}
    assert not {name: loaded for name in light if (loaded := loaded_after[name])}


def test_the_page_and_what_reads_tables_load_neither_torch_nor_transformers(
    loaded_after: dict[str, set[str]],
) -> None:
    assert {"pipeline.report.page", "pipeline.analysis.decoders.charts"} <= loaded_after.keys()
    model_libraries = {"torch", "transformers", "datasets"}
    assert not {
        name: found for name, all_ in loaded_after.items() if (found := all_ & model_libraries)
    }


def test_no_module_imports_itself_by_a_detour() -> None:
    """Also inside functions. A package's own `__init__` is left out: it lists what lies in it."""
    files = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts): file
        for file in project_modules()
        if file.name != "__init__.py"
    }
    below = {name: imports_of(file) & files.keys() for name, file in files.items()}
    while leaves := [name for name, used in below.items() if not used & below.keys()]:
        for name in leaves:
            del below[name]
    assert not below, f"these import each other in a circle, or stand on one: {sorted(below)}"
