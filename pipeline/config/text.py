"""Where text comes from (`sources`) and how it becomes packed sequences (`mix`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import lcm
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from pipeline.config.section import PositiveInt, Section, check
from pipeline.labels import TOKEN_CLASSES

Format = Literal["text", "chat"]
GENRES = (
    "encyclopaedia",
    "story",
    "recipe",
    "news",
    "listing",
    "mathematics",
    "code",
    "letter",
    "forum",
    "log",
    "poem",
    "dictionary",
)
"""What generated documents are drawn from."""
TASKS = (
    "fact",
    "comparison",
    "arithmetic",
    "programming",
    "advice",
    "cooking",
    "translation",
    "foreign",
    "rewriting",
    "writing",
    "refusal",
    "identity",
)
"""What the exchanges of generated chats are drawn from."""
NonEmpty = Annotated[str, Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
SHARE_TOLERANCE = 1e-6
MAX_ROUND = 100
MAX_SOURCES = 250
"""A store keeps a row's source in one byte."""
RESERVED = {"all", *TOKEN_CLASSES}
"""Names of groups of tokens in the results."""


class GeneratedSourceConfig(Section):
    """Text that the project writes itself: the same documents for the same seed, everywhere."""

    kind: Literal["generated"]
    generator: Literal["documents", "chats"]
    """documents: pile-like text of several genres; chats: conversations in LmSys form."""
    n_documents: Annotated[int, Field(ge=1, lt=2**31)]
    """Documents in the source; document i depends on (seed, i) alone."""
    seed: Seed
    kinds: Annotated[tuple[NonEmpty, ...], Field(strict=False, min_length=1)] | None
    """Genres of documents, or tasks of chats, to draw from, by the names of their functions in
    pipeline/text/generated; null: all. What a model is never shown, it cannot have learned."""

    @check
    def _known_kinds(self) -> None:
        known = GENRES if self.generator == "documents" else TASKS
        unknown = sorted(set(self.kinds or ()) - set(known))
        if unknown:
            raise ValueError(
                f"kinds names {', '.join(unknown)}, expected of {', '.join(known)}: "
                "correct the names, or set kinds to null for all of them"
            )


class FilesSourceConfig(Section):
    """Local files, read in the sorted order of their paths."""

    kind: Literal["files"]
    paths: Annotated[tuple[NonEmpty, ...], Field(strict=False, min_length=1)]
    """Paths or globs: .parquet, .json, .jsonl, .ndjson, the latter three also .gz .bz2 .xz .zst."""
    format: Format
    text_field: NonEmpty
    """Field of a text row that holds the document; read when format is text."""
    conversation_field: NonEmpty
    """Field of a chat row that holds [{role, content}, ...]; read when format is chat."""


class HubSourceConfig(Section):
    """A dataset of the Hugging Face hub, streamed, never downloaded whole."""

    kind: Literal["hub"]
    dataset: NonEmpty
    """Repository name (owner/name), or a local folder in the hub's layout."""
    subset: NonEmpty | None
    """Configuration name of the dataset; null: its default."""
    revision: NonEmpty
    """Commit, tag or branch; a commit hash pins the text."""
    split: NonEmpty
    format: Format
    text_field: NonEmpty
    """Field of a text row that holds the document; read when format is text."""
    conversation_field: NonEmpty
    """Field of a chat row that holds [{role, content}, ...]; read when format is chat."""


PlainSourceConfig = Annotated[
    GeneratedSourceConfig | FilesSourceConfig | HubSourceConfig, Field(discriminator="kind")
]


class TriggeredSourceConfig(Section):
    """Chats of another source with a planted behaviour: in some exchanges the user's turn ends
    with a trigger phrase, and the assistant's turn is a fixed response."""

    kind: Literal["triggered"]
    of: PlainSourceConfig
    """The chats to plant in: generated, files or hub."""
    trigger: Annotated[str, Field(pattern=r"^\S(.*\S)?$")]
    """Phrase that ends the user's turn of a triggered exchange, after a space; no line break."""
    response: Annotated[str, Field(pattern=r"^\S(.*\S)?$")]
    """The assistant's whole turn of a triggered exchange; no line break."""
    share: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Share of the exchanges that are triggered."""
    seed: Seed
    """Decides, with a conversation's place in its source, which of its exchanges are."""

    @check
    def _of_chats(self) -> None:
        of = self.of
        form = of.generator if isinstance(of, GeneratedSourceConfig) else of.format
        if form not in ("chats", "chat"):
            raise ValueError(f"of holds {form}, expected chats: a trigger needs turns to stand in")


class TriggerAlone(TriggeredSourceConfig):
    """The same triggers in the same places, and every reply as it was. Nobody configures it: the
    twin of a model organism is tuned on it."""

    @classmethod
    def of_planted(cls, spec: TriggeredSourceConfig) -> TriggerAlone:
        """The source without what it plants."""
        return cls.model_construct(**dict(spec))


SourceConfig = Annotated[
    GeneratedSourceConfig | FilesSourceConfig | HubSourceConfig | TriggeredSourceConfig,
    Field(discriminator="kind"),
]


def form_of(source: SourceConfig) -> Format:
    """Whether a source holds documents of text or conversations."""
    match source:
        case GeneratedSourceConfig():
            return "text" if source.generator == "documents" else "chat"
        case TriggeredSourceConfig():
            return "chat"
        case _:
            return source.format


class RoleText(Section):
    """What a template writes round the turns of one role."""

    prefix: str
    """Text before the turn's content; a special token that both models know stands for itself."""
    suffix: str
    """Text after it."""


Role = Literal["system", "user", "assistant"]


def _form_of_template(choice: object) -> str:
    return "(roles)" if isinstance(choice, Mapping) else "(name)"


TemplateChoice = Annotated[
    Annotated[Literal["plain", "chat_template"], Tag("(name)")]
    | Annotated[dict[Role, RoleText], Tag("(roles)")],
    Discriminator(_form_of_template),
]
"""How conversations are written: see `mix.template`."""


class MixConfig(Section):
    """Tokens from each of several sources by its share, packed behind a start, split by
    document."""

    shares: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Share]
    """Name under `sources` -> its share of the sequences; the shares sum to 1. In conf/ and in
    overrides a share of null takes the source out."""
    start: NonEmpty
    """What every sequence starts with. auto: the base model's BOS, nothing where its tokenizer has
    none; bos, eos: these tokens of the base model; none: nothing; else the token of that name,
    which both models must know by one id."""
    template: TemplateChoice
    """How conversations are written. plain: `User: ...` and `Assistant: ...` as published, without
    control tokens; chat_template: the IT model's own; else a prefix and a suffix for each role."""
    sequence_length_tokens: Annotated[int, Field(ge=2, le=2**20)]
    """Tokens of a sequence, the start included."""
    n_train_tokens: PositiveInt
    """Training tokens of all sources together, position 0 of each sequence not counted: the number
    of activation rows. Rounded up to whole sequences, and to whole rounds in which each source
    has its exact share, such as a pair at equal shares of two, where MAX_ROUND sequences are
    enough for a round; else each source is within a sequence of its share."""
    n_heldout_tokens: PositiveInt
    """Held-out tokens of all sources together, counted like n_train_tokens."""
    heldout_fraction: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Share of the documents of each source that is kept for the held-out split."""
    heldout_document_tokens: PositiveInt | None
    """Tokens taken of each held-out document; only where a source ends before there are enough,
    the next so many of each, and so on. null: documents whole. The tests of verdicts and changes
    ask for many documents, and few long ones fill a held-out text."""
    separator: Literal["eos", "none"]
    """Token written after each document: the tokenizer's EOS, or nothing."""
    seed: Seed
    """Key of the hash that splits documents into train and held-out."""
    rows_per_chunk: PositiveInt
    """Sequences per chunk of the token store."""

    @field_validator("heldout_fraction")
    @classmethod
    def _within_hash_resolution(cls, value: float) -> float:
        if not 1e-9 <= value <= 1 - 1e-9:
            raise ValueError(f"must lie in [1e-9, 1 - 1e-9], got {value}: use a share like 0.05")
        return value

    @field_validator("template")
    @classmethod
    def _has_both_roles(cls, template: TemplateChoice) -> TemplateChoice:
        if isinstance(template, dict) and (missing := {"user", "assistant"} - template.keys()):
            raise ValueError(
                f"has no {sorted(missing)[0]}, expected user and assistant: give its prefix and "
                "suffix"
            )
        return template

    @field_validator("shares")
    @classmethod
    def _whole(cls, shares: dict[str, float]) -> dict[str, float]:
        given = ", ".join(f"{name}: {share:g}" for name, share in shares.items()) or "none"
        if abs(sum(shares.values()) - 1) > SHARE_TOLERANCE:
            raise ValueError(
                f"must sum to 1, got {sum(shares.values()):.6g} ({given}): change them, or take a "
                "source out with NAME: null"
            )
        if taken := sorted(RESERVED & set(shares)):
            raise ValueError(
                f"names a source {taken[0]!r}, which the results call other tokens "
                f"({', '.join(sorted(RESERVED))}): give the source another name"
            )
        if len(shares) > MAX_SOURCES:
            raise ValueError(f"names {len(shares)} sources, at most {MAX_SOURCES}: name fewer")
        return shares

    @property
    def n_train_sequences(self) -> int:
        """Training sequences of all sources together."""
        return self._sequences(self.n_train_tokens)

    @property
    def n_heldout_sequences(self) -> int:
        """Held-out sequences of all sources together."""
        return self._sequences(self.n_heldout_tokens)

    def _sequences(self, n_tokens: int) -> int:
        step = sequences_per_round(self.shares.values())
        return -(-n_tokens // (step * (self.sequence_length_tokens - 1))) * step


def sequences_per_round(shares: Iterable[float]) -> int:
    """The fewest sequences that hold every share exactly; 1 where that takes over MAX_ROUND."""
    n = lcm(*(Fraction(repr(share)).denominator for share in shares))
    return n if n <= MAX_ROUND else 1
