"""What models made here learn from and are judged on: train and held-out sequences of tokens.

Letters: N sequences, S positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from pipeline.config.edits import EditedModel
from pipeline.config.models import HeldoutConfig, TrainedModel, TrainingConfig
from pipeline.config.text import SourceConfig
from pipeline.labels import HELDOUT, TRAIN
from pipeline.runtime import numpy_generator
from pipeline.text.packing import Packing, training_sequences
from pipeline.text.sources import documents
from pipeline.text.split import Selection
from pipeline.text.template import PLAIN, Template
from pipeline.text.tokens import train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Sources = Mapping[str, SourceConfig]
Sequences = NDArray[np.int32]


def side_of_split(heldout: HeldoutConfig, split: int) -> Selection:
    """The documents of one side of the split that the mix makes too."""
    return Selection(split, heldout.fraction, heldout.seed)


def train_tokenizer_on(
    sources: Sources, spec: TrainedModel, heldout: HeldoutConfig
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on the first train documents of each named source."""
    return train_tokenizer(_tokenizer_texts(sources, spec, heldout), spec.vocab_size)


def _tokenizer_texts(sources: Sources, spec: TrainedModel, heldout: HeldoutConfig) -> Iterator[str]:
    for name in spec.tokenizer.sources:
        found = documents(sources[name], name, selection=side_of_split(heldout, TRAIN))
        for document in islice(found, spec.tokenizer.n_documents):
            yield document.text


def write_training_sequences(
    path: Path,
    tokenizer: PreTrainedTokenizerFast,
    sources: Sources,
    config: TrainingConfig,
    heldout: HeldoutConfig,
    start_id: int | None,
    template: Template = PLAIN,
) -> Sequences:
    """All train sequences [N, S] of a training, in random order, memory-mapped; kept if there.

    A source that ends early is read again from its start.
    """
    if not path.exists():
        n_sequences, length = config.n_steps * config.batch_sequences, config.sequence_length_tokens
        packing = Packing(
            length,
            "eos",
            start_id,
            side_of_split(heldout, TRAIN),
            n_sequences=n_sequences,
            repeat=True,
            template=template,
        )
        stream = training_sequences(sources, config.sources, tokenizer, packing)
        order = numpy_generator(config.seed, "models", "order").permutation(n_sequences)
        partial = path.with_suffix(".partial")
        array = open_memmap(partial, mode="w+", dtype=np.int32, shape=(n_sequences, length))
        for row, sequence in zip(order, stream, strict=False):
            array[row] = sequence
        array.flush()
        partial.rename(path)
    return np.load(path, mmap_mode="r")


def train_sequences(
    tokenizer: PreTrainedTokenizerFast,
    sources: Sources,
    spec: EditedModel,
    heldout: HeldoutConfig,
    start_id: int | None,
    template: Template = PLAIN,
) -> Sequences:
    """The first train sequences of the sources that edits are drawn on, [N, S]."""
    packing = Packing(
        spec.sequence_length_tokens,
        "eos",
        start_id,
        side_of_split(heldout, TRAIN),
        n_sequences=spec.n_sequences,
        repeat=True,
        template=template,
    )
    stream = training_sequences(sources, spec.sources, tokenizer, packing)
    return np.stack(list(islice(stream, spec.n_sequences)))


def heldout_sequences(
    tokenizer: PreTrainedTokenizerFast,
    sources: Sources,
    source: str,
    heldout: HeldoutConfig,
    start_id: int | None,
    template: Template = PLAIN,
) -> Sequences:
    """The first held-out sequences of a source, [N, S]. SourceError where it has fewer."""
    packing = Packing(
        heldout.sequence_length_tokens,
        "eos",
        start_id,
        side_of_split(heldout, HELDOUT),
        n_sequences=heldout.n_sequences,
        repeat=False,
        template=template,
    )
    stream = training_sequences(sources, {source: 1.0}, tokenizer, packing)
    return np.stack(list(islice(stream, heldout.n_sequences)))
