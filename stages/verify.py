"""Read a store, or rows dealt to buckets, whole and check every byte against what was written.

    python -m stages.verify data/activations.zarr [more stores or artifacts]

exit status 0: every file is there and as it was written; 2: the error names the first that is not
reads   the stores that are named; of another artifact, such as data/models, every file
writes  nothing; prints a line for each
cost    one read of the store
"""

import time
from pathlib import Path

from pipeline.artifacts import MANIFEST, check_files, read_manifest
from pipeline.bulk import POINTER, resolve
from pipeline.command import command
from pipeline.errors import ConfigError, MissingArtifactError, SourceError
from pipeline.paths import expanded
from pipeline.shuffle.buckets import are_buckets, verify_buckets
from pipeline.store import verify_store
from pipeline.store.journal import JOURNAL
from pipeline.store.seal import MAKE_AGAIN, SEAL, TABLE

OF_STORES = (SEAL, TABLE, JOURNAL, POINTER)
"""Files that no other program writes: a folder with `zarr.json` alone may be anybody's."""


def main(typed: list[str]) -> None:
    if not typed:
        raise ConfigError("no path given: name stores or artifacts, such as data/tokens.zarr")
    for path in map(expanded, typed):
        began = time.monotonic()
        told = check(path)
        print(f"{path}{told} ({time.monotonic() - began:.1f} s)")


def check(path: Path) -> str:
    """What was found in order; a PipelineError where something is not."""
    if is_store(path):
        return check_store(path)
    if (path / MANIFEST).is_file():
        manifest = read_manifest(path)
        check_files(path, manifest)
        return f": {len(manifest.files):,} files of {manifest.artifact} are as they were written"
    if not path.exists():
        raise MissingArtifactError(f"{path} not found: name a store, such as data/tokens.zarr")
    what = f"a folder without {SEAL} and {MANIFEST}" if path.is_dir() else "a file"
    raise SourceError(
        f"{path} is {what}, expected a store or an artifact, such as data/tokens.zarr: name one"
    )


def is_store(path: Path) -> bool:
    """Whether a store, whole or damaged, or dealt rows lie at `path`."""
    return any((path / name).exists() for name in OF_STORES) or are_buckets(path)


def check_store(path: Path) -> str:
    folder = resolve(path)
    dealt = are_buckets(folder)
    checked = verify_buckets(path) if dealt else verify_store(path)
    if not (folder / MANIFEST).exists():
        raise MissingArtifactError(
            f"{folder / MANIFEST} not found, though every piece of the store is as it was "
            f"written: remove {path} and run `{MAKE_AGAIN}` and the stage that writes it"
        )
    where = "" if folder == path else f" ({folder.resolve()})"
    pieces = "buckets" if dealt else "chunks"
    return (
        f"{where}: {checked.n_rows:,} rows, {checked.n_chunks:,} {pieces}, "
        f"{checked.n_bytes:,} bytes are as they were written"
    )


if __name__ == "__main__":
    command("verify", main)
