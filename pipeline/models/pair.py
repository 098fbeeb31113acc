"""Whether two models can be compared: each can be loaded and read at the hook point, both have the
same width, and the token ids of a text are the same for both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pipeline.config.models import HookPointConfig, ModelsConfig
from pipeline.config.text import MixConfig
from pipeline.errors import ModelError
from pipeline.models.configuration import shape_of
from pipeline.models.hook import blocks, residual
from pipeline.models.records import ModelRecord
from pipeline.models.skeleton import position_table, try_loading
from pipeline.models.start import Start, choose_start, shared_id
from pipeline.models.template import ChosenTemplate, choose_template
from pipeline.text.tokens import eos_id, special_strings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

# Scripts, digits, code, white space and the chat template: texts on which tokenizers part.
PROBES = (
    "User: Hello, who are you?\nAssistant: I'm an assistant.\n\nUser: 12345 + 678.90 = ?\n",
    "  def f(x):\n\treturn {'a': x ** 2}  # comment\n\n\n",
    "Füße, naïve café — “quotes” … 日本語のテキスト Привет مرحبا हिन्दी 🙂🚀",
    "<html><b>&amp;</b></html> https://example.org/a?b=c#d \\frac{1}{2}",
    "supercalifragilisticexpialidocious ANTIDISESTABLISHMENTARIANISM eWoRlD",
)
N_NAMED = 3
NO_CONTROLS: Mapping[str, int] = {}
FEWEST_IDS = 3  # of all probes together
CACHE = "past_key_values"
"""The argument by which models of transformers get what they have read."""


@dataclass(frozen=True)
class Reading:
    """How the models are to be read: of `hook_point` and `mix`.

    layer: the last that is read; attention: "auto" for what each architecture prefers; separator:
    "eos" or "none"
    """

    layer: int
    attention: str
    sequence_length_tokens: int
    separator: str


def reading_of(hook_point: HookPointConfig, mix: MixConfig) -> Reading:
    """The reading that a configuration asks for."""
    return Reading(
        hook_point.all_layers[-1], hook_point.attention, mix.sequence_length_tokens, mix.separator
    )


def examine(name: str, folder: Path, reading: Reading) -> str | None:
    """Try a model folder out without reading its weights; a warning, if there is one.

    Raises ModelError, worded by cause, where the folder cannot be loaded or read as asked.
    """
    attention = None if reading.attention == "auto" else reading.attention
    model = try_loading(folder, attention)
    shape = shape_of(model.config, folder)
    check_layer(name, shape.n_layers, reading.layer)
    check_stream(model)
    length, limit = reading.sequence_length_tokens, shape.n_positions
    if limit is None or length <= limit:
        return None
    if position_table(model, limit) is not None:
        raise ModelError(
            f"mix.sequence_length_tokens is {length}, but models.{name} ({folder}) has positions "
            f"for {limit} tokens: set mix.sequence_length_tokens to {limit} or less"
        )
    return (
        f"mix.sequence_length_tokens is {length}, but models.{name} ({folder}) was made for {limit}"
        " tokens: what it computes beyond them may be far from what it was trained to"
    )


def check_stream(skeleton: PreTrainedModel) -> None:
    """Raise ModelError where the architecture has no single residual stream, for which two tokens
    are passed to the first block of a model without weights, as far as its code lets them; or where
    it cannot go on from what it has read."""
    blocks(skeleton)
    if CACHE not in signature(skeleton.forward).parameters:
        raise ModelError(
            f"{type(skeleton).__name__} takes no {CACHE}: it cannot go on token by token from a "
            "stream that was put in place of its own, as steering asks; name another model"
        )
    token_ids = torch.zeros(1, 2, dtype=torch.long, device=skeleton.device)
    try:
        residual(skeleton, 0, token_ids)
    except ModelError:
        raise
    except Exception:  # some look at values, which there are none of: they are read when they run
        return


def embedded_by(records: Mapping[str, ModelRecord]) -> dict[str, int]:
    """Rows of each model's embedding by what an error calls the model."""
    return {f"models.{name} ({r.location})": r.vocab_size for name, r in records.items()}


def check_width(records: Mapping[str, ModelRecord]) -> None:
    """Raise ModelError unless all models have the same residual width."""
    base = records["base"]
    for name, record in records.items():
        if record.d_model != base.d_model:
            raise ModelError(
                f"models.{name} ({record.location}) has d_model {record.d_model}, but models.base "
                f"({base.location}) has {base.d_model}: name two models of one family and size"
            )


def check_layer(name: str, n_layers: int, layer: int) -> None:
    """Raise ModelError unless the model called `name` has a block at `layer` to read before."""
    if layer >= n_layers:
        raise ModelError(
            f"hook_point.layer is {layer}, but models.{name} has {n_layers} blocks: "
            f"set hook_point.layer between 0 and {n_layers - 1}, and so each of hook_point.layers"
        )


def shared_text(
    base: PreTrainedTokenizerFast,
    it: PreTrainedTokenizerFast,
    models: ModelsConfig,
    separator: str,
    vocabularies: Mapping[str, int],
) -> tuple[Start, ChosenTemplate]:
    """What sequences start with and how conversations are written, for a pair that reads both and
    every other text alike; ModelError, as of `check_tokenizers`, for one that does not."""
    start, template = (
        choose_start(models.start, base, it),
        choose_template(models.template, base, it),
    )
    check_tokenizers(base, it, start, separator, vocabularies, controls=template.controls)
    return start, template


def check_tokenizers(
    base: PreTrainedTokenizerFast,
    it: PreTrainedTokenizerFast,
    start: Start,
    separator: str,
    vocabularies: Mapping[str, int],
    *,
    controls: Mapping[str, int] = NO_CONTROLS,
) -> None:
    """Raise ModelError unless both tokenizers give a text the same ids and both models hold them.

    vocabularies: rows of the embedding of each model by what to call it in an error
    controls: the special tokens that the template of conversations writes, with their ids
    Compares the ids of probe texts and of every token that a text can become. Special tokens may
    differ: the text pipeline writes none of them but the start, the base's EOS and the template's.
    """
    _check_legible(base)
    for probe in PROBES:
        found, expected = (t.encode(probe, add_special_tokens=False) for t in (it, base))
        if found != expected:
            raise ModelError(
                f"tokenizer mismatch: {probe[:24]!r}... is {expected[:8]} for the base model and "
                f"{found[:8]} for the IT model: name two models that share a tokenizer"
            )
    _check_vocabularies(base, it)
    written = writable(base) | dict(controls)
    if start.token is not None and start.id is not None:
        written[start.token] = start.id
    if separator == "eos":
        eos_id(base)
        remedy = "mix.separator=none"
        written[str(base.eos_token)] = shared_id(str(base.eos_token), base, it, remedy)
    token, largest = max(written.items(), key=lambda item: item[1])
    for name, vocab_size in vocabularies.items():
        if largest >= vocab_size:
            raise ModelError(
                f"token {token!r} of the tokenizer has id {largest}, but {name} embeds "
                f"{vocab_size} tokens: name the model that the tokenizer belongs to"
            )


def writable(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Token -> id of all that plain text can become: the vocabulary without special tokens."""
    special = set(special_strings(tokenizer))
    return {token: i for token, i in tokenizer.get_vocab().items() if token not in special}


def _check_legible(tokenizer: PreTrainedTokenizerFast) -> None:
    """Raise ModelError for a tokenizer that cannot tell texts apart, such as an empty one."""
    ids = {i for probe in PROBES for i in tokenizer.encode(probe, add_special_tokens=False)}
    if len(ids) < FEWEST_IDS:
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path} reads {PROBES[0][:24]!r}... and all else as"
            f" {len(ids)} different tokens, expected a vocabulary of text: its files are missing "
            "or of another model; get the folder again"
        )


def _check_vocabularies(base: PreTrainedTokenizerFast, it: PreTrainedTokenizerFast) -> None:
    """Raise ModelError where a token that a text can become has other ids for the IT model.

    Not compared: tokens that were added to the IT model alone, for the base's tokenizer reads; and
    reserved tokens of the base that the IT model names otherwise.
    """
    in_base, in_it = base.get_vocab(), it.get_vocab()
    added_to_base, added_to_it = base.get_added_vocab(), it.get_added_vocab()
    renamed = {token for token, i in added_to_base.items() if i in added_to_it.values()}
    ordinary = in_it.keys() - added_to_it.keys() - added_to_base.keys()
    compared = ordinary | (writable(base).keys() - renamed)
    unequal = sorted(token for token in compared if in_base.get(token) != in_it.get(token))
    if unequal:
        named = ", ".join(
            f"{token!r} ({in_base.get(token)} and {in_it.get(token)})"
            for token in unequal[:N_NAMED]
        )
        raise ModelError(
            f"tokenizer mismatch: {len(unequal)} tokens have other ids for the base model than for "
            f"the IT model, such as {named}: name two models that share a tokenizer"
        )
