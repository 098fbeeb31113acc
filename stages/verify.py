"""Read a store whole and check every byte of it against what was written.

    python -m stages.verify data/activations.zarr [more stores]

exit status 0: every chunk is there and as it was written; 2: the error names the first that is not
costs   one read of the store
"""

import argparse
import sys
import time
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.store import verify_store

N_THREADS = 2


def main(paths: list[Path]) -> None:
    for path in paths:
        began = time.monotonic()
        checked = verify_store(path, n_threads=N_THREADS)
        print(
            f"{path}: {checked.n_rows:,} rows, {checked.n_chunks:,} chunks, "
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
