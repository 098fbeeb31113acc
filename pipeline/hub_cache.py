"""Repositories of the Hugging Face Hub that are on this machine, and how to get those that are not.
Nothing here uses the network."""

from pathlib import Path

GATED = ("google/gemma", "meta-llama/")
"""How the names of repositories begin whose terms have to be accepted first."""


def in_hub_cache(repo: str, revision: str | None) -> Path | None:
    """A repository in the local hub cache; None where nothing of it has been downloaded, as of one
    whose name the hub does not allow."""
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except (errors.LocalEntryNotFoundError, errors.HFValidationError):
        return None


def how_to_get(repo: str, revision: str | None) -> str:
    """That a repository is not here, and the command that downloads it."""
    from huggingface_hub import get_token

    is_closed = repo.startswith(GATED) and not get_token()
    gate = "it is gated, accept its terms on its page and `hf auth login`; " if is_closed else ""
    which = f"{repo} --revision {revision}" if revision else repo
    return f"{repo} is not in the local hub cache: {gate}`hf download {which}`"
