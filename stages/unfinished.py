"""List the work that stopped runs left and stores that wait for their layer; remove on demand.

    python -m stages.unfinished                 # list
    python -m stages.unfinished remove          # remove all that is unfinished
    python -m stages.unfinished remove data/.work/crosscoder-0123456789abcdef

reads   data/.work, the same below data/frontier/ and data/validation/, and .work of the bulk that
        data/.bulk links to
writes  nothing; `remove` deletes, but never what a running stage is at. Work is resumed by the
        configuration that began it, so remove what you will not go on with. What is finished, the
        rows of hook_point.layers for another hook_point.layer, is removed by its path alone
cost    a look at the files' sizes
"""

import shutil
from pathlib import Path

from pipeline.artifacts import WORK_DIR, Unfinished, lock_beside, unfinished
from pipeline.bulk import LINK
from pipeline.command import command
from pipeline.errors import ConfigError

DATA = Path("data")


def main(typed: list[str]) -> None:
    """What the command line asks for."""
    found = unfinished(roots())
    if not typed:
        tell(found)
    elif typed[0] == "remove":
        remove(chosen(found, typed[1:]))
    else:
        raise ConfigError(f"found {typed[0]!r}, expected `remove` or nothing: mend it")


def roots() -> list[Path]:
    """The folders in which stages work, of this work tree and of its bulk, each once."""
    bulk = (DATA / LINK).resolve() / WORK_DIR
    own = [DATA / WORK_DIR, *sorted(DATA.glob(f"*/*/data/{WORK_DIR}"))]
    return [*own, *([bulk] if bulk not in [root.resolve() for root in own] else [])]


def chosen(found: list[Unfinished], names: list[str]) -> list[Unfinished]:
    """The work of these paths, all that is unfinished where none is named. ConfigError for any
    other path."""
    known = {str(work.path): work for work in found}
    for name in names:
        if name.rstrip("/") not in known:
            raise ConfigError(
                f"{name} is no unfinished work, expected some of {', '.join(known) or 'none'}: "
                "`python -m stages.unfinished` lists it"
            )
    unfinished = [work for work in found if not work.is_finished]
    return [known[name.rstrip("/")] for name in names] if names else unfinished


def tell(found: list[Unfinished]) -> None:
    for work in found:
        state = "  (in work)" if work.is_busy else "  (finished)" if work.is_finished else ""
        print(f"{work.path}  {work.n_bytes / 1e9:,.3f} GB{state}")
    n = sum(not work.is_finished for work in found)
    print(f"{n} unfinished: `python -m stages.unfinished remove [PATH ...]` removes")


def remove(found: list[Unfinished]) -> None:
    for work in found:
        if work.is_busy:
            print(f"{work.path}  kept: a stage is at it")
            continue
        shutil.rmtree(work.path)
        lock_beside(work.path).unlink(missing_ok=True)
        print(f"{work.path}  removed, {work.n_bytes / 1e9:,.3f} GB freed")


if __name__ == "__main__":
    command("unfinished", main)
