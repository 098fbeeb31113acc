"""How conversations are written: chosen and tried out once, by the stage `models`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import write_json
from pipeline.config.text import TemplateChoice
from pipeline.errors import MissingArtifactError, ModelError
from pipeline.models.start import shared_id
from pipeline.text.template import PLAIN, JinjaTemplate, RoleTemplate, Template, Turn, messages
from pipeline.text.tokens import special_strings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEMPLATE_FILE = "template.json"
ROLES = ("system", "user", "assistant")
CONTENTS = (
    ("Be brief, please.", "What is 2 + 2?", "It is 4.", "Why?", "Because I SAY so."),
    ("Ein\n\nTEXT", "x = {'a': 1}\n  y  = 2", "<b>Füße</b> &amp; {{ x }}", "1", "日本語 🙂"),
    (" \tinside white space \n", "\n\nlines\n", "  kept  ", "\n.", " end\n\n"),
)
"""Contents of turns that a template is tried with: plain, odd, and with white space round them."""
NO_CLOCK = "{% set strftime_now = no_clock %}"
"""Jinja that leaves the function for the time of day undefined, as `no_clock` is."""
REMEDY = "set mix.template to plain, or to a prefix and a suffix for each role"


@dataclass(frozen=True)
class ChosenTemplate:
    """The template that `mix.template` stands for, as plain data.

    parts: role -> prefix and suffix; jinja: the chat template instead, rendered with the special
    tokens `tokens` of the IT model; trims: whether it takes white space round contents away
    roles: those it has; controls: the special tokens it writes, with the id that both models give
    them; openings: what it may write last before an assistant turn, without white space
    """

    parts: dict[str, tuple[str, str]] | None
    jinja: str | None
    tokens: dict[str, str]
    trims: bool
    roles: list[str]
    controls: dict[str, int]
    openings: list[str]

    def template(self, tokenizer: PreTrainedTokenizerFast) -> Template:
        """The template at work; `tokenizer` lends its Jinja, whatever template it has itself."""
        if self.jinja is None:
            assert self.parts is not None
            parts = {role: (prefix, suffix) for role, (prefix, suffix) in self.parts.items()}
            return PLAIN if parts == PLAIN.parts else RoleTemplate(parts)
        render = renderer(tokenizer, self.jinja, self.tokens)
        return JinjaTemplate(render, frozenset(self.roles), self.trims)

    def __str__(self) -> str:
        kind = "the IT model's chat template" if self.jinja else f"for {', '.join(self.roles)}"
        return f"{kind}, white space round contents taken away" if self.trims else kind


def choose_template(
    choice: TemplateChoice, base: PreTrainedTokenizerFast, it: PreTrainedTokenizerFast
) -> ChosenTemplate:
    """The template for `mix.template`, tried out.

    Raises ModelError where the IT model has no chat template, where it alters contents by more than
    the white space round them, and where the two models give a special token of it other ids.
    """
    if choice == "chat_template":
        jinja, tokens = jinja_of(it), special_tokens(it)
        template = tried(renderer(it, jinja, tokens))
        parts, trims = None, template.trims
    else:
        plain = choice == "plain"
        parts = dict(PLAIN.parts) if plain else {r: (t.prefix, t.suffix) for r, t in choice.items()}
        template, jinja, tokens, trims = RoleTemplate(parts, not plain), None, {}, False
    probed = [piece for turns in _probes(template) for piece in template.write(turns).pieces]
    written = [text for text, is_template in probed if is_template]
    return ChosenTemplate(
        parts=parts,
        jinja=jinja,
        tokens=tokens,
        trims=trims,
        roles=[role for role in ROLES if role in template.roles],
        controls=_controls("".join(written), base, it) if template.controls else {},
        openings=_openings(template),
    )


def jinja_of(it: PreTrainedTokenizerFast) -> str:
    """The chat template that a tokenizer carries; the one named default where it has several."""
    found = it.chat_template
    jinja = found.get("default") if isinstance(found, dict) else found
    if not jinja:
        raise ModelError(
            "mix.template is chat_template, but the tokenizer of the IT model has none: "
            f"{REMEDY}, or name a model whose folder has chat_template.jinja"
        )
    return jinja


def special_tokens(it: PreTrainedTokenizerFast) -> dict[str, str]:
    """Role of a special token -> the token, as chat templates may ask for them."""
    return {name: str(token) for name, token in it.special_tokens_map.items()}


def renderer(
    tokenizer: PreTrainedTokenizerFast, jinja: str, tokens: Mapping[str, str]
) -> Callable[[list[dict[str, str]]], str]:
    """Renders a chat template as the tokenizer of the IT model does, less the BOS at its start,
    because sequences have a start of their own, and without a clock, because a text must be the
    same tomorrow."""
    bos = tokens.get("bos_token", "")
    asked: dict[str, Any] = dict(tokens)

    def render(conversation: list[dict[str, str]]) -> str:
        text = tokenizer.apply_chat_template(
            conversation,
            chat_template=NO_CLOCK + jinja,
            tokenize=False,
            **asked,
        )
        return str(text).removeprefix(bos)

    return render


def tried(render: Callable[[list[dict[str, str]]], str]) -> JinjaTemplate:
    """The template with the most that works: with system turns, and without trimming contents."""
    attempts = [
        JinjaTemplate(render, frozenset(roles), trims)
        for roles in (ROLES, ROLES[1:])
        for trims in (False, True)
    ]
    for template in attempts:
        if all(template.write(turns).pieces for turns in _probes(template)):
            return template
    raise ModelError(
        f"mix.template is chat_template, but the chat template of the IT model {_altered(render)}: "
        f"{REMEDY}"
    )


def _probes(template: Template) -> list[list[Turn]]:
    """Conversations of the template's roles."""
    roles = ("system", "user", "assistant", "user", "assistant")
    conversations = [zip(roles, contents, strict=True) for contents in CONTENTS]
    return [[turn for turn in turns if turn[0] in template.roles] for turns in conversations]


def _openings(template: Template) -> list[str]:
    """What stands last before assistant turns and not before others, without white space."""
    before: dict[str, set[str]] = {role: set() for role in ROLES}
    for turns in _probes(template):
        text, at = "", 0
        for piece, is_template in template.write(turns).pieces:
            if is_template:
                text += piece
            else:
                before[turns[at][0]].add("".join(text.split()))
                text, at = "", at + 1
    others = before["user"] | before["system"]
    return sorted(o for o in before["assistant"] if o and not any(u.endswith(o) for u in others))


def _controls(
    written: str, base: PreTrainedTokenizerFast, it: PreTrainedTokenizerFast
) -> dict[str, int]:
    """The special tokens of either model in what a template writes, with their one id."""
    known = {*special_strings(base), *special_strings(it)}
    return {
        token: shared_id(token, base, it, "mix.template=plain")
        for token in sorted(known)
        if token and token in written
    }


def _altered(render: Callable[[list[dict[str, str]]], str]) -> str:
    """What a template does to the contents of ordinary turns, in words."""
    turns: list[Turn] = [("user", "Say HELLO, please."), ("assistant", "Hello there.")] * 2
    try:
        text = render(messages(turns))
    except Exception as error:  # a template can raise anything
        return f"cannot be rendered ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
    for role, content in turns:
        if content.lower() not in text.lower():
            return f"leaves out the {role}'s turn {content!r}, or parts of it"
        if content not in text:
            at = text.lower().index(content.lower())
            return f"writes {text[at : at + len(content)]!r} for {content!r}"
    return "alters contents beyond the white space round them, or drops or repeats some turns"


def write_template(models_dir: Path, chosen: ChosenTemplate) -> None:
    """Write `template.json`."""
    write_json(models_dir / TEMPLATE_FILE, asdict(chosen))


def read_template(models_dir: Path) -> ChosenTemplate:
    """What the models stage decided; MissingArtifactError where it has not run."""
    path = models_dir / TEMPLATE_FILE
    if not path.is_file():
        raise MissingArtifactError(f"{path} not found: run `dvc repro models`")
    return ChosenTemplate(**json.loads(path.read_text()))
