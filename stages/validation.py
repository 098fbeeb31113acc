"""The whole validation: planted truth for every variant and several seeds, null pairs, agreement.

    python -m stages.validation                      # conf/validation/default.yaml
    python -m stages.validation validation=short          # its small version, in minutes

reads   nothing: every experiment is run here
writes  data/validation/NAME/: one workspace per experiment; results/validation.json (see its
        `about`), .csv, .png and .svg
cost    under an hour on two cores; finished workspaces are not run again, a killed one goes on.
        No stage of the graph: nothing depends on it
"""

from pipeline import artifacts
from pipeline.command import command, tell
from pipeline.config import Config, compose
from pipeline.config.overrides import chosen_experiments
from pipeline.errors import ConfigError
from pipeline.stage import RESULTS, Stage

STAGE = Stage(name="validation", sections=("validation",))
DEFAULT = "+experiment=planted"


def main(config: Config) -> None:
    from pipeline.analysis.charts import FILE_PALETTE, image_files
    from pipeline.columns import csv_bytes
    from pipeline.validation.charts import validation_figure
    from pipeline.validation.run import validate
    from pipeline.validation.scores import aim_line, validation_table

    validation = validate(config)
    table = validation_table(validation)
    files = {
        "validation.json": artifacts.canonical_json(validation, indent=2),
        "validation.csv": csv_bytes(table),
        **image_files("validation", validation_figure(table, FILE_PALETTE)),
    }
    for name, content in files.items():
        artifacts.write_bytes(RESULTS / name, content)
    tell(f"validation: wrote {', '.join(str(RESULTS / name) for name in files)}\n")
    print(*map(aim_line, validation["targets"]), sep="\n")


def configuration(overrides: list[str]) -> Config:
    """That of the validation, which chooses its experiments itself; ConfigError for another one."""
    if chosen := chosen_experiments(overrides):
        raise ConfigError(
            f"experiment: found {' '.join(chosen)}, expected none, as the validation runs those "
            "that conf/validation/ names: leave it out, or take validation=short, its small version"
        )
    return compose([DEFAULT, *overrides])


def started(typed: list[str]) -> None:
    main(configuration(typed))


if __name__ == "__main__":
    command("validation", started, sections=STAGE.sections, resumes=True)
