"""The text of single tokens, so that joined they read as the text they were cut from."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

UNFINISHED = "\ufffd"
"""What a decoder writes for bytes that are no whole character."""
MAX_TOKENS = 4
"""Bytes of the longest character in UTF-8, and so the most tokens that one can have."""


class Pieces:
    """Token id -> its text, remembered. A character of several tokens goes to the last of them; one
    that the window cuts does not disturb its neighbours."""

    def __init__(self, tokenizer: "PreTrainedTokenizerFast") -> None:
        self._tokenizer = tokenizer
        # Some tokenizers drop the space of a first token: each is decoded behind another one.
        self._anchor: list[int] = tokenizer.encode("a", add_special_tokens=False)[:1]
        self._before = self._decode(self._anchor)
        self._known: dict[int, str] = {}

    def of(self, token_ids: Iterable[int]) -> list[str]:
        """The text of each token of a run of text, which may begin and end within a character."""
        ids = list(token_ids)
        texts = [self._piece(token_id) for token_id in ids]
        at = 0
        while at < len(ids):
            stop = at
            while stop < len(ids) and UNFINISHED in texts[stop]:
                stop += 1
            texts[at:stop] = self._characters(ids[at:stop])
            at = max(stop, at + 1)
        return texts

    def _characters(self, ids: list[int]) -> list[str]:
        """The texts of tokens that are no whole characters by themselves: each character on its
        last token, and of one that was cut a single UNFINISHED."""
        texts: list[str] = []
        while len(texts) < len(ids):
            found = self._whole(ids[len(texts) :])
            if not found:
                if texts and texts[-1] == UNFINISHED:
                    texts[-1] = ""
                found = [UNFINISHED]
            texts += found
        return texts

    def _whole(self, ids: list[int]) -> list[str]:
        """The texts of the first tokens, as far as the first that ends where a character ends;
        none where no character begins with the first token.

        Prefixes are decoded one token longer each time. A token may end one character and begin
        another, so what a prefix shows before its unfinished end is told at once, and the next
        prefix goes on from there.
        """
        texts, told = [], 0
        for n in range(1, len(ids) + 1):
            text = self._after_anchor(ids[:n])
            if n >= MAX_TOKENS and text.startswith(UNFINISHED):
                return []
            whole = "" if text.startswith(UNFINISHED) else text.rstrip(UNFINISHED)
            texts.append(whole[told:])
            told = len(whole)
            if text and whole == text:
                return texts
        return [*texts[:-1], texts[-1] + UNFINISHED] if told else []

    def single(self, token_id: int) -> str:
        """A token by itself; one that is no whole character under its name in the vocabulary."""
        text = self._piece(token_id)
        if UNFINISHED in text or not text:
            return str(self._tokenizer.convert_ids_to_tokens(token_id))
        return text

    def _piece(self, token_id: int) -> str:
        if token_id not in self._known:
            self._known[token_id] = self._after_anchor([token_id])
        return self._known[token_id]

    def _after_anchor(self, token_ids: list[int]) -> str:
        return self._decode([*self._anchor, *token_ids]).removeprefix(self._before)

    def _decode(self, token_ids: list[int]) -> str:
        return str(self._tokenizer.decode(token_ids, clean_up_tokenization_spaces=False))
