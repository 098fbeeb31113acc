"""Whether two models can be compared: same width, a layer both have, the same token ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.errors import ModelError
from pipeline.models.records import ModelRecord

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Scripts, digits, code, white space and the chat template: texts on which tokenizers part.
PROBES = (
    "User: Hello, who are you?\nAssistant: I'm an assistant.\n\nUser: 12345 + 678.90 = ?\n",
    "  def f(x):\n\treturn {'a': x ** 2}  # comment\n\n\n",
    "Füße, naïve café — “quotes” … 日本語のテキスト Привет مرحبا हिन्दी 🙂🚀",
    "<html><b>&amp;</b></html> https://example.org/a?b=c#d \\frac{1}{2}",
    "supercalifragilisticexpialidocious ANTIDISESTABLISHMENTARIANISM eWoRlD",
)


def check_width(records: Mapping[str, ModelRecord]) -> None:
    """Raise ModelError unless both models have the same residual width."""
    base, it = records["base"], records["it"]
    if base.d_model != it.d_model:
        raise ModelError(
            f"models.it ({it.location}) has d_model {it.d_model}, but models.base "
            f"({base.location}) has {base.d_model}: name two models of one family and size"
        )


def check_layer(name: str, n_layers: int, layer: int) -> None:
    """Raise ModelError unless the model called `name` has a block at `layer` to read before."""
    if layer >= n_layers:
        raise ModelError(
            f"hook_point.layer is {layer}, but models.{name} has {n_layers} blocks: "
            f"set hook_point.layer between 0 and {n_layers - 1}"
        )


def check_tokenizers(
    base: PreTrainedTokenizerFast,
    it: PreTrainedTokenizerFast,
    records: Mapping[str, ModelRecord],
) -> None:
    """Raise ModelError unless both tokenizers give the same ids and both models hold them.

    Compares the ids of probe texts, the ordinary vocabulary and BOS. Special tokens other than
    BOS may differ in name: the text pipeline writes none of them but BOS and the base's EOS.
    """
    if base.bos_token_id != it.bos_token_id:
        raise ModelError(
            f"tokenizer mismatch: the base model's BOS has id {base.bos_token_id}, the IT model's "
            f"{it.bos_token_id}: name two models that share a tokenizer"
        )
    for probe in PROBES:
        found, expected = (t.encode(probe, add_special_tokens=False) for t in (it, base))
        if found != expected:
            raise ModelError(
                f"tokenizer mismatch: {probe[:24]!r}... is {expected[:8]} for the base model and "
                f"{found[:8]} for the IT model: name two models that share a tokenizer"
            )
    _check_vocabularies(base, it)
    for name, record in records.items():
        if len(base) > record.vocab_size:
            raise ModelError(
                f"the tokenizer has {len(base)} tokens, but models.{name} ({record.location}) "
                f"embeds {record.vocab_size}: name the model that the tokenizer belongs to"
            )


def _check_vocabularies(base: PreTrainedTokenizerFast, it: PreTrainedTokenizerFast) -> None:
    added = base.get_added_vocab().keys() | it.get_added_vocab().keys()
    in_base, in_it = base.get_vocab(), it.get_vocab()
    for token in sorted((in_base.keys() | in_it.keys()) - added):
        if in_base.get(token) != in_it.get(token):
            raise ModelError(
                f"tokenizer mismatch: token {token!r} has id {in_base.get(token)} for the base "
                f"model and {in_it.get(token)} for the IT model: name two models that share a "
                "tokenizer"
            )
