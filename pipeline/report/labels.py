"""What the page calls groups of tokens, models and verdicts."""

from typing import Final

GROUP_NAMES = {
    "all": "all tokens",
    "pile": "text",
    "chat": "chat",
    "other": "not template",
    "template": "template",
}
MODEL_NAMES: Final = (("base", "base"), ("it", "IT"))
VERDICT_NAMES = {
    "base_only": "base-only",
    "shared": "shared",
    "it_only": "IT-only",
    "undecided": "undecided",
}
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
