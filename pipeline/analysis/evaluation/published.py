"""Published numbers for Gemma-2-2B and its IT version, to set beside ours.

They were measured on other text, and for other dictionaries than ours unless the experiment is the
Gemma one: a reference, not a target.
"""

from typing import Any

from pipeline.analysis.evaluation.result import PublishedRun

PAIR = ("google/gemma-2-2b", "google/gemma-2-2b-it")

REFERENCE_L1: PublishedRun = {
    "name": "Kissane et al. 2024, L1",
    "source": "Open Source Replication of Anthropic's Crosscoder paper for model-diffing",
    "n_latents": 16_384,
    "l0": 81.0,
    "explained_variance_per_token": 0.77,
    "it_only": 225,
    "base_only": 60,
}
MINDER_L1: PublishedRun = {
    "name": "Minder et al. 2025, L1",
    "source": "arXiv 2504.02922",
    "n_latents": 73_728,
    "fve": 0.846,
    "it_only": 3_176,
    "base_only": 1_437,
}
MINDER_BATCH_TOPK: PublishedRun = {
    "name": "Minder et al. 2025, BatchTopK",
    "source": "arXiv 2504.02922",
    "n_latents": 73_728,
    "l0": 100.0,
    "fve": 0.876,
    "it_only": 134,
    "base_only": 5,
}
PUBLISHED = (REFERENCE_L1, MINDER_L1, MINDER_BATCH_TOPK)


def is_published_pair(models: dict[str, Any]) -> bool:
    """Whether the section `models` names the pair the published numbers belong to."""
    return (models["base"].get("repo"), models["it"].get("repo")) == PAIR
