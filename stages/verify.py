"""Read a store, or rows dealt to buckets, whole and check every byte against what was written.

    python -m stages.verify data/activations.zarr [more stores]

exit status 0: every chunk is there and as it was written; 2: the error names the first that is not
costs   one read of the store
"""

import argparse
import sys
import time
from pathlib import Path

from pipeline.artifacts import MANIFEST
from pipeline.bulk import resolve
from pipeline.errors import MissingArtifactError, PipelineError
from pipeline.shuffle.buckets import are_buckets, verify_buckets
from pipeline.store import verify_store

N_THREADS = 2


def main(paths: list[Path]) -> None:
    for path in paths:
        began = time.monotonic()
        folder = resolve(path)
        dealt = are_buckets(folder)
        checked = verify_buckets(path) if dealt else verify_store(path, n_threads=N_THREADS)
        if not (folder / MANIFEST).exists():
            raise MissingArtifactError(
                f"{folder / MANIFEST} not found, though every piece of the store is as it was "
                f"written: restore it with `dvc checkout`, or remove {path} and run `dvc repro`"
            )
        where = "" if folder == path else f" ({folder.resolve()})"
        pieces = "buckets" if dealt else "chunks"
        print(
            f"{path}{where}: {checked.n_rows:,} rows, {checked.n_chunks:,} {pieces}, "
            f"{checked.n_bytes:,} bytes are as they were written "
            f"({time.monotonic() - began:.1f} s)"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    try:
        main(parser.parse_args().paths)
    except PipelineError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
