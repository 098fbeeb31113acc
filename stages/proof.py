"""The whole proof: planted truth for every variant and several seeds, null pairs, agreement.

    python -m stages.proof                      # conf/proof/default.yaml
    python -m stages.proof proof=short          # its small version, in minutes

reads   nothing: every experiment is run here
writes  data/proof/NAME/: one workspace per experiment; results/proof.json (see its `about`), .csv,
        .png and .svg
cost    under an hour on two cores; finished workspaces are not run again, a killed one goes on.
        No stage of the graph: nothing depends on it
"""

from pipeline import artifacts
from pipeline.command import command, tell
from pipeline.config import Config, compose
from pipeline.config.overrides import chosen_experiments
from pipeline.errors import ConfigError
from pipeline.stage import RESULTS, Stage

STAGE = Stage(name="proof", sections=("proof",))
DEFAULT = "+experiment=planted"


def main(config: Config) -> None:
    from pipeline.analysis.charts.look import FILE_PALETTE, image_files
    from pipeline.columns import csv_bytes
    from pipeline.proving.charts import proof_figure
    from pipeline.proving.proof import proof_table
    from pipeline.proving.prove import prove

    proof = prove(config)
    table = proof_table(proof)
    files = {
        "proof.json": artifacts.canonical_json(proof, indent=2),
        "proof.csv": csv_bytes(table),
        **image_files("proof", proof_figure(table, FILE_PALETTE)),
    }
    for name, content in files.items():
        artifacts.write_bytes(RESULTS / name, content)
    tell(f"proof: wrote {', '.join(str(RESULTS / name) for name in files)}\n")
    for row in proof["targets"]:
        reached = "nothing" if row["reached"] is None else f"{row['reached']:.3g}"
        print(f"{'met ' if row['met'] else 'MISS'} {row['target']}: {reached} (aim {row['aim']:g})")


def configuration(overrides: list[str]) -> Config:
    """That of the proof, which chooses its experiments itself; ConfigError for another one."""
    if chosen := chosen_experiments(overrides):
        raise ConfigError(
            f"experiment: found {' '.join(chosen)}, expected none, as the proof runs those that "
            "conf/proof/ names: leave it out, or take proof=short for its small version"
        )
    return compose([DEFAULT, *overrides])


def started(typed: list[str]) -> None:
    main(configuration(typed))


if __name__ == "__main__":
    command("proof", started, sections=STAGE.sections, resumes=True)
