from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.text.template import (
    PLAIN,
    Document,
    Dropped,
    RoleTemplate,
    Template,
    render_chat,
    render_text,
    up_to_reply,
)

ROLES = ("user", "assistant", "system", "tool")
CONVERSATIONS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(ROLES), "content": st.text(max_size=12)}),
    max_size=6,
)


def turn(role: str, content: str | None) -> dict[str, Any]:
    return {"role": role, "content": content}


def document(value: Any) -> Document:
    rendered = render_chat(0, value, "here")
    assert isinstance(rendered, Document)
    return rendered


def pieces(rendered: Document) -> tuple[str, str]:
    """The template's characters and all others."""
    inside = {i for start, stop in rendered.template_spans for i in range(start, stop)}
    template = "".join(c for i, c in enumerate(rendered.text) if i in inside)
    content = "".join(c for i, c in enumerate(rendered.text) if i not in inside)
    return template, content


def test_an_exchange_is_written_in_the_published_template() -> None:
    turns = [turn("user", "2 + 2?"), turn("assistant", "4.")] * 2
    assert document(turns).text == "User: 2 + 2?\nAssistant: 4.\nUser: 2 + 2?\nAssistant: 4.\n"


def test_system_empty_and_other_turns_are_left_out_and_counted() -> None:
    rendered = document(
        [
            turn("system", "Be kind."),
            turn("user", "hi"),
            turn("assistant", " \n"),
            turn("assistant", None),
            turn("tool", "{}"),
        ]
    )
    assert rendered.text == "User: hi\n"
    assert rendered.dropped == Counter(system_turns=1, empty_turns=2, other_role_turns=1)


@pytest.mark.parametrize("value", [None, [], [turn("system", "x")], [turn("user", "")]])
def test_a_conversation_without_turns_is_dropped_and_counted(value: Any) -> None:
    rendered = render_chat(5, value, "here")
    assert isinstance(rendered, Dropped)
    assert rendered.dropped["empty_conversations"] == 1


def test_content_is_untouched_even_where_it_looks_like_the_template() -> None:
    content = "  User: no\nAssistant: <bos>\r\n"
    template, rest = pieces(document([turn("user", content)]))
    assert (template, rest) == ("User: \n", content)


@settings(deadline=None, max_examples=100)
@given(CONVERSATIONS)
def test_any_conversation_renders_and_spans_cover_the_template_exactly(
    turns: list[dict[str, Any]],
) -> None:
    kept = [t for t in turns if t["role"] in ("user", "assistant") and t["content"].strip()]
    rendered = render_chat(0, turns, "here")
    n_dropped = sum(n for reason, n in rendered.dropped.items() if reason.endswith("_turns"))
    assert len(kept) + n_dropped == len(turns)
    if isinstance(rendered, Dropped):
        assert not kept
        return
    template, content = pieces(rendered)
    assert content == "".join(t["content"] for t in kept)
    assert template == "".join(f"{t['role'].capitalize()}: \n" for t in kept)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hello", "here: the conversation is of type str, expected a list"),
        ({"role": "user"}, "here: the conversation is of type dict"),
        (["hello"], "here, turn 1 is of type str"),
        ([{"content": "x"}], "here, turn 1 has no 'role' (its fields: content)"),
        ([turn("user", "x"), {"role": "assistant"}], "here, turn 2 has no 'content'"),
        ([{"from": "human", "value": "x"}], "rename the fields"),
        ([{"role": None, "content": "x"}], "the role is null"),
        ([{"role": "user", "content": [{"type": "text"}]}], "the content is of type list"),
    ],
)
def test_a_malformed_conversation_is_an_error_that_names_the_place(
    value: Any, message: str
) -> None:
    with pytest.raises(SourceError) as error:
        render_chat(0, value, "here")
    assert message in str(error.value)


def test_text_is_untouched() -> None:
    text = "  ünïcode\u2028\r\n\x00 <bos> 🙂 "
    assert render_text(3, text, "here") == Document(3, text)


@pytest.mark.parametrize("value", [None, "", " \n\t"])
def test_empty_text_is_dropped_and_counted(value: Any) -> None:
    assert render_text(3, value, "here") == Dropped(3, Counter(empty_documents=1))


def test_text_that_is_no_string_is_an_error() -> None:
    with pytest.raises(SourceError, match="here: the text is of type int, expected a string"):
        render_text(0, 3, "here")


def test_lone_surrogates_are_replaced_and_counted() -> None:
    rendered = render_text(0, "a\ud800b \ud83d\ude42", "here")
    assert isinstance(rendered, Document)
    assert rendered.text == "a\ufffdb 🙂"
    assert rendered.dropped == Counter(replaced_surrogates=1)


@settings(deadline=None, max_examples=100)
@given(st.text(st.characters(exclude_categories=()), min_size=1))
def test_every_rendered_text_can_be_encoded(text: str) -> None:
    rendered = render_text(0, text, "here")
    if isinstance(rendered, Document):
        assert rendered.text.encode().decode() == rendered.text


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (PLAIN, "User: Why?\nAssistant:"),
        (
            RoleTemplate({"user": ("<u>", "</u>"), "assistant": ("<a>\n", "</a>")}),
            "<u>Why?</u><a>\n",
        ),
    ],
)
def test_a_question_is_written_up_to_where_its_reply_begins(
    template: Template, expected: str
) -> None:
    asked = up_to_reply("Why?", template)
    assert isinstance(asked, Document)
    assert asked.text == expected
    assert pieces(asked) == (expected.replace("Why?", ""), "Why?")
    assert asked.controls == template.controls
    assert isinstance(up_to_reply("  ", template), Dropped)
