"""The labels that stores keep as small integers, in the order of their codes. Sources have the
names that the configuration gives them; a store tells which (`StoreLayout.sources`)."""

MODELS = ("base", "it")

TOKEN_CLASSES = ("other", "template")
OTHER, TEMPLATE = range(len(TOKEN_CLASSES))

SPLITS = ("train", "heldout")
TRAIN, HELDOUT = range(len(SPLITS))

FIRST_POSITIONS = range(1, 9)
"""Positions of sequences at which rows that are left out are counted each for itself: attention
sinks stand early."""

OUTLIERS = "outliers"
"""Fact of manifests: beyond which norm rows are left out; absent where none is. The store of rows
says it, and hands it on to what is made from them."""
