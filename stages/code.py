"""Write, for every stage, the digests of the project files that it imports.

    python -m stages.code

reads   pipeline/, stages/
writes  data/code/<stage>.json: project file -> sha256 of its syntax tree, comments and docstrings
        left out; assets as they are. The stage depends on this file
costs   a second
"""

from pathlib import Path

from pipeline import artifacts
from pipeline.command import command
from pipeline.imports import Project

CODE = Path("data/code")


def main(typed: list[str]) -> None:  # noqa: ARG001
    project = Project(Path())
    for file in sorted(Path("stages").glob("[a-z]*.py")):
        digests = project.digests(f"stages.{file.stem}")
        artifacts.write_json(CODE / f"{file.stem}.json", digests)


if __name__ == "__main__":
    command("code", main)
