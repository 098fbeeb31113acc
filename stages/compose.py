"""Resolve `conf/` for the experiment that `params.yaml` names.

    python -m stages.compose

reads   params.yaml (experiment, overrides), conf/
writes  composed.yaml: every value of this run, checked; the only configuration later stages read
costs   a second
"""

import sys

from omegaconf import OmegaConf

from pipeline import artifacts
from pipeline.config import COMPOSED, compose
from pipeline.config.compose import params_overrides
from pipeline.errors import PipelineError

HEADER = "# Written by `dvc repro` from params.yaml and conf/. Edit those, not this file.\n"


def main() -> None:
    config = compose(sys.argv[1:] or params_overrides())
    text = OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json")))
    artifacts.write_bytes(COMPOSED, (HEADER + text).encode())


if __name__ == "__main__":
    try:
        main()
    except PipelineError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
