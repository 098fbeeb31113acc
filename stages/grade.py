"""Hold a list of findings, whoever wrote it, against what is known of the experiment's pair.

    python -m stages.grade results/findings.json                      # composed.yaml's experiment
    python -m stages.grade mine.json +experiment=edited > grade.json
    python -m stages.grade mine.json +experiment=organism

reads   the named file, in the form of docs/findings.md. On a pair with known edits also
        data/models, data/tokens.zarr, data/heldout_activations.zarr, and data/changes where a
        finding names a change of it by its number
writes  nothing: the grade goes to the standard output as JSON, and in words to the terminal
cost    on a pair with known edits that of stages.edits; else none. No stage of the graph
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.command import command, tell
from pipeline.config import Config, load_config
from pipeline.errors import ConfigError
from pipeline.paths import expanded
from pipeline.stage import CHANGES, Stage, clear_memory_errors, paths_of, use_runtime

if TYPE_CHECKING:
    from pipeline.claims import Claim
    from pipeline.validation.grade import Grade

STAGE = Stage(
    name="grade",
    sections=("changes", "hook_point"),
    inputs=paths_of("models", "tokens", "heldout_activations"),
    memory_keys=("changes.batch_rows",),
)


def main(typed: list[str]) -> None:
    from pipeline.claims import read_claims
    from pipeline.validation.grade import in_words

    path, overrides = target(typed)
    claims = read_claims(path)
    config = load_config(overrides)
    use_runtime(config)
    with clear_memory_errors(STAGE):
        grade = graded(claims["changes"], config)
    tell("".join(f"{line}\n" for line in in_words(grade)))
    print(json.dumps(grade, indent=2))


def target(typed: list[str]) -> tuple[Path, list[str]]:
    """The file that was named, and the overrides after it."""
    if not typed or "=" in typed[0]:
        raise ConfigError(
            "no file of findings given: name one first, such as results/findings.json"
        )
    return expanded(typed[0]), typed[1:]


def graded(changes: "list[Claim]", config: Config) -> "Grade":
    """The grade by what is known of the pair; torch is loaded for known edits alone."""
    from pipeline.config.text import TriggeredSourceConfig
    from pipeline.validation.grade import grade_behaviour, grade_nothing, truth_of

    match truth_of(config):
        case "nothing":
            return grade_nothing(changes)
        case "behaviour":
            planted = config.sources[config.planted_source or ""]
            assert isinstance(planted, TriggeredSourceConfig)
            return grade_behaviour(changes, planted)
        case "edits":
            from pipeline.analysis.opening import Opened
            from pipeline.validation.grade_edits import grade_edits

            uses_own = any("change" in claim for claim in changes)
            own = {"changes": CHANGES} if uses_own else {}
            return grade_edits(
                changes, Opened(replace(STAGE, inputs={**STAGE.inputs, **own}), config)
            )


if __name__ == "__main__":
    command("grade", main, sections=STAGE.sections)
