"""The labels that stores keep as small integers, in the order of their codes."""

MODELS = ("base", "it")

SOURCES = ("pile", "chat")
PILE, CHAT = range(len(SOURCES))

TOKEN_CLASSES = ("other", "template")
OTHER, TEMPLATE = range(len(TOKEN_CLASSES))

SPLITS = ("train", "heldout")
TRAIN, HELDOUT = range(len(SPLITS))
