"""Artifacts: directories that are finished last, with a manifest that says what made them.

A stage works in `<parent>/.work/<name>-<fingerprint>/`, beside the declared output, so that DVC,
which removes the outputs of a stage before it runs, leaves unfinished work alone. The fingerprint
covers the configuration, the input manifests and the format version: a rerun with the same
fingerprint resumes, another one starts afresh. `publish` writes the manifest last and renames.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline import bulk
from pipeline.errors import (
    ArtifactError,
    BusyError,
    MissingArtifactError,
    NoSpaceError,
    PipelineError,
)
from pipeline.interruption import Interrupted
from pipeline.signed import check_signed, signed

STORE = ".zarr"
"""Ending of a store, which keeps account of its own files."""
MANIFEST = "manifest.json"
WORK_DIR = ".work"
CHUNK_DIR = "c"  # Zarr v3 keeps chunks under <array>/c/; the store's own chunk table covers them.
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
BAD_PATHS = {
    errno.ENAMETOOLONG: "shorten the path",
    errno.ELOOP: "a link leads in a circle: mend it",
    errno.EIO: "the disk, or the way to it, is damaged: keep the data elsewhere",
}
"""What the operating system says of a path, and the remedy."""
PACKAGES = ("torch", "transformers", "zarr", "numpy")


@dataclass(frozen=True)
class Manifest:
    """What an artifact is and what made it. Holds nothing that differs between equal runs.

    artifact: name, such as `shuffled`; format_version: of its files
    fingerprint: sha256 over (config, inputs, format_version, artifact)
    config: the sections that made it; lineage: these and all sections of its inputs' lineages
    inputs: name -> sha256 of the input's manifest, or over the local files read
    counts: rows, tokens, dropped by reason
    facts: what consumers need to know, such as `d_model`; files: path -> bytes and sha256
    """

    artifact: str
    format_version: int
    fingerprint: str
    config: dict[str, Any]
    lineage: dict[str, Any]
    inputs: dict[str, str]
    counts: dict[str, int]
    facts: dict[str, Any]
    files: dict[str, dict[str, Any]]
    packages: dict[str, str]

    def to_json(self) -> bytes:
        return canonical_json(signed(asdict(self)), indent=2)


def canonical_json(value: Any, indent: int | None = None) -> bytes:
    """The one JSON text of `value`: sorted keys, fixed separators, final newline."""
    return (json.dumps(value, sort_keys=True, indent=indent, allow_nan=False) + "\n").encode()


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(path: Path, made_by: str | None = None) -> Manifest:
    """The manifest of the artifact at `path`, a directory or a manifest file itself.

    Raises MissingArtifactError where there is none and ArtifactError where it cannot be read.
    """
    file = path if path.suffix == ".json" else path / MANIFEST
    remedy = f"run `dvc repro {made_by}`" if made_by else "run `dvc repro`"
    try:
        return Manifest(**check_signed(json.loads(file.read_text())))
    except FileNotFoundError as error:
        raise MissingArtifactError(
            f"{file} not found: {path} is missing or unfinished: {remedy}"
        ) from error
    except (ValueError, TypeError) as error:
        raise ArtifactError(
            f"{file} is not a manifest this version can read ({error}): {remedy}"
        ) from error


def manifest_digest(path: Path) -> str:
    """sha256 of the manifest file of the artifact at `path`."""
    return sha256_file(path if path.suffix == ".json" else path / MANIFEST)


def check_whole(path: Path, manifest: Manifest, made_by: str) -> None:
    """Raise ArtifactError where a file that the manifest lists is gone or has another size. Only a
    folder can be asked so: of results, whoever reads some need not have them all."""
    for name, record in manifest.files.items():
        found = (path / name).stat().st_size if (path / name).is_file() else None
        if found != record["bytes"]:
            what = "not found" if found is None else f"of {found:,} bytes"
            raise ArtifactError(
                f"{path / name} is {what}, expected the {record['bytes']:,} bytes that its "
                f"manifest tells: remove {path} and run `dvc repro --force --single-item {made_by}`"
            )


def check_files(path: Path, manifest: Manifest) -> None:
    """Raise ArtifactError unless every file that the manifest lists has its recorded bytes."""
    for name, record in manifest.files.items():
        file = path / name
        found = sha256_file(file) if file.is_file() else "no such file"
        if found != record["sha256"]:
            raise ArtifactError(
                f"{file} is damaged: its sha256 should be {record['sha256']}, found {found}: "
                f"remove {path} and run `dvc repro --force --single-item` and the stage that "
                "writes it"
            )


@contextmanager
def clear_space_errors(path: Path) -> Iterator[None]:
    """Turn a full disk into NoSpaceError with the folder, the space left and the remedy, and what
    else the operating system refuses into ArtifactError."""
    try:
        yield
    except OSError as error:
        told = None if isinstance(error, PipelineError) else in_words(error, path)
        if told is None:
            raise
        raise told from error


def in_words(error: OSError, path: Path) -> PipelineError | None:
    """What the operating system refused, with the remedy; None for what a user cannot mend."""
    place = error.filename or path
    if error.errno in FULL:
        free = shutil.disk_usage(existing_parent(path)).free
        return NoSpaceError(
            f"no space left on the disk that holds {path} ({free:,} bytes free): "
            "free some space (`python -m stages.unfinished` lists what stopped runs left) and run "
            "the same command again; the finished part is kept"
        )
    if error.errno == errno.EFBIG:
        return NoSpaceError(
            f"a file below {path} reached the largest size that this user or this disk allows: "
            "raise the limit (`ulimit -f` shows it) or use another disk, and run the same command "
            "again; the finished part is kept"
        )
    if error.errno in REFUSED:
        return ArtifactError(
            f"{place}: {error.strerror}: give this user the right to read and write there, or run "
            "in a folder where it has it"
        )
    if error.errno in BAD_PATHS:
        return ArtifactError(f"{place}: {error.strerror}: {BAD_PATHS[error.errno]}")
    if error.filename is None:
        return None
    if isinstance(error, FileExistsError | NotADirectoryError):
        return ArtifactError(
            f"{no_folder(error)} is a file or a broken link, expected a folder: move it away"
        )
    if isinstance(error, IsADirectoryError):
        return ArtifactError(f"{place} is a folder, expected a file: move it away")
    return None


def no_folder(error: OSError) -> Path:
    """What stands in the way of a path, or of the new name of a file: the path itself, or a part of
    it. A renaming is told under both names."""
    named = [Path(str(name)) for name in (error.filename2, error.filename) if name]
    parts = [part for path in named for part in (*reversed(path.parents), path)]
    in_the_way = (part for part in parts if not part.is_dir() and os.path.lexists(part))
    return next(in_the_way, named[-1])


def existing_parent(path: Path) -> Path:
    """The nearest folder at or above `path` that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: under a temporary name, flushed to disk, renamed."""
    with clear_space_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(path)
        temporary.unlink(missing_ok=True)  # perhaps a link; it is not to be written through
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(path.parent)


def temporary_name(path: Path) -> Path:
    """Where a file is written before it gets its name."""
    return path.with_name(f".{path.name}.tmp")


def write_json(path: Path, value: Any) -> None:
    """Write canonical, indented JSON atomically. NaN and infinity are refused (ValueError)."""
    write_bytes(path, canonical_json(value, indent=2))


def sync(path: Path) -> None:
    """Make the bytes of a file, or the names in a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lineage_of(inputs: Iterable[Path]) -> dict[str, Any]:
    """The sections that made these artifacts."""
    lineage: dict[str, Any] = {}
    for path in inputs:
        lineage |= read_manifest(path).lineage
    return lineage


def fingerprint_of(
    artifact: str, format_version: int, config: Mapping[str, Any], inputs: Mapping[str, str]
) -> str:
    """sha256 of everything that decides an artifact's bytes, code apart."""
    return hashlib.sha256(
        canonical_json([artifact, format_version, dict(config), dict(inputs)])
    ).hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; BusyError where another process holds it. Freed at any death.

    A link in its place is refused: writing through it would empty the file that it names.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR):
            raise
        found = "a link" if path.is_symlink() else "a folder"
        raise ArtifactError(f"{path} is {found}, expected a lock file: remove it") from error
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise BusyError(
                f"{path} is held by process {file.read().strip() or 'unknown'}, which is building "
                "the same artifact: wait for it to end, or stop it, and run again"
            ) from error
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


@dataclass(frozen=True)
class Build:
    """One artifact in the making. `work` is where to build, and what a killed run left there.

    bulk: where the artifact itself goes if `output` is to hold no more than a pointer to it
    is_aside: it is made for a configuration that is not in force and will find it: it stays where
    it was built, or goes to the bulk, and `output` is left as it is
    """

    output: Path
    work: Path
    bulk: Path | None
    manifest: Manifest  # without counts, facts and files, which `publish` adds
    is_aside: bool = False

    @property
    def complete(self) -> bool:
        """Whether the output is already there, whole, made under the same fingerprint."""
        if self.is_aside:
            return self._is_at(self.bulk or self.work)
        try:
            bulk.resolve(self.output)
        except ArtifactError:
            return False
        return self._is_at(self.output)

    def _is_at(self, place: Path) -> bool:
        try:
            manifest = read_manifest(place)
            if self.output.suffix != STORE:
                check_whole(place, manifest, manifest.artifact)
        except ArtifactError:
            return False
        return manifest.fingerprint == self.manifest.fingerprint

    def publish(self, *, counts: Mapping[str, int], facts: Mapping[str, Any]) -> Manifest:
        """Write the manifest last, make everything durable and rename the work into place."""
        # A run killed while it wrote the manifest left a file that the rename below takes away.
        temporary_name(self.work / MANIFEST).unlink(missing_ok=True)
        manifest = replace(
            self.manifest, counts=dict(counts), facts=dict(facts), files=hash_files(self.work)
        )
        let_read(
            temporary_name(self.work / MANIFEST), [self.work / name for name in manifest.files]
        )
        for name in manifest.files:
            sync(self.work / name)
        write_bytes(self.work / MANIFEST, manifest.to_json())
        for folder in [p for p in self.work.rglob("*") if p.is_dir()]:
            sync(folder)
        if not self.is_aside:
            _swap_in(self.work, self.bulk or self.output)
            self.point()
        elif self.bulk is not None:
            _swap_in(self.work, self.bulk)
        return manifest

    def put_in_place(self) -> None:
        """Where this artifact was finished aside, let it be the output."""
        if self.bulk is None and self._is_at(self.work):
            _swap_in(self.work, self.output)

    def take_back(self) -> None:
        """Where the output is this artifact, set it aside, before another takes its place."""
        if self.bulk is None and not self.complete and self._is_at(self.output):
            _swap_in(self.output, self.work)

    def point(self) -> None:
        """Where the artifact lies in the bulk, let the output be a pointer to it."""
        if self.bulk is None or not (self.bulk / MANIFEST).exists():
            return
        pointer = self.output.parent / WORK_DIR / f"{self.output.name}-pointer"
        shutil.rmtree(pointer, ignore_errors=True)
        pointer.mkdir(parents=True)
        write_json(pointer / bulk.POINTER, {"bulk": self.bulk.name})
        write_bytes(pointer / MANIFEST, (self.bulk / MANIFEST).read_bytes())
        _swap_in(pointer, self.output)


def let_read(plain: Path, files: Iterable[Path]) -> None:
    """Let those read these files who may read a new one, for which `plain` is made and removed:
    safetensors gives its files to their owner alone."""
    plain.touch()
    mode = plain.stat().st_mode
    plain.unlink()
    for file in files:
        own = file.stat().st_mode
        if mode & ~own:
            file.chmod(own | mode)


def _swap_in(work: Path, place: Path) -> None:
    """Rename a finished folder to its place; what was there before goes."""
    retired = work.with_name(f"{place.name}.retired")
    shutil.rmtree(retired, ignore_errors=True)
    if place.exists():
        place.rename(retired)
    work.rename(place)
    sync(place.parent)
    shutil.rmtree(retired, ignore_errors=True)


def hash_files(root: Path) -> dict[str, dict[str, Any]]:
    """Bytes and sha256 of every file below `root`, chunk payloads and the manifest left out."""
    return {
        str(file.relative_to(root)): {"bytes": file.stat().st_size, "sha256": sha256_file(file)}
        for file in sorted(root.rglob("*"))
        if file.is_file()
        and CHUNK_DIR not in file.relative_to(root).parts[:-1]
        and file != root / MANIFEST
    }


def describe_bytes(data: bytes) -> dict[str, Any]:
    """Bytes and sha256 of a file's contents."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def packages() -> dict[str, str]:
    """Versions of the packages that decide numbers and bytes."""
    return {name: version(name) for name in PACKAGES}


def new_manifest(
    artifact: str,
    format_version: int,
    config: Mapping[str, Any],
    inputs: Mapping[str, Path],
    local_files: Mapping[str, str],
) -> Manifest:
    """The manifest of what is made of these inputs, as yet without counts, facts and files."""
    digests = {name: manifest_digest(path) for name, path in inputs.items()} | dict(local_files)
    return Manifest(
        artifact=artifact,
        format_version=format_version,
        fingerprint=fingerprint_of(artifact, format_version, config, digests),
        config=dict(config),
        lineage=lineage_of(inputs.values()) | dict(config),
        inputs=digests,
        counts={},
        facts={},
        files={},
        packages=packages(),
    )


@contextmanager
def build(
    output: Path,
    *,
    artifact: str,
    format_version: int,
    config: Mapping[str, Any],
    inputs: Mapping[str, Path],
    local_files: Mapping[str, str] = MappingProxyType({}),
    bulk_dir: Path | None = None,
    is_aside: bool = False,
) -> Iterator[Build]:
    """Lock `output`, find or make its work directory, and hand out the Build.

    local_files: digests of what was read besides, which count as inputs do
    bulk_dir: build and keep the artifact there, under its fingerprint, and let `output` point to it
    is_aside: see Build; the lock of `output` is then the caller's already
    Work of the same artifact under another fingerprint stays, for the configuration that began it;
    `unfinished` finds it. Raises BusyError where another process builds the same artifact, in this
    folder or, under the same fingerprint, in the bulk.
    """
    manifest = new_manifest(artifact, format_version, config, inputs, local_files)
    root = (bulk_dir or output.parent) / WORK_DIR
    key = f"{output.name}-{manifest.fingerprint[:16]}"
    with ExitStack() as held:
        held.enter_context(clear_space_errors(root))
        if not is_aside:
            held.enter_context(locked(output.parent / WORK_DIR / f"{output.name}.lock"))
        held.enter_context(locked(lock_beside(root / key)))
        (root / key).mkdir(exist_ok=True)
        place = bulk_dir / key if bulk_dir else None
        made = Build(output, root / key, place, manifest, is_aside)
        if bulk_dir:
            bulk.use_bulk_dir(output.parent, bulk_dir)
            if not is_aside and not made.complete:
                made.point()
        try:
            yield made
        except Interrupted as stopped:
            if any(file.is_file() for file in made.work.rglob("*")):
                stopped.kept.append(made.work)
            raise


@dataclass(frozen=True)
class Unfinished:
    """Work that a killed or stopped run left: where, how much of it, whether a run is at it.

    is_finished: it is whole and waits for the configuration that it was made for
    """

    path: Path
    n_bytes: int
    is_busy: bool
    is_finished: bool


def unfinished(roots: Iterable[Path]) -> list[Unfinished]:
    """All unfinished work below these `.work` folders; empty folders are not told."""
    found = [folder for root in roots for folder in sorted(root.glob("*-*")) if folder.is_dir()]
    sizes = {folder: sum(f.stat().st_size for f in _files(folder)) for folder in found}
    return [
        Unfinished(folder, n_bytes, is_held(lock_beside(folder)), (folder / MANIFEST).exists())
        for folder, n_bytes in sizes.items()
        if n_bytes
    ]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def lock_beside(work: Path) -> Path:
    """The lock file of a work directory."""
    return work.with_name(f".{work.name}.lock")


def is_held(lock: Path) -> bool:
    """Whether a process holds the lock file; a missing one is free."""
    if not lock.exists():
        return False
    try:
        with locked(lock):
            return False
    except BusyError:
        return True
