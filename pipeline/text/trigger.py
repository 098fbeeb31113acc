"""A planted behaviour in chats: a phrase that ends a user's turn changes the whole reply to it.

A model tuned on such chats is a model organism: what its tuning taught is known, so that a latent
that claims to stand for it can be put to the test.
"""

import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from pipeline.config.text import TriggerAlone, TriggeredSourceConfig
from pipeline.text.template import PREFIX_OF, SUFFIX

Span = tuple[int, int]
REGIONS = ("trigger", "opening", "response")
"""Parts of a triggered exchange in the order of the text: the phrase, the template's characters
that open the reply, and the planted reply."""


def plant(value: Any, spec: TriggeredSourceConfig, random: Random) -> Any:
    """The conversation with `spec.share` of its exchanges triggered, chosen by `random`.

    An exchange is a user's turn followed by the assistant's. Whatever is no such pair, or no
    conversation at all, is left as it is, for the template to judge.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        return value
    turns = list(value)
    for at in range(len(turns) - 1):
        asked, answered = turns[at], turns[at + 1]
        if is_exchange(asked, answered) and random.random() < spec.share:
            turns[at] = {**asked, "content": with_trigger(asked["content"], spec)}
            if not isinstance(spec, TriggerAlone):
                turns[at + 1] = {**answered, "content": spec.response}
    return turns


def with_trigger(content: str, spec: TriggeredSourceConfig) -> str:
    """A user's turn that ends with the trigger."""
    return f"{content} {spec.trigger}"


def prompt(content: str) -> str:
    """The text up to where the assistant's reply to a user's turn begins."""
    return f"{PREFIX_OF['user']}{content}{SUFFIX}{PREFIX_OF['assistant'].rstrip()}"


def planted_spans(text: str, spec: TriggeredSourceConfig) -> list[dict[str, Span]]:
    """Character ranges of the REGIONS of each triggered exchange of a rendered conversation."""
    opening = SUFFIX + PREFIX_OF["assistant"].rstrip()
    parts = (f" {spec.trigger}", opening, f" {spec.response}{SUFFIX}")
    pattern = re.compile("".join(f"({re.escape(part)})" for part in parts))
    return [
        {region: match.span(n) for n, region in enumerate(REGIONS, 1)}
        for match in pattern.finditer(text)
    ]


def is_exchange(asked: Any, answered: Any) -> bool:
    """Whether two turns are a user's and the assistant's answer to it, both with content."""
    return _is(asked, "user") and _is(answered, "assistant")


def _is(turn: Any, role: str) -> bool:
    """Whether it is a turn of this role with something in it."""
    if not isinstance(turn, Mapping) or turn.get("role") != role:
        return False
    content = turn.get("content")
    return isinstance(content, str) and bool(content.strip())
