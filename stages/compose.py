"""Resolve `conf/` for the experiment that `params.yaml` names.

    python -m stages.compose

reads   params.yaml (experiment, overrides), conf/
writes  composed.yaml: every value of this run, checked; the only configuration later stages read.
        One that was edited is refused, as its changes would be lost and yet be recorded
cost    a second
"""

import sys

from pipeline import artifacts
from pipeline.config import COMPOSED, compose
from pipeline.config.compose import check_unedited, composed_text, params_overrides
from pipeline.errors import PipelineError


def main() -> None:
    check_unedited()
    config = compose(sys.argv[1:] or params_overrides())
    artifacts.write_bytes(COMPOSED, composed_text(config))


if __name__ == "__main__":
    try:
        main()
    except PipelineError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
