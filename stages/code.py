"""Write, for every stage, the digests of the project files that it imports.

    python -m stages.code

reads   pipeline/, stages/
writes  data/code/<stage>.json: project file -> sha256 of its syntax tree, comments and docstrings
        left out; assets as they are. The stage depends on this file
costs   a second
"""

import sys
from pathlib import Path

from pipeline import artifacts
from pipeline.errors import PipelineError
from pipeline.imports import Project

CODE = Path("data/code")


def main() -> None:
    project = Project(Path())
    for file in sorted(Path("stages").glob("[a-z]*.py")):
        digests = project.digests(f"stages.{file.stem}")
        artifacts.write_json(CODE / f"{file.stem}.json", digests)


if __name__ == "__main__":
    try:
        main()
    except PipelineError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
