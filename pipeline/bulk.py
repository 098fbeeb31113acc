"""Stores whose bulk lies outside of what DVC hashes and caches.

`runtime.bulk_dir` names a folder for them. A store is then `<bulk_dir>/<name>-<fingerprint>/`,
whole and readable as ever, and its place under `data/` holds two small files that DVC tracks:

`manifest.json`   of the store
`bulk.json`       the name of its folder in the bulk; no path, so that it is the same on any machine

`data/.bulk` is a link to the bulk folder of this machine, and `resolve` the one way through it.
"""

import json
import os
import shutil
from pathlib import Path

from pipeline.errors import DamagedStoreError, MissingArtifactError

POINTER = "bulk.json"
LINK = ".bulk"
DROPPED_SUFFIX = ".dropped"


def resolve(path: Path) -> Path:
    """The folder that holds the chunks of the store at `path`: itself, or where its pointer leads.

    Raises MissingArtifactError where the bulk is not there, DamagedStoreError where it is another
    store's.
    """
    if not (path / POINTER).exists():
        return path
    folder = link_beside(path) / read_pointer(path)
    manifest = folder / "manifest.json"
    if not manifest.exists():
        raise MissingArtifactError(_missing(path, folder))
    if manifest.read_bytes() != (path / "manifest.json").read_bytes():
        raise DamagedStoreError(
            f"{folder} has another manifest than {path}: one of them was altered; remove "
            f"{folder.resolve()} and {path}, and run `dvc repro --force` for the stage of {path}"
        )
    return folder


def read_pointer(path: Path) -> str:
    """The name that the pointer at `path` holds."""
    file = path / POINTER
    try:
        name = json.loads(file.read_bytes())["bulk"]
        if not is_folder_name(name):
            raise ValueError(f"found {name!r}, expected the name of one folder")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedStoreError(
            f"{file} is not a pointer to a bulk ({error!r}): restore it with `dvc checkout`, or "
            f"remove {path} and run `dvc repro`"
        ) from error
    return name


def is_folder_name(name: object) -> bool:
    """Whether `name` leads to a folder beside others and nowhere else: `..` does not."""
    if not isinstance(name, str) or name == ".." or "\0" in name:
        return False
    return Path(name).parts == (name,)


def link_beside(path: Path) -> Path:
    """The link to the bulk beside an artifact; beside what it links to, where it is a link."""
    return path.resolve().parent / LINK


def use_bulk_dir(data: Path, bulk_dir: Path) -> None:
    """Make the folder and point `data/.bulk` to it."""
    bulk_dir.mkdir(parents=True, exist_ok=True)
    link, target = data / LINK, bulk_dir.resolve()
    if link.is_symlink() and link.resolve() == target:
        return
    temporary = data / f"{LINK}.tmp"
    temporary.unlink(missing_ok=True)
    os.symlink(target, temporary)  # noqa: PTH211
    os.replace(temporary, link)  # noqa: PTH105


def drop(path: Path) -> int:
    """Remove the bulk of the store at `path` for good; the pointer stays. Returns bytes freed.

    Nothing happens where the store is not in the bulk, or was dropped before.
    """
    if not (path / POINTER).exists():
        return 0
    folder = link_beside(path).resolve() / read_pointer(path)
    dropped = folder.with_name(folder.name + DROPPED_SUFFIX)
    if folder.exists():
        shutil.rmtree(dropped, ignore_errors=True)
        folder.rename(dropped)
    return _empty(dropped) if dropped.exists() else 0


def _empty(folder: Path) -> int:
    """Remove all that is in a folder; the folder stays and tells that a store was here."""
    n_bytes = 0
    for root, folders, files in os.walk(folder, topdown=False):
        for name in files:
            file = Path(root, name)
            n_bytes += file.stat().st_size
            file.unlink()
        for name in folders:
            Path(root, name).rmdir()
    return n_bytes


def _missing(path: Path, folder: Path) -> str:
    if folder.with_name(folder.name + DROPPED_SUFFIX).exists():
        return (
            f"the rows of {path} were dropped after they had been shuffled "
            "(runtime.drop_unshuffled): to shuffle them in another way, compute them again with "
            "`dvc repro --force --single-item dump`, then run `dvc repro`"
        )
    where = link_beside(path).resolve()
    if not link_beside(path).is_symlink():
        return (
            f"the bulk of {path} is not known in this checkout: run the stage that writes or reads "
            f"it, which sets the link {link_beside(path)} to runtime.bulk_dir, or set it to the "
            f"folder that holds {folder.name}"
        )
    return (
        f"the bulk of {path} is not in {where}: bring {folder.name} back there; or point the link "
        f"{link_beside(path)} to the folder that holds it; or make it again: `dvc repro --force "
        "--single-item` and the stage that writes it"
    )
