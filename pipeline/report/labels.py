"""What the page calls groups of tokens, models and verdicts."""

from collections.abc import Iterable
from typing import Final

MODEL_NAMES: Final = (("base", "base"), ("it", "IT"))
VERDICT_NAMES = {
    "it_only": "IT-only",
    "base_only": "base-only",
    "moved": "moved",
    "turned": "turned",
    "stronger": "stronger",
    "weaker": "weaker",
    "shared": "shared",
    "undecided": "undecided",
}
VERDICT_COLOURS = {
    "it_only": "it",
    "base_only": "base",
    **dict.fromkeys(("moved", "turned", "stronger", "weaker"), "changed"),
    "shared": "shared",
    "undecided": "other",
}
"""Verdict -> class of the page's style that colours it."""
ALL_VERDICT_NAMES = VERDICT_NAMES | {"dead": "dead", "between": "between"}
"""Also what only the norms say."""
KIND_NAMES = {
    "new": "new",
    "lost": "lost",
    "moved": "moved",
    "turned": "turned",
    "stronger": "stronger",
    "weaker": "weaker",
    "mean_shift": "shift of the mean",
    "scale_shift": "change of scale",
    "undecided": "of undecided kind",
}
"""Kinds of change."""
NORM_BIN_NAMES = {
    "base_only": "base-only (r < 1/6)",
    "shared": "shared (0.3 < r < 0.7)",
    "between": "between",
    "it_only": "IT-only (r > 5/6)",
}
ARTEFACT_NAMES = {
    "complete_shrinkage": "Complete Shrinkage",
    "latent_decoupling": "Latent Decoupling",
    "both": "Complete Shrinkage and Latent Decoupling",
}


def group_names(sources: Iterable[str]) -> dict[str, str]:
    """What the page calls the groups of tokens of a mix of these sources."""
    of_sources = {source: source for source in sources}
    return {"all": "all tokens", **of_sources, "other": "not template", "template": "template"}
