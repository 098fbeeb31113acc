"""Crosscoders on the Hugging Face Hub, in its conventions."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.crosscoder.files import load, save
from pipeline.crosscoder.model import Crosscoder
from pipeline.errors import MissingArtifactError

FILES = ("config.json", "*.safetensors", "cfg.json", "cc_weights.pt")


def fetch(repo: str, *, revision: str | None = None, subfolder: str | None = None) -> Path:
    """Local folder of a repository's crosscoder, downloaded or from the cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    prefix = f"{subfolder}/" if subfolder else ""
    patterns = [prefix + name for name in FILES]
    try:
        root = snapshot_download(repo, revision=revision, allow_patterns=patterns)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise MissingArtifactError(
            f"the crosscoder {repo} (revision {revision or 'default'}) cannot be fetched "
            f"({error}): check its name and your access, or download it and name the folder"
        ) from error
    return Path(root) / (subfolder or "")


def from_pretrained(
    name: str | Path, *, revision: str | None = None, subfolder: str | None = None
) -> Crosscoder:
    """The crosscoder in a local folder or in the Hub repository `name`, in any known layout."""
    if Path(name).is_dir():
        return load(Path(name) / (subfolder or ""))
    return load(fetch(str(name), revision=revision, subfolder=subfolder))


def push_to_hub(
    crosscoder: Crosscoder, repo: str, *, provenance: Mapping[str, Any], private: bool = True
) -> str:
    """Upload to the repository `repo`, made where it does not exist; the commit's address."""
    from huggingface_hub import HfApi

    hub = HfApi()
    hub.create_repo(repo, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        save(crosscoder, Path(folder), provenance=provenance)
        commit = hub.upload_folder(repo_id=repo, folder_path=folder)
    return str(commit)
