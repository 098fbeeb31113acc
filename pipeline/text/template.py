r"""Documents: text as it is, chats in a template, with the template's characters known.

The published template is `User: {user turn}\nAssistant: {assistant turn}\n` per exchange, without
control tokens, so that a base and an IT model read the same text.
Source: Kissane et al. 2024, "Open Source Replication of Anthropic's Crosscoder paper".
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.errors import SourceError

PREFIX_OF = {"user": "User: ", "assistant": "Assistant: "}
SUFFIX = "\n"
MARK, UNWRITTEN = "\ufdd0", "\U0010fffe"
"""Code points that are no characters: MARK stands for contents while a template is rendered,
UNWRITTEN for its control tokens while a text is tokenized. None is left in a text."""
NO_CHARACTERS = str.maketrans({MARK: "\ufffd", UNWRITTEN: "\ufffd"})
Turn = tuple[str, str]
"""Role and content."""
Piece = tuple[str, bool]
"""Some text, and whether the template wrote it."""


@dataclass(frozen=True, slots=True)
class Written:
    """A conversation in a template: its text in pieces, none where the template cannot write it,
    and what is not in the text as it was, counted by reason."""

    pieces: list[Piece]
    dropped: Counter[str] = field(default_factory=Counter)


class Template(Protocol):
    """How conversations are written. roles: those it has; controls: whether what it writes may be
    special tokens."""

    @property
    def roles(self) -> Collection[str]: ...
    @property
    def controls(self) -> bool: ...

    def write(self, turns: Sequence[Turn]) -> Written:
        """Turns of its roles, none of them empty."""
        ...


@dataclass(frozen=True)
class RoleTemplate:
    """A prefix and a suffix for each role."""

    parts: Mapping[str, tuple[str, str]]
    controls: bool = True

    @property
    def roles(self) -> Collection[str]:
        return self.parts.keys()

    def write(self, turns: Sequence[Turn]) -> Written:
        pieces: list[Piece] = []
        for role, content in turns:
            prefix, suffix = self.parts[role]
            pieces += [(prefix, True), (content, False), (suffix, True)]
        return Written(pieces)


PLAIN = RoleTemplate({role: (prefix, SUFFIX) for role, prefix in PREFIX_OF.items()}, controls=False)
"""The published template."""


@dataclass(frozen=True)
class JinjaTemplate:
    """A chat template in Jinja, as tokenizers carry one.

    It is rendered twice: with the contents, and with a mark in place of each. The second tells what
    the template wrote, whatever the contents say; where the two differ by more than the contents,
    the template has altered one, and the conversation is left out and counted.

    render: of a list of {role, content}
    trims: whether it takes the white space round contents away, which is then done beforehand
    """

    render: Callable[[list[dict[str, str]]], str]
    roles: Collection[str]
    trims: bool
    controls: bool = True

    def write(self, turns: Sequence[Turn]) -> Written:
        dropped = Counter[str]()
        if self.trims:
            trimmed = [(role, content.strip()) for role, content in turns]
            n = sum(before != after for before, after in zip(turns, trimmed, strict=True))
            dropped, turns = Counter(trimmed_turns=n) if n else dropped, trimmed
        marked = [(role, f"{MARK}{n}{MARK}") for n, (role, _) in enumerate(turns)]
        try:
            whole, frame = (self.render(messages(each)) for each in (turns, marked))
        except Exception:  # a template can raise anything
            return Written([], Counter(refused_conversations=1))
        pieces = between_marks(frame, [content for _, content in turns])
        if "".join(text for text, _ in pieces) != whole or not all_there(pieces, turns):
            return Written([], Counter(altered_conversations=1))
        return Written(pieces, dropped)


def messages(turns: Sequence[Turn]) -> list[dict[str, str]]:
    """Turns as chat templates take them."""
    return [{"role": role, "content": content} for role, content in turns]


def between_marks(frame: str, contents: Sequence[str]) -> list[Piece]:
    """A rendering of marks in pieces, with the contents in place of the marks."""
    parts = re.split(f"{MARK}(\\d+){MARK}", frame)
    return [
        (contents[int(part)], False) if at % 2 else (part, True) for at, part in enumerate(parts)
    ]


def all_there(pieces: Sequence[Piece], turns: Sequence[Turn]) -> bool:
    """Whether the contents of the pieces are those of the turns, each once and in order."""
    written = [text for text, is_template in pieces if not is_template]
    return written == [content for _, content in turns]


@dataclass(frozen=True, slots=True)
class Document:
    """Rendered text of one row of a source.

    template_spans: character ranges [start, end) that the template wrote
    controls: whether special tokens that stand there are meant as such
    dropped: parts of the row that are not in the text, counted by reason
    """

    id: int
    text: str
    template_spans: list[tuple[int, int]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    controls: bool = False


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


def render_chat(
    document_id: int, value: Any, where: str, template: Template = PLAIN
) -> Document | Dropped:
    """The conversation in the template.

    Turns of roles that the template does not have, as tools' are, and turns without content are
    left out and counted. Other fields of a turn than its role and content are not read.
    Raises SourceError, with `where`, for rows that are no list of {role, content}.
    """
    if value is None:
        return Dropped(document_id, Counter(empty_conversations=1))
    turns, dropped = list[Turn](), Counter[str]()
    for index, turn in enumerate(_turns(value, where)):
        role, content = _role_and_content(turn, f"{where}, turn {index + 1}")
        reason = _reason_to_drop(role, content, template.roles)
        if reason:
            dropped[reason] += 1
            continue
        clean, replaced = valid_unicode(content)
        dropped += replaced
        if template.controls:
            clean, dropped = _without_marks(clean, dropped)
        turns.append((role, clean))
    if not turns:
        return Dropped(document_id, dropped + Counter(empty_conversations=1))
    written = template.write(turns)
    dropped += written.dropped
    if not written.pieces:
        return Dropped(document_id, dropped)
    return _joined(document_id, written.pieces, dropped, controls=template.controls)


def up_to_reply(question: str, template: Template) -> Document | Dropped:
    """A user's turn in the template, up to where the reply to it begins: its tokens carry the space
    before their word, so a space at the end is left to the reply."""
    clean, dropped = valid_unicode(question)
    written = template.write([("user", clean), ("assistant", clean)]) if clean.strip() else None
    if written is None or not written.pieces:
        return Dropped(0, dropped + Counter(empty_conversations=1))
    reply = max(at for at, (_, is_template) in enumerate(written.pieces) if not is_template)
    *before, (last, _) = written.pieces[:reply]
    pieces = [*before, (last.rstrip(" "), True)]
    return _joined(0, pieces, dropped, controls=template.controls)


def _joined(
    document_id: int, pieces: Sequence[Piece], dropped: Counter[str], *, controls: bool
) -> Document:
    spans, length = [], 0
    for text, is_template in pieces:
        if is_template and text:
            spans.append((length, length + len(text)))
        length += len(text)
    return Document(document_id, "".join(text for text, _ in pieces), spans, dropped, controls)


def _without_marks(content: str, dropped: Counter[str]) -> tuple[str, Counter[str]]:
    """The content without the code points that have a use here, replaced and counted."""
    n = content.count(MARK) + content.count(UNWRITTEN)
    if not n:
        return content, dropped
    return content.translate(NO_CHARACTERS), dropped + Counter(replaced_noncharacters=n)


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
        raise SourceError(
            f"{where}: the content is {_kind(content)}, expected a string: write it as one text, "
            "or remove the row"
        )
    return role, content or ""


def _reason_to_drop(role: str, content: str, roles: Collection[str]) -> str | None:
    if role not in roles:
        return "system_turns" if role == "system" else "other_role_turns"
    return None if content.strip() else "empty_turns"


def _kind(value: Any) -> str:
    return "null" if value is None else f"of type {type(value).__name__}"
