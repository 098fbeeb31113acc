"""The mix: packed sequences of its sources in turn by their shares, written to the token store.

The store's folder also keeps `streams.json`: how far each source has been packed, and the counts.
While the store grows it holds an entry per chunk that may not be on disk yet, so that a killed run
goes on from the last chunk that is; in the finished store it holds the last entry.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import write_json
from pipeline.config.text import MixConfig, SourceConfig, form_of
from pipeline.errors import SourceError
from pipeline.labels import HELDOUT, SPLITS, TRAIN
from pipeline.store.layout import token_layout
from pipeline.store.writer import StoreWriter
from pipeline.text.packing import PackedSequence, Packing, SequenceStream
from pipeline.text.sources import describe
from pipeline.text.split import Selection
from pipeline.text.template import PLAIN, Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STREAMS = "streams.json"
Entry = dict[str, Any]


class Mix:
    """Both splits of the mix as one row of sequences: train first, then held-out, from any row.

    Each split reads the sources from their beginning and leaves out the other split's documents,
    so neither is ever held back in memory.
    """

    def __init__(
        self,
        mix: MixConfig,
        sources: Mapping[str, SourceConfig],
        tokenizer: "PreTrainedTokenizerBase",
        start_id: int | None,
        entry: Entry | None = None,
        template: Template = PLAIN,
    ) -> None:
        self.mix = mix
        self.codes = {name: code for code, name in enumerate(sources)}
        self.n_sequences = {TRAIN: mix.n_train_sequences, HELDOUT: mix.n_heldout_sequences}
        self.row = entry["row"] if entry else 0
        self.streams = {
            split: SequenceStream(
                sources,
                {name: mix.shares[name] for name in sources},
                tokenizer,
                Packing(
                    sequence_length_tokens=mix.sequence_length_tokens,
                    separator=mix.separator,
                    start_id=start_id,
                    selection=Selection(split, mix.heldout_fraction, mix.seed),
                    n_sequences=n_sequences,
                    repeat=False,
                    template=template,
                    stretch_tokens=mix.heldout_document_tokens if split == HELDOUT else None,
                ),
                entry["streams"][SPLITS[split]] if entry else None,
            )
            for split, n_sequences in self.n_sequences.items()
        }

    @property
    def n_rows(self) -> int:
        """Sequences of both splits together."""
        return sum(self.n_sequences.values())

    def chunks(self) -> Iterator[dict[str, np.ndarray]]:
        """The sequences from `row` on, as arrays of the token store, up to each chunk's end."""
        step = self.mix.rows_per_chunk
        while self.row < self.n_rows:
            stop = min(self.row // step * step + step, self.n_rows)
            n_train = self.n_sequences[TRAIN]
            splits = [TRAIN if row < n_train else HELDOUT for row in range(self.row, stop)]
            sequences = [next(self.streams[split]) for split in splits]
            self.row = stop
            yield self._arrays(sequences, splits)

    def entry(self) -> Entry:
        """Where the mix stands, as plain data for JSON."""
        states = {SPLITS[split]: stream.state() for split, stream in self.streams.items()}
        return {"row": self.row, "streams": states}

    def counts(self) -> dict[str, int]:
        """Counts of the manifest: sequences, tokens, documents, and what was dropped, by split and
        source. n_train_tokens and n_heldout_tokens leave out position 0."""
        counts: dict[str, int] = {}
        for split, stream in self.streams.items():
            n = self.n_sequences[split]
            counts[f"n_{SPLITS[split]}_sequences"] = n
            counts[f"n_{SPLITS[split]}_tokens"] = n * (self.mix.sequence_length_tokens - 1)
            counts |= {f"{SPLITS[split]}_{what}": n for what, n in stream.counts().items()}
        return counts

    def _arrays(self, sequences: list[PackedSequence], splits: list[int]) -> dict[str, np.ndarray]:
        labels = np.array([self.codes[s.source] for s in sequences], np.uint8)
        shape = (len(sequences), self.mix.sequence_length_tokens)
        return {
            "token_id": np.stack([s.token_id for s in sequences]),
            "document": np.stack([s.document for s in sequences]),
            "source": np.broadcast_to(labels[:, None], shape),
            "token_class": np.stack([s.token_class for s in sequences]),
            "split": np.array(splits, np.uint8),
        }


def write_mix(
    path: Path,
    mix: MixConfig,
    sources: Mapping[str, SourceConfig],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    start_id: int | None,
    template: Template = PLAIN,
    n_threads: int,
    on_start: Callable[[Mix], Callable[[int], None]],
) -> tuple[dict[str, int], dict[str, Any]]:
    """Write the token store at `path`, or go on with it. Returns counts and facts of the manifest.

    sources: of the mix, in the order of their codes in the store

    on_start is given the Mix at the row it starts from and returns what is called with the number
    of sequences after each chunk. Raises SourceError where a source ends early or has changed.
    """
    files = {name: describe(source, name) for name, source in sources.items()}
    layout = token_layout(mix.sequence_length_tokens, mix.rows_per_chunk, sources=tuple(sources))
    with StoreWriter.open(path, layout, n_threads=n_threads) as writer:
        entries = _read_entries(path / STREAMS, files)
        row = writer.next_row
        job = Mix(mix, sources, tokenizer, start_id, entries.get(row), template)
        assert job.row == row, f"{path / STREAMS} has no entry for row {row}"
        advance = on_start(job)
        for arrays in job.chunks():
            entries = _entries_in_use(entries, writer, mix.rows_per_chunk)
            entries[job.row] = job.entry()
            _write_entries(path / STREAMS, files, entries)
            writer.append(arrays)
            advance(len(arrays["split"]))
        writer.finish()
        _write_entries(path / STREAMS, files, {job.row: job.entry()})
    forms = {name: form_of(source) for name, source in sources.items()}
    return job.counts(), {"sources": files, "forms": forms}


def _entries_in_use(
    entries: dict[int, Entry], writer: StoreWriter, rows_per_chunk: int
) -> dict[int, Entry]:
    """The entries from which a run killed now might go on."""
    n_done = 0
    while writer.chunk_done(n_done):
        n_done += 1
    return {row: entry for row, entry in entries.items() if row >= n_done * rows_per_chunk}


def _write_entries(path: Path, files: dict[str, Any], entries: dict[int, Entry]) -> None:
    write_json(path, {"sources": files, "entries": [entries[row] for row in sorted(entries)]})


def _read_entries(path: Path, files: dict[str, Any]) -> dict[int, Entry]:
    if not path.exists():
        return {}
    saved = json.loads(path.read_text())
    for name, found in files.items():
        if found != saved["sources"][name]:
            raise SourceError(
                f"sources.{name} has changed since the run that is being resumed "
                f"({found} found, {saved['sources'][name]} expected): put the old text back, pin "
                f"its revision, or remove {path.parent} to start afresh"
            )
    return {entry["row"]: entry for entry in saved["entries"]}
