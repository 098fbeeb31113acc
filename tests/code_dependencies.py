"""Which project files a stage loads, and `make deps`, which writes them into dvc.yaml.

DVC looks at no imports, so the deps of a stage list them; a folder stands for all Python below it.
"""

import ast
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CODE = ("pipeline", "stages")


def module_file(dotted: str) -> Path | None:
    """The file of a project module, or None where the name is no module of the project."""
    path = ROOT / dotted.replace(".", "/")
    if (path / "__init__.py").exists():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").exists() else None


def imported_modules(file: Path) -> set[str]:
    """Dotted project names that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in CODE}


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
    """The Python files that deps stand for."""
    files: set[Path] = set()
    for dep in deps:
        path = ROOT / dep
        if dep.split("/")[0] in CODE and (path.is_dir() or path.suffix == ".py"):
            files |= set(path.rglob("*.py")) if path.is_dir() else {path}
    return files


def compact(files: set[Path]) -> list[str]:
    """The shortest deps for `files`: a folder where all of its Python files are among them."""
    chosen = set(files)
    folders = {folder for file in files for folder in file.parents if ROOT in folder.parents}
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        if set(folder.rglob("*.py")) <= files and folder.name not in CODE:
            chosen = {path for path in chosen if folder not in path.parents} | {folder}
    return sorted(str(path.relative_to(ROOT)) for path in chosen)


def write() -> None:
    """Rewrite the code part of every stage's deps in dvc.yaml, keeping data, conf and comments."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedSeq

    yaml = YAML()
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    graph: Any = yaml.load(ROOT / "dvc.yaml")
    for name, stage in graph["stages"].items():
        others = [
            dep
            for dep in stage["deps"]
            if dep.split("/")[0] not in CODE or ((ROOT / dep).is_file() and not dep.endswith(".py"))
        ]
        deps = CommentedSeq([*others, *compact(project_files_of(f"stages.{name}"))])
        deps.fa.set_flow_style()
        stage["deps"] = deps
    text = StringIO()
    yaml.dump(graph, text)
    tidy = "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())
    (ROOT / "dvc.yaml").write_text(tidy)


if __name__ == "__main__":
    write()
