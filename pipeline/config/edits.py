"""A model made by editing a copy of the other one: which edits, how many, how strong."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.section import Section, check

EditForm = Literal[
    "token_added",
    "token_turned",
    "token_scaled",
    "neuron_writes",
    "neuron_silenced",
    "head_silenced",
    "rank_one",
]
Rate = Annotated[float, Field(gt=0.0, lt=1.0)]


class EditGroup(Section):
    """Edits of one form; what they alter and in which direction is drawn at random."""

    form: EditForm
    """token_*: the embedding of a token; neuron_*: what an MLP neuron writes; head_silenced: what
    an attention head writes; rank_one: what an output matrix writes for one token's inputs."""
    n: int = Field(ge=1, le=1_000)
    """Edits of the group."""
    strengths: tuple[float, ...] = Field(min_length=1, strict=False)
    """One per edit, in turn. token_added: length of what is added, over the embedding's;
    token_turned: cosine of the new embedding with the old; token_scaled: factor; neuron_writes and
    rank_one: length of what is added where it acts, over the typical output of the module;
    head_silenced: share of what the head writes that goes; neuron_silenced ignores it."""
    min_rate: Rate
    """What is altered is drawn among what is active on at least this share of the text."""
    max_rate: Rate
    """And on at most this share. (A silenced head is active everywhere.)"""
    models: Literal["it", "both", "none"]
    """it: the pair differs by the edit. Controls: both models have it, or none has."""

    @check
    def _cosines(self) -> None:
        if self.form == "token_turned" and not all(-1 <= s < 1 for s in self.strengths):
            raise ValueError(
                f"strengths of a token_turned group are cosines, found {list(self.strengths)}: "
                "expected each in [-1, 1)"
            )

    @check
    def _rates_ordered(self) -> None:
        if self.min_rate >= self.max_rate:
            raise ValueError(
                f"min_rate ({self.min_rate:g}) must be < max_rate ({self.max_rate:g}): "
                "lower the one or raise the other"
            )


class EditedModel(Section):
    """A copy of the other model with edits, recorded as truth in `data/models/edits.json`."""

    kind: Literal["edited"]
    of: Literal["base"]
    """The model of the pair that is copied."""
    groups: dict[str, EditGroup] = Field(min_length=1)
    """Edits by the group's name."""
    sources: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1)
    """Share of each named source in the text on which rates are counted; sums to 1."""
    n_sequences: int = Field(ge=1)
    """Packed train sequences on which rates are counted and typical outputs measured."""
    sequence_length_tokens: int = Field(ge=8)
    """Tokens per packed sequence."""
    n_layers: int = Field(ge=1)
    """Blocks from the bottom that are edited: those below the hook point."""
    seed: int = Field(ge=0)
    """Decides what is edited and in which directions."""
