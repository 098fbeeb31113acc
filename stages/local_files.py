"""Record what the local files are that the configuration names: text, models, a crosscoder.

    python -m stages.local_files

reads   composed.yaml, and each named file whose size or time has changed since the last look
writes  data/local_files/: a file for models, sources, crosscoder, explain: path -> bytes, sha256
cost    a fraction of a second, and about a second per GB to be read; DVC runs it every time. Where
        a finished crosscoder is named, some seconds more: whether it fits the pair shows here, and
        no stage before `train` depends on the section `crosscoder`
"""

from pathlib import Path

import yaml

from pipeline.artifacts import write_json
from pipeline.command import command
from pipeline.errors import MissingArtifactError
from pipeline.local_files import SECTIONS, digests

# `pipeline.config` knows this file too, but takes half a second to load, which every run would pay.
COMPOSED = Path("composed.yaml")
LOCAL_FILES = Path("data/local_files")


def main(typed: list[str]) -> None:  # noqa: ARG001
    if not COMPOSED.exists():
        raise MissingArtifactError(f"{COMPOSED} not found: run `dvc repro compose`")
    config = yaml.load(COMPOSED.read_text(), Loader=yaml.CSafeLoader)
    if config["crosscoder"].get("kind") == "pretrained":
        from pipeline.config import load_config
        from pipeline.training.finished import check_finished

        check_finished(load_config([]))
    for section in SECTIONS:
        write_json(LOCAL_FILES / f"{section}.json", digests(config[section]))


if __name__ == "__main__":
    command("local_files", main)
