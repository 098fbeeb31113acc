"""The labels that stores keep as small integers, in the order of their codes. Sources have the
names that the configuration gives them; a store tells which (`StoreLayout.sources`)."""

MODELS = ("base", "it")

TOKEN_CLASSES = ("other", "template")
OTHER, TEMPLATE = range(len(TOKEN_CLASSES))

SPLITS = ("train", "heldout")
TRAIN, HELDOUT = range(len(SPLITS))
