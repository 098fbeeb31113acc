"""Hold the list of changes, and rival methods, to account on many pairs with known edits.

    python -m stages.edit_study
    python -m stages.edit_study edit_study.seeds=[1001,1002]

reads   nothing: every experiment is run here
writes  data/validation/edits_*/: one workspace for the base model and one for every pair;
        results/edit_study.json (see its `about`) and .csv
cost    90 seconds of processor time per pair, about three minutes for the null pairs, and the base.
        Finished workspaces are not run again. No stage of the graph: nothing depends on it
"""

from typing import TYPE_CHECKING

from pipeline import artifacts
from pipeline.command import command, tell
from pipeline.config import Config, compose
from pipeline.config.overrides import chosen_experiments
from pipeline.errors import ConfigError
from pipeline.stage import RESULTS, Stage

if TYPE_CHECKING:
    from pipeline.validation.edit_scores import EditStudy

STAGE = Stage(
    name="edit_study", sections=("edit_study",), memory_keys=("edit_study.n_null_sequences",)
)


def main(config: Config) -> None:
    from pipeline.analysis.bootstrap import Bootstrap
    from pipeline.columns import csv_bytes
    from pipeline.progress import Progress
    from pipeline.validation.edit_scores import (
        ABOUT,
        CHOSEN,
        EditStudy,
        aims,
        by_strength,
        controls,
        method_scores,
        method_table,
    )
    from pipeline.validation.edit_study import null_pairs, scored

    study = config.edit_study
    with Progress("edit_study", total=len(study.seeds), unit="pairs") as progress:
        pairs = scored(study, progress.advance)
    nulls = null_pairs(config)
    methods = method_scores(pairs, Bootstrap.of(study, len(pairs), "edit_study"))
    max_false = config.changes.max_false_discovery_rate
    found: EditStudy = {
        "about": ABOUT,
        "confidence": study.confidence,
        "seeds": study.seeds,
        "methods": methods,
        "strengths": by_strength(pairs),
        "controls": controls(pairs, study.confidence),
        "nulls": nulls,
        "targets": aims(methods[CHOSEN], nulls, max_false, study.max_null_rate),
    }
    artifacts.write_bytes(RESULTS / "edit_study.json", artifacts.canonical_json(found, indent=2))
    artifacts.write_bytes(RESULTS / "edit_study.csv", csv_bytes(method_table(methods)))
    tell(f"edit_study: wrote {RESULTS / 'edit_study.json'}, {RESULTS / 'edit_study.csv'}\n")
    show(found)


def show(found: "EditStudy") -> None:
    """The table of methods, the strengths and the aims, on the terminal."""
    from pipeline.validation.edit_scores import RATES
    from pipeline.validation.scores import aim_line

    print("method", *RATES, "cosine", sep="\t")
    for method, scores in found["methods"].items():
        cells = [
            "-" if rate["value"] is None else f"{rate['value']:.3f} ({rate['count']}/{rate['of']})"
            for rate in scores["rates"].values()
        ]
        cosine = scores["cosine"]
        print(method, *cells, "-" if cosine is None else f"{cosine[1]:.2f}", sep="\t")
    for row in found["strengths"]:
        print(
            f"{row['form']} {row['strength']:g}: named {row['named_of_wanted']} of "
            f"{row['wanted']} wanted, {row['named']} of {row['made']} made; median share "
            f"{row['median_share']:.2%}"
        )
    control = found["controls"]
    print(f"controls listed: {control['count']} of {control['of']}, below {control['high']:.3f}")
    print(*map(aim_line, found["targets"]), sep="\n")


def configuration(overrides: list[str]) -> Config:
    """That of the study, which chooses its experiments itself; ConfigError for another one."""
    if chosen := chosen_experiments(overrides):
        raise ConfigError(
            f"experiment: found {' '.join(chosen)}, expected none, as the study runs those that "
            "edit_study.base and edit_study.overrides name: set these"
        )
    return compose(["+experiment=edited", *overrides])


def started(typed: list[str]) -> None:
    main(configuration(typed))


if __name__ == "__main__":
    command("edit_study", started, sections=STAGE.sections, resumes=True)
