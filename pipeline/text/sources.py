"""Documents of a source, in a fixed order, whatever the source is."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from pipeline.config.text import (
    FilesSourceConfig,
    Format,
    GeneratedSourceConfig,
    HubSourceConfig,
    SourceConfig,
    TriggeredSourceConfig,
)
from pipeline.errors import SourceError
from pipeline.runtime import stream_seed
from pipeline.text import files, hub
from pipeline.text.generated import write_chat, write_document
from pipeline.text.split import Selection
from pipeline.text.template import PLAIN, Document, Dropped, Template, render_chat, render_text
from pipeline.text.trigger import plant


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a source. Its id is its place in the source.

    read: its text or conversation as it stands, and where that is, for errors
    """

    id: int
    format: Format
    read: Callable[[], tuple[Any, str]]

    def load(self, template: Template = PLAIN) -> Document | Dropped:
        """Read and render it. Raises SourceError with the place."""
        value, where = self.read()
        if self.format == "text":
            return render_text(self.id, value, where)
        return render_chat(self.id, value, where, template)


def documents(
    spec: SourceConfig,
    name: str,
    *,
    selection: Selection | None = None,
    dropped: Counter[str] | None = None,
) -> Iterator[Document]:
    """Documents of the source called `name`, streamed, those outside `selection` not even read.

    What is left out is added to `dropped` by reason. Raises SourceError with the place.
    """
    for row in rows(spec, name):
        if selection is not None and not selection.keeps(row.id, name):
            continue
        document = row.load()
        if dropped is not None:
            dropped.update(document.dropped)
        if isinstance(document, Document):
            yield document


def rows(spec: SourceConfig, name: str, start: int = 0) -> Iterator[Row]:
    """Rows of the source from id `start` on, in order, none left out."""
    match spec:
        case GeneratedSourceConfig():
            return _generated(spec, start)
        case FilesSourceConfig():
            return _from_files(spec, name, start)
        case HubSourceConfig():
            return _from_hub(spec, name, start)
        case TriggeredSourceConfig():
            return _triggered(spec, name, start)


def describe(spec: SourceConfig, name: str) -> dict[str, Any]:
    """What the source is at this moment, beyond its configuration: changes when its text may."""
    match spec:
        case FilesSourceConfig():
            paths = files.expand(spec.paths, f"sources.{name}.paths")
            return {str(path): files.describe(path) for path in paths}
        case HubSourceConfig():
            return {"dataset": spec.dataset, "commit": hub.resolve_revision(spec, name)}
        case TriggeredSourceConfig():
            return describe(spec.of, f"{name}.of")
        case GeneratedSourceConfig():
            return {}


def _generated(spec: GeneratedSourceConfig, start: int) -> Iterator[Row]:
    form = "text" if spec.generator == "documents" else "chat"
    for index in range(start, spec.n_documents):
        yield Row(index, form, partial(_write, spec, index))


def _write(spec: GeneratedSourceConfig, index: int) -> tuple[Any, str]:
    random = Random(stream_seed(spec.seed, spec.generator, str(index)))
    if spec.generator == "documents":
        return write_document(random, spec.kinds), f"document {index}"
    return write_chat(random, spec.kinds), f"chat {index}"


def _triggered(spec: TriggeredSourceConfig, name: str, start: int) -> Iterator[Row]:
    for row in rows(spec.of, f"{name}.of", start):
        yield Row(row.id, row.format, partial(_plant, spec, row))


def _plant(spec: TriggeredSourceConfig, row: Row) -> tuple[Any, str]:
    value, where = row.read()
    return plant(value, spec, Random(stream_seed(spec.seed, "triggered", str(row.id)))), where


def _from_files(spec: FilesSourceConfig, name: str, start: int) -> Iterator[Row]:
    first = 0
    for path in files.expand(spec.paths, f"sources.{name}.paths"):
        index = first - 1
        for index, row in enumerate(files.read_rows(path, _field(spec)), first):
            if index >= start:
                yield Row(index, spec.format, partial(_read_file_row, spec, row))
        if index < first:
            raise SourceError(f"sources.{name}: {path} has no rows: remove it or name another file")
        first = index + 1


def _read_file_row(spec: FilesSourceConfig, row: files.FileRow) -> tuple[Any, str]:
    return _value(spec, row.parse(), row.where)


def _from_hub(spec: HubSourceConfig, name: str, start: int) -> Iterator[Row]:
    index = start - 1
    for index, row in enumerate(hub.read_rows(spec, name, _field(spec), start), start):
        where = f"sources.{name}: dataset {spec.dataset}, split {spec.split}, row {index + 1}"
        yield Row(index, spec.format, partial(_value, spec, row, where))
    if index < start and start == 0:
        raise SourceError(f"sources.{name}: dataset {spec.dataset} has no rows: name another split")


def _field(spec: FilesSourceConfig | HubSourceConfig) -> str:
    return spec.text_field if spec.format == "text" else spec.conversation_field


def _value(spec: FilesSourceConfig | HubSourceConfig, row: Any, where: str) -> tuple[Any, str]:
    field = _field(spec)
    key = "text_field" if spec.format == "text" else "conversation_field"
    if not isinstance(row, Mapping):
        remedy = files.ARRAY if isinstance(row, list) else "mend the row"
        raise SourceError(
            f"{where} is of type {type(row).__name__}, expected an object with the field "
            f"{field!r}: {remedy}"
        )
    if field not in row:
        raise SourceError(
            f"{where} has no field {field!r}, its fields are {', '.join(row) or 'none'}: "
            f"set {key} to the right one, or mend the row"
        )
    return row[field], where
