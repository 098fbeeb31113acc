"""The prompts of the configuration, as tokens behind the start token."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.opening import Opened
from pipeline.errors import ConfigError
from pipeline.models.template import read_template
from pipeline.stage import MODELS
from pipeline.text.template import Document, Dropped, render_text, up_to_reply
from pipeline.text.tokens import encode_documents

Ids = NDArray[np.int64]


def read_prompts(opened: Opened) -> list[Document]:
    """Questions in the mix's template, and beginnings as they stand."""
    section = opened.config.steering
    template = read_template(MODELS).template(opened.tokenizer)
    found: list[Document | Dropped] = [up_to_reply(q, template) for q in section.questions]
    found += [render_text(0, text, "steering.beginnings") for text in section.beginnings]
    keys = [f"steering.questions[{n}]" for n in range(len(section.questions))]
    keys += [f"steering.beginnings[{n}]" for n in range(len(section.beginnings))]
    return [_given(document, key) for document, key in zip(found, keys, strict=True)]


def _given(document: Document | Dropped, key: str) -> Document:
    if isinstance(document, Document):
        return document
    raise ConfigError(f"{key} is empty, or the template cannot write it: give it some other text")


def encode_prompts(opened: Opened, documents: Sequence[Document]) -> list[Ids]:
    """[S] tokens of each."""
    start = [] if opened.start_id is None else [opened.start_id]
    return [
        np.concatenate([start, encoded.token_ids]).astype(np.int64)
        for encoded in encode_documents(opened.tokenizer, documents)
    ]
