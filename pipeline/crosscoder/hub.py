"""Crosscoders on the Hugging Face Hub, in its conventions."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.crosscoder import layouts
from pipeline.crosscoder.layouts import Layout
from pipeline.crosscoder.layouts.source import NAMES
from pipeline.crosscoder.weights import Weights
from pipeline.errors import MissingArtifactError, PipelineError

FILES = ("config.json", "cfg.json", "*_cfg.json", *NAMES, "[0-9]*.pt")
"""What is downloaded of a repository: the files that a reader of `layouts` looks for."""

CARD = "README.md"


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


def push(weights: Weights, repo: str, *, layout: Layout, private: bool, commit_message: str) -> str:
    """Upload weights, configuration and a model card in one commit to the repository `repo`, made
    where it does not exist; the commit's address. PipelineError where the Hub refuses."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub = HfApi()
    with tempfile.TemporaryDirectory() as folder:
        layouts.write(weights, Path(folder), layout)
        (Path(folder) / CARD).write_text(model_card(weights, repo, layout))
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


def model_card(weights: Weights, repo: str, layout: Layout) -> str:
    """The repository's page: what the weights are, what made them, how well they fit at the end of
    training, and what to feed them."""
    n_models, d_model, n_latents = weights.shape
    provenance = weights.provenance
    models = provenance.get("models", {})
    named = [
        f"- {name}: `{spec.get('repo') or spec.get('path') or spec.get('kind')}`"
        for name, spec in models.items()
        if name in {"base", "it"}
    ]
    if "layer" in provenance.get("hook_point", {}):
        named.append(f"- hook point: `hidden_states[{provenance['hook_point']['layer']}]`")
    return "\n".join(
        [
            "---",
            "library_name: crosscoder-pipeline",
            "tags: [crosscoder, model-diffing, sparse-autoencoder, interpretability]",
            "---",
            "",
            f"A `{weights.kind}` crosscoder over {n_models} models: "
            f"{n_latents:,} latents, d_model {d_model:,}.",
            "",
            *named,
            "",
            *_table("Recipe", {**provenance.get("crosscoder", {}), **provenance.get("train", {})}),
            *_table("Last batch of training", provenance.get("training", {}).get("last", {})),
            "## Use",
            "",
            _input(weights),
            "",
            "```python",
            "from pipeline.crosscoder import Crosscoder",
            "",
            f'crosscoder = Crosscoder.from_pretrained("{repo}")',
            "f = crosscoder.latents(x_raw)  # raw activations [row, model, d_model]",
            "```",
            "",
            f"The files are in the layout `{layout}`.",
            "",
        ]
    )


def _table(title: str, values: Mapping[str, Any]) -> list[str]:
    """A section of one table, or nothing where there is nothing to tell."""
    if not values:
        return []
    rows = [f"| `{name}` | {value} |" for name, value in values.items()]
    return [f"## {title}", "", "| | |", "|---|---|", *rows, ""]


def _input(weights: Weights) -> str:
    """What to feed the tensors, for who reads them without this library."""
    if weights.activation_scale is None:
        return "The tensors take normalised activations; the factors are not known."
    factors = weights.activation_scale.tolist()
    if all(factor == 1 for factor in factors):
        return "The tensors take raw activations: the normalisation is folded into them."
    return (
        f"The tensors take the raw activations of model m times its factor, {factors}. To fold the "
        "factors in: `crosscoder.folded()`."
    )
