"""Crosscoders on the Hugging Face Hub, in its conventions."""

import tempfile
from pathlib import Path

from pipeline.crosscoder.files import load, save
from pipeline.crosscoder.model import Crosscoder
from pipeline.errors import MissingArtifactError, PipelineError

FILES = ("config.json", "*.safetensors", "cfg.json", "cc_weights.pt")
CARD = "README.md"


def fetch(repo: str, *, revision: str | None = None, subfolder: str | None = None) -> Path:
    """Local folder of a repository's crosscoder, downloaded or from the cache."""
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


def from_pretrained(
    name: str | Path, *, revision: str | None = None, subfolder: str | None = None
) -> Crosscoder:
    """The crosscoder in a local folder or in the Hub repository `name`, in any known layout."""
    if Path(name).is_dir():
        return load(Path(name) / (subfolder or ""))
    return load(fetch(str(name), revision=revision, subfolder=subfolder))


def push_to_hub(
    crosscoder: Crosscoder,
    repo: str,
    *,
    private: bool = True,
    commit_message: str = "Upload crosscoder",
) -> str:
    """Upload weights, configuration and a model card in one commit to the repository `repo`, made
    where it does not exist; the commit's address. PipelineError where the Hub refuses."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub = HfApi()
    try:
        hub.create_repo(repo, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            save(crosscoder, Path(folder))
            (Path(folder) / CARD).write_text(model_card(crosscoder, repo))
            commit = hub.upload_folder(
                repo_id=repo, folder_path=folder, commit_message=commit_message
            )
    except (HfHubHTTPError, OSError) as error:
        raise PipelineError(
            f"the crosscoder cannot be uploaded to {repo} ({error}): log in with `hf auth login` "
            "using a token that may write there, and check the name"
        ) from error
    return str(commit)


def model_card(crosscoder: Crosscoder, repo: str) -> str:
    """The repository's page: what the weights are and how to read them."""
    models = crosscoder.provenance.get("models", {})
    named = [
        f"- {name}: `{spec.get('repo') or spec.get('path') or spec.get('kind')}`"
        for name, spec in models.items()
        if name in {"base", "it"}
    ]
    return "\n".join(
        [
            "---",
            "library_name: crosscoder-pipeline",
            "tags: [crosscoder, model-diffing, sparse-autoencoder, interpretability]",
            "---",
            "",
            f"A `{crosscoder.kind}` crosscoder over {crosscoder.n_models} models: "
            f"{crosscoder.n_latents:,} latents, d_model {crosscoder.d_model:,}.",
            "",
            *named,
            "",
            "`config.json` says what made it, `weights.safetensors` holds weights, normalisation "
            "factors and inference thresholds.",
            "",
            "```python",
            "from pipeline.crosscoder import Crosscoder",
            "",
            f'crosscoder = Crosscoder.from_pretrained("{repo}")',
            "f = crosscoder.latents(x_raw)  # raw activations [row, model, d_model]",
            "```",
            "",
        ]
    )
