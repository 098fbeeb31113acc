"""Crosscoders: the module itself, its files, and how each variant is trained.

    weights.py      `Weights`: a crosscoder as plain data, checked
    layouts/        reads and writes `Weights`: this project's folder, two public ones
    card.py         the model card: recipe, figures of a run, what to feed the weights
    hub.py          fetches and uploads such folders
    model.py        `Crosscoder`: encodes and decodes; load, save, from_pretrained, push_to_hub,
                    save_for_hub
    initialise.py   a crosscoder at the start of training
    variant.py      `Variant`: what the trainer asks of each kind (`Loss`, `Step`, `Moment`)
    l1.py  dsf.py  jumprelu.py  batch_topk.py  auxk.py    the variants: equations, loss, gradient
    products.py     the matrix products of a step
    entries.py      the values they take part in, dense or at the active pairs, and which is faster
    gathered.py     products at the active pairs, by PyTorch or by `kernels.py` (Triton) on a card
    selection.py    which entries lie above a bound, and the bound that keeps k per row

Arrows run upwards in this list only: a model knows its files, files know no model.
"""

from pipeline.crosscoder.layouts import Layout
from pipeline.crosscoder.model import Crosscoder

__all__ = ["Crosscoder", "Layout"]
