"""Find the folder of a hub or local model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.config.models import HubModel, LocalModel
from pipeline.errors import ModelError
from pipeline.models.adapter import read_adapter
from pipeline.models.configuration import ADAPTER_PATTERNS, read_config
from pipeline.models.records import FILE_PATTERNS, AdapterRecord, ModelRecord
from pipeline.paths import located


def folder_of(models_dir: Path, record: ModelRecord | AdapterRecord) -> Path:
    """The folder to load a recorded model or adapter from; one of the hub may be fetched again."""
    if record.kind == "here":
        return models_dir / record.location
    patterns = FILE_PATTERNS if isinstance(record, ModelRecord) else ADAPTER_PATTERNS
    if record.kind == "hub":
        spec = HubModel(kind="hub", repo=record.location, revision=record.revision)
        return locate_hub(spec, patterns)
    return located(record.location)


def locate_adapter(spec: HubModel | LocalModel) -> Path:
    """The folder of an adapter. ModelError where it is none that can be merged."""
    folder = (
        located(spec.path) if isinstance(spec, LocalModel) else locate_hub(spec, ADAPTER_PATTERNS)
    )
    read_adapter(folder)
    return folder


def locate_local(spec: LocalModel) -> Path:
    """The folder of a local model. ModelError where it is not a model folder."""
    folder = located(spec.path)
    read_config(folder)
    return folder


def locate_hub(spec: HubModel, patterns: Sequence[str] = FILE_PATTERNS) -> Path:
    """The local snapshot of a hub model, downloaded if it is not in the cache yet: of its files,
    those of `patterns`.

    The folder is named after the commit. ModelError, with the remedy, for a gated, unknown or
    unreachable repository.
    """
    from huggingface_hub import errors, snapshot_download

    what = f"{spec.repo} at revision {spec.revision}"
    try:
        return Path(
            snapshot_download(spec.repo, revision=spec.revision, allow_patterns=list(patterns))
        )
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{what} is gated: accept its licence at https://huggingface.co/{spec.repo}, then run "
            "`hf auth login` (or set HF_TOKEN) with an account that has access"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(
            f"{spec.repo} has no revision {spec.revision!r}: name a branch, tag or commit of it"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"{spec.repo} was not found on the Hugging Face hub: check the name, or run "
            "`hf auth login` if it is private"
        ) from error
    except Exception as error:  # the hub's transports raise many types
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk, not the network
        raise ModelError(
            f"{what} is not in the local cache and the Hugging Face hub cannot be reached "
            f"({type(error).__name__}): connect to the network, or download the folder elsewhere "
            "and use kind: local with its path"
        ) from error
