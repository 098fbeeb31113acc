"""Crosscoders on the Hugging Face Hub, in its conventions."""

import tempfile
from pathlib import Path

from pipeline.crosscoder import layouts
from pipeline.crosscoder.card import CARD, model_card
from pipeline.crosscoder.layouts import Layout
from pipeline.crosscoder.layouts.source import NAMES
from pipeline.crosscoder.weights import Weights
from pipeline.errors import MissingArtifactError, PipelineError

FILES = ("config.json", "cfg.json", "*_cfg.json", *NAMES, "[0-9]*.pt")
"""What is downloaded of a repository: the files that a reader of `layouts` looks for."""


def fetch(repo: str, *, revision: str | None = None, subfolder: str | None = None) -> Path:
    """Local folder of a repository's crosscoder, downloaded or from the cache."""
    if Path(repo).expanduser().is_absolute() or repo.count("/") > 1:
        raise MissingArtifactError(
            f"no crosscoder at {repo}: there is no such folder or file, and a repository is named "
            "OWNER/NAME; correct the path"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    prefix = f"{subfolder}/" if subfolder else ""
    patterns = [prefix + name for name in FILES]
    try:
        root = snapshot_download(repo, revision=revision, allow_patterns=patterns)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise MissingArtifactError(
            f"the crosscoder {repo} (revision {revision or 'default'}) cannot be fetched "
            f"({error}): check its name and your access, or download it and name the folder"
        ) from error
    return Path(root) / (subfolder or "")


def write(
    weights: Weights, folder: Path, *, repo: str, layout: Layout, results: Path | str | None
) -> None:
    """Write to a local folder what `push` uploads: weights, configuration and a model card."""
    card = model_card(weights, repo, layout, results)
    layouts.write(weights, folder, layout)
    (folder / CARD).write_text(card, encoding="utf-8")


def push(
    weights: Weights,
    repo: str,
    *,
    layout: Layout,
    results: Path | str | None,
    private: bool,
    commit_message: str,
) -> str:
    """Upload weights, configuration and a model card in one commit to the repository `repo`, made
    where it does not exist; the commit's address. PipelineError where the Hub refuses."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub = HfApi()
    with tempfile.TemporaryDirectory() as folder:
        write(weights, Path(folder), repo=repo, layout=layout, results=results)
        try:
            hub.create_repo(repo, private=private, exist_ok=True)
            commit = hub.upload_folder(
                repo_id=repo, folder_path=folder, commit_message=commit_message
            )
        except (HfHubHTTPError, OSError) as error:
            raise PipelineError(
                f"the crosscoder cannot be uploaded to {repo} ({error}): log in with "
                "`hf auth login` using a token that may write there, and check the name"
            ) from error
    return str(commit)
