"""What is asked of a local model, which may be too small to keep to any form.

Nothing is asked for but plain text: the first sentence that the model writes is the explanation,
and what it judges is read off its probabilities. An excerpt that gives orders can move these, and
gets nothing else into the results.
"""

import re
from collections.abc import Sequence

from pipeline.analysis.explain.asking import Messages, one_line, sentence_of

BEGUN = "The marked words"
"""How the sentence begins: left to themselves, small models greet or repeat the excerpts."""
YES, NO = ("Yes", " Yes", "yes", " yes"), ("No", " No", "no", " no")
SENTENCE = re.compile(r"(.+?[.!?])(\s|$)", re.DOTALL)


def explain_messages(excerpts: Sequence[str], promoted: Sequence[str]) -> Messages:
    """The request for a sentence, which is begun. promoted: tokens that the direction promotes

    Excerpts are put on one line each, so that none looks like the next one or like the question.
    """
    texts = "\n".join(f"- {text}" for text in map(one_line, excerpts))
    likelier = f"\nWords made likelier: {one_line(', '.join(promoted))}" if promoted else ""
    asked = (
        f"In each of these texts one word is marked by << and >>.\n{texts}{likelier}\n"
        "Say in one short sentence what the marked words have in common."
    )
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": BEGUN}]


def judge_messages(sentence: str, excerpt: str) -> Messages:
    """The question whether the sentence holds of the marked word of an excerpt."""
    asked = (
        f"Text: {one_line(excerpt)}\n"
        f"Statement about the word marked by << and >>: {sentence}\n"
        "Is the statement true of it? Answer yes or no."
    )
    return [{"role": "user", "content": asked}]


def first_sentence(answer: str) -> str | None:
    """The first sentence of an answer, or its first line where that has no end; None for none."""
    line = next((line for line in answer.splitlines() if line.strip()), "")
    found = SENTENCE.match(line)
    return sentence_of(found[1] if found else line)
