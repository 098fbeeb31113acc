"""Mistakes in what is started, where, and on what: stages, paths, files and rights."""

from pathlib import Path

from tests.mistakes.table import TINY, Mistake


def refused(stage: str, name: str, typed: tuple[str, ...], *words: str) -> Mistake:
    return Mistake(name, words, typed=typed, stage=stage)


def lock_as_a_link(folder: Path) -> None:
    (folder / "data/.work").mkdir(parents=True)
    (folder / "precious").write_text("mine")
    (folder / "data/.work/models.lock").symlink_to(folder / "precious")


def artifact_as_a_link(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data/models").symlink_to("gone/away")


def altered_manifest(folder: Path) -> None:
    (folder / "data/models").mkdir(parents=True)
    (folder / "data/models/manifest.json").write_text('{"artifact": "models"}')


MISTAKES = [
    refused("train", "train before shuffle", (TINY,), "data/shuffled.zarr", "dvc repro shuffle"),
    refused("mix", "mix before models", (TINY,), "data/models", "dvc repro models"),
    refused("dump", "dump before models", (TINY,), "data/models", "dvc repro models"),
    refused("shuffle", "shuffle before dump", (TINY,), "data/activations.zarr", "dvc repro dump"),
    refused("evaluate", "evaluate before models", (TINY,), "not found", "dvc repro"),
    refused("frontier", "frontier before models", (TINY,), "not found", "dvc repro"),
    refused("chain", "a chain of nothing", (), "no stage given", "name some"),
    refused("chain", "a stage twice", ("mix,mix", TINY), "mix 2 times", "once", "leave the others"),
    refused("chain", "a chain of no stage", ("trian", TINY), "'trian'", "expected some of", "mend"),
    refused(
        "explain",
        "explanations by an endpoint that is not named",
        (TINY, "explain/writer=endpoint"),
        "EXPLAIN_BASE_URL is not set",
        "EXPLAIN_API_KEY",
    ),
    refused("verify", "verify of nothing", (), "no path given", "data/tokens.zarr"),
    refused(
        "verify", "verify of a missing path", ("nowhere",), "nowhere not found", "name a store"
    ),
    refused("verify", "verify of a name in two lines", ("a\nb",), "a\\nb not found"),
    refused("verify", "verify of a name that steers", ("\x1b[2Jx",), "\\x1b[2Jx not found"),
    refused("verify", "verify of a folder", ("conf",), "conf is a folder", "expected a store"),
    refused("verify", "verify of a file", ("params.yaml",), "params.yaml is a file", "a store"),
    refused("unfinished", "unfinished with another word", ("delete",), "'delete'", "`remove`"),
    refused(
        "unfinished", "unfinished of no work", ("remove", "x"), "x is no unfinished", "lists it"
    ),
    refused(
        "validation", "the validation with an experiment", (TINY,), "expected none", "leave it out"
    ),
    refused("grade", "a grade of nothing", (TINY,), "no file of findings", "results/findings.json"),
    refused("grade", "a grade of a missing file", ("mine.json", TINY), "mine.json not found"),
    Mistake(
        "a grade where nothing is known of the pair",
        ("nothing is known of the pair of tiny", "+experiment=edited"),
        typed=("mine.json", TINY),
        stage="grade",
        files={"mine.json": '{"version": 1, "changes": []}'},
    ),
    Mistake(
        "findings of another form",
        ("mine.json", "changes.0.text is no field", "found 'it greets'", "leave it out"),
        typed=("mine.json", "+experiment=null_pair"),
        stage="grade",
        files={"mine.json": '{"version": 1, "changes": [{"says": "a", "text": "it greets"}]}'},
    ),
    Mistake(
        "a link in place of a lock",
        ("data/.work/models.lock is a link", "expected a lock file", "remove it"),
        typed=("+experiment=planted",),
        stage="models",
        prepare=lock_as_a_link,
    ),
    Mistake(
        "a manifest edited by hand",
        ("data/models/manifest.json", "not a manifest", "dvc repro models"),
        typed=(TINY,),
        stage="mix",
        prepare=altered_manifest,
    ),
    Mistake(
        "a file in place of an artifact",
        ("data/models is a file", "expected a folder", "move it away"),
        typed=("+experiment=planted",),
        stage="models",
        files={"data/models": "mine"},
    ),
    Mistake(
        "a link that leads nowhere in place of an artifact",
        ("data/models is a file or a broken link", "move it away"),
        typed=("+experiment=planted",),
        stage="models",
        prepare=artifact_as_a_link,
    ),
    Mistake(
        "a file in place of the data folder",
        ("data", "expected"),
        typed=("+experiment=planted",),
        stage="models",
        files={"data": "mine"},
    ),
]
