r"""Documents: text as it is, chats in the project's template, with the template's characters known.

The template is `User: {user turn}\nAssistant: {assistant turn}\n` per exchange, without control
tokens, so that a base and an IT model read the same text.
Source: Kissane et al. 2024, "Open Source Replication of Anthropic's Crosscoder paper".
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import SourceError

PREFIX_OF = {"user": "User: ", "assistant": "Assistant: "}
SUFFIX = "\n"


@dataclass(frozen=True, slots=True)
class Document:
    """Rendered text of one row of a source.

    template_spans: character ranges [start, end) that the template wrote
    dropped: parts of the row that are not in the text, counted by reason
    """

    id: int
    text: str
    template_spans: list[tuple[int, int]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that gives no document, with the reasons counted."""

    id: int
    dropped: Counter[str]


def render_text(document_id: int, value: Any, where: str) -> Document | Dropped:
    """The text untouched. Raises SourceError, with `where`, where the value is no string."""
    if value is None:
        return Dropped(document_id, Counter(empty_documents=1))
    if not isinstance(value, str):
        raise SourceError(
            f"{where}: the text is {_kind(value)}, expected a string: "
            "name the right field in text_field, or mend the row"
        )
    if not value.strip():
        return Dropped(document_id, Counter(empty_documents=1))
    text, dropped = valid_unicode(value)
    return Document(document_id, text, [], dropped)


def render_chat(document_id: int, value: Any, where: str) -> Document | Dropped:
    """The user and assistant turns in the template.

    System turns, turns of other roles and turns without content are left out and counted.
    Raises SourceError, with `where`, for rows that are no list of {role, content}.
    """
    if value is None:
        return Dropped(document_id, Counter(empty_conversations=1))
    parts, spans, dropped, length = [], [], Counter[str](), 0
    for index, turn in enumerate(_turns(value, where)):
        role, content = _role_and_content(turn, f"{where}, turn {index + 1}")
        reason = _reason_to_drop(role, content)
        if reason:
            dropped[reason] += 1
            continue
        clean, replaced = valid_unicode(content)
        dropped += replaced
        prefix = PREFIX_OF[role]
        start = length + len(prefix)
        end = start + len(clean)
        spans += [(length, start), (end, end + len(SUFFIX))]
        parts += [prefix, clean, SUFFIX]
        length = end + len(SUFFIX)
    if not parts:
        return Dropped(document_id, dropped + Counter(empty_conversations=1))
    return Document(document_id, "".join(parts), spans, dropped)


def valid_unicode(text: str) -> tuple[str, Counter[str]]:
    """The text with lone surrogates, which no tokenizer takes, replaced by U+FFFD and counted."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # Pairs written as two surrogates join into their character; lone ones are replaced.
        clean = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        lone = clean.count("\ufffd") - text.count("\ufffd")
        return clean, Counter(replaced_surrogates=lone) if lone else Counter()
    return text, Counter()


def _turns(value: Any, where: str) -> Sequence[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise SourceError(
            f"{where}: the conversation is {_kind(value)}, expected a list of "
            "{role, content}: name the right field in conversation_field, or mend the row"
        )
    return value


def _role_and_content(turn: Any, where: str) -> tuple[str, str]:
    if not isinstance(turn, Mapping):
        raise SourceError(f"{where} is {_kind(turn)}, expected {{role, content}}: mend the row")
    for key in ("role", "content"):
        if key not in turn:
            raise SourceError(
                f"{where} has no {key!r} (its fields: {', '.join(map(str, turn)) or 'none'}), "
                "expected {role, content}: rename the fields of the turns"
            )
    role, content = turn["role"], turn["content"]
    if not isinstance(role, str):
        raise SourceError(
            f"{where}: the role is {_kind(role)}, expected 'user', 'assistant' or 'system': "
            "mend the row"
        )
    if content is not None and not isinstance(content, str):
        raise SourceError(f"{where}: the content is {_kind(content)}, expected a string")
    return role, content or ""


def _reason_to_drop(role: str, content: str) -> str | None:
    if role == "system":
        return "system_turns"
    if role not in PREFIX_OF:
        return "other_role_turns"
    return None if content.strip() else "empty_turns"


def _kind(value: Any) -> str:
    return "null" if value is None else f"of type {type(value).__name__}"
