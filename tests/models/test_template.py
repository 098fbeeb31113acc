"""Chat templates of several families, written here in their style, on a small tokenizer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from pipeline.config.text import RoleText
from pipeline.errors import ModelError
from pipeline.labels import TEMPLATE
from pipeline.models.template import (
    ChosenTemplate,
    choose_template,
    read_template,
    write_template,
)
from pipeline.text.template import Document, Dropped, Template, render_chat
from pipeline.text.tokens import encode_documents, special_strings, train_tokenizer

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe helpful.<|im_end|>\n{% endif %}"
    + CHATML
)
LLAMA_3 = (
    "{{ bos_token }}{% if strftime_now is defined %}{% set day = strftime_now('%d') %}{% else %}"
    "{% set day = '26 Jul 2024' %}{% endif %}Today: {{ day }}\n{% for m in messages %}"
    "<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>"
    "{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('no system turns') }}{% endif %}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns') }}"
    "{% endif %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% set first = messages[0]['role'] == 'system' %}"
    "{% for m in messages[(1 if first else 0):] %}{% if m['role'] == 'user' %}[INST] "
    "{% if first and loop.first %}{{ messages[0]['content'] + '\n\n' }}{% endif %}"
    "{{ m['content'] }}[/INST]{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}"
    "{% if loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m['content'].split('</think>')[-1] }}{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n"
    "{% endfor %}"
)
FAMILIES = {
    "chatml": CHATML,
    "default_system": DEFAULT_SYSTEM,
    "llama_3": LLAMA_3,
    "gemma": GEMMA,
    "mistral": MISTRAL,
    "thinking": THINKING,
}
CONTROLS = (
    *("<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]"),
)
ROLES = {
    "user": {"prefix": "<|im_start|>me\n", "suffix": "<|im_end|>"},
    "assistant": {"prefix": "<|im_start|>you\n", "suffix": "<|im_end|>\n"},
}
SCRAPS = st.lists(
    st.sampled_from(
        [
            "a",
            " ",
            "\n",
            "Hi you",
            "é🙂",
            "</s>",
            "<eos>",
            "user\n",
            "User: ",
            "model",
            "{{ x }}",
            *CONTROLS,
        ]
    ),
    min_size=1,
    max_size=6,
).map("".join)
CONTENTS = st.one_of(st.text(max_size=8), SCRAPS).filter(lambda content: content.strip())


@pytest.fixture(scope="module")
def reader() -> PreTrainedTokenizerFast:
    texts = ["user assistant system model hello there Today: me you", "Be helpful. a stone\n\n"]
    tokenizer = train_tokenizer(texts, 320)
    tokenizer.add_special_tokens({"additional_special_tokens": list(CONTROLS)})
    return tokenizer


@pytest.fixture(scope="module")
def chosen(reader: PreTrainedTokenizerFast) -> Callable[[str], Template]:
    templates = {name: _with(reader, jinja) for name, jinja in FAMILIES.items()}
    return lambda name: templates[name].template(reader)


def _with(reader: PreTrainedTokenizerFast, jinja: str) -> ChosenTemplate:
    reader.chat_template = jinja
    return choose_template("chat_template", reader, reader)


def conversation(*contents: str) -> list[dict[str, Any]]:
    roles = ("user", "assistant") * len(contents)
    return [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(FAMILIES)),
    contents=st.lists(CONTENTS, min_size=1, max_size=4),
    system=st.none() | CONTENTS,
)
def test_the_template_is_told_from_contents_that_repeat_it_to_the_character(
    reader: PreTrainedTokenizerFast,
    chosen: Callable[[str], Template],
    name: str,
    contents: list[str],
    system: str | None,
) -> None:
    template = chosen(name)
    turns = conversation(*contents)
    if system is not None:
        turns.insert(0, {"role": "system", "content": system})
    rendered = render_chat(0, turns, "here", template)
    if isinstance(rendered, Dropped):
        assert name == "thinking"
        assert rendered.dropped["altered_conversations"] == 1
        return
    inside = of_template(rendered)
    pairs = list(zip(rendered.text, inside, strict=True))
    content = "".join(c for c, is_template in pairs if not is_template)
    trims = name in ("llama_3", "gemma")
    kept = [t["content"] for t in turns if t["role"] in template.roles]
    expected = "".join(c.strip() if trims else c for c in kept)
    assert content == expected.replace("\ufdd0", "\ufffd")
    assert rendered.dropped["system_turns"] == (name == "gemma" and system is not None)
    (encoded,) = encode_documents(reader, [rendered])
    is_control = [i in control_ids(reader) for i in encoded.token_ids]
    written = "".join(c for c, is_template in pairs if is_template)
    assert sum(is_control) == sum(written.count(control) for control in all_controls(reader))
    assert (encoded.token_class[is_control] == TEMPLATE).all()
    decoded = str(reader.decode(encoded.token_ids))
    assert decoded.replace("\ufffd", "") == rendered.text.replace("\ufffd", "")


def of_template(document: Document) -> list[bool]:
    """Whether each character is the template's."""
    inside = [False] * len(document.text)
    for start, stop in document.template_spans:
        inside[start:stop] = [True] * (stop - start)
    return inside


def all_controls(reader: PreTrainedTokenizerFast) -> list[str]:
    return special_strings(reader)


def control_ids(reader: PreTrainedTokenizerFast) -> set[int]:
    vocabulary = reader.get_vocab()
    return {vocabulary[token] for token in all_controls(reader)}


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_conversation_has_the_tokens_that_the_tokenizer_gives_the_rendered_text(
    reader: PreTrainedTokenizerFast, chosen: Callable[[str], Template], name: str
) -> None:
    turns = conversation("Hello there", "a stone\n\nuser", "Hi", "\u00e9 <b>")
    rendered = render_chat(0, turns, "here", chosen(name))
    assert isinstance(rendered, Document)
    (encoded,) = encode_documents(reader, [rendered])
    whole = reader(rendered.text, add_special_tokens=False)["input_ids"]
    assert encoded.token_ids.tolist() == whole
    assert encoded.special_token_strings == 0
    assert not rendered.text.startswith("<bos>")


@pytest.mark.parametrize(
    ("filter_", "words"),
    [
        ("m['content'] | lower", ["writes 'say hello, please.'", "'Say HELLO, please.'"]),
        ("m['content'][:3]", ["leaves out the user's turn"]),
        ("m['content'] | replace(' ', '')", ["leaves out"]),
        ("m['content'] + m['content']", ["alters contents"]),
        ("'' if loop.first else m['content']", ["leaves out", "or drops"]),
        ("raise_exception('never')", ["cannot be rendered", "never"]),
    ],
)
def test_a_template_that_alters_contents_is_refused_with_what_it_does(
    reader: PreTrainedTokenizerFast, filter_: str, words: list[str]
) -> None:
    reader.chat_template = f"{{% for m in messages %}}<|im_start|>{{{{ {filter_} }}}}{{% endfor %}}"
    with pytest.raises(ModelError, match=r"mix\.template") as refused:
        choose_template("chat_template", reader, reader)
    assert any(word in str(refused.value) for word in words)


def test_a_tokenizer_without_a_template_and_a_token_of_one_model_alone_are_refused(
    reader: PreTrainedTokenizerFast,
) -> None:
    reader.chat_template = None
    with pytest.raises(ModelError, match="has none"):
        choose_template("chat_template", reader, reader)
    base = train_tokenizer(["hello"], 300)
    parts: Any = {role: RoleText(**values) for role, values in ROLES.items()}
    with pytest.raises(ModelError, match=r"'<\|im_end\|>' has no id for the base model"):
        choose_template(parts, base, reader)


def test_roles_of_the_configuration_write_control_tokens_that_contents_cannot(
    reader: PreTrainedTokenizerFast,
) -> None:
    parts: Any = {role: RoleText(**values) for role, values in ROLES.items()}
    found = choose_template(parts, reader, reader)
    rendered = render_chat(0, conversation("Hi<|im_end|>", "a"), "here", found.template(reader))
    assert isinstance(rendered, Document)
    (encoded,) = encode_documents(reader, [rendered])
    end = reader.get_vocab()["<|im_end|>"]
    assert (encoded.token_ids == end).sum() == 2
    assert encoded.special_token_strings == 1
    assert set(found.controls) == {"<|im_start|>", "<|im_end|>"}
    assert found.openings == ["<|im_end|><|im_start|>you"]


def test_a_reader_finds_the_template_that_was_chosen(
    reader: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    plain = choose_template("plain", reader, reader)
    write_template(tmp_path, plain)
    assert read_template(tmp_path).template(reader) == plain.template(reader)
    assert plain.openings == ["Assistant:"]
    assert plain.controls == {}
