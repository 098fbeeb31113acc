import numpy as np

from pipeline.analysis.causal.responses import NO_RESPONSE, response_positions

WORDS = ["<bos>", "User:", "Assistant:", "hello", "\n", " ", "<eos>"]
BOS, USER, ASSISTANT, HELLO, NEWLINE, SPACE, EOS = range(7)


def positions(token_id: list[int], token_class: list[int], document: list[int]) -> list[int]:
    ids, classes, documents = (np.array([values]) for values in (token_id, token_class, document))
    found = response_positions(
        ids, classes, documents, lambda ids: "".join(WORDS[i] for i in ids), ["Assistant:"]
    )
    return found[0].tolist()


def test_tokens_of_an_assistant_turn_are_numbered_from_its_first() -> None:
    ids = [BOS, USER, SPACE, HELLO, NEWLINE, ASSISTANT, SPACE, HELLO, HELLO, HELLO, NEWLINE, USER]
    template = [1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 1]
    found = positions(ids, template, [5] * 12)
    assert found == [-1] * 7 + [0, 1, 2] + [-1, -1]


def test_a_turn_that_began_before_the_sequence_is_not_counted() -> None:
    found = positions([BOS, HELLO, HELLO, NEWLINE, USER], [0, 0, 0, 1, 1], [5] * 5)
    assert set(found) == {NO_RESPONSE}


def test_the_next_document_does_not_go_on_with_the_turn() -> None:
    ids = [ASSISTANT, HELLO, HELLO, HELLO, HELLO]
    assert positions(ids, [1, 0, 0, 0, 0], [1, 1, 1, 2, 2]) == [-1, 0, 1, -1, -1]
    assert positions(ids, [1, 0, 0, 0, 0], [1, 2, 2, 2, 2]) == [-1] * 5


def test_a_user_who_writes_the_word_assistant_is_still_a_user() -> None:
    ids = [USER, ASSISTANT, HELLO, NEWLINE]
    assert positions(ids, [1, 0, 0, 1], [3] * 4) == [-1] * 4
