"""The text of single tokens, so that joined they read as the text they were cut from."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

UNFINISHED = "\ufffd"
"""What a decoder writes for bytes that are no whole character."""


class Pieces:
    """Token id -> its text, remembered. A character of several tokens goes to the last of them."""

    def __init__(self, tokenizer: "PreTrainedTokenizerFast") -> None:
        self._tokenizer = tokenizer
        # Some tokenizers drop the space of a first token: each is decoded behind another one.
        self._anchor: list[int] = tokenizer.encode("a", add_special_tokens=False)[:1]
        self._before = self._decode(self._anchor)
        self._known: dict[int, str] = {}

    def of(self, token_ids: Iterable[int]) -> list[str]:
        """The text of each token of a run of text."""
        ids = list(token_ids)
        texts = [self._piece(token_id) for token_id in ids]
        at = 0
        while at < len(ids):
            stop = at
            while stop < len(ids) and UNFINISHED in texts[stop]:
                stop += 1
            if stop - at > 1:
                whole = self._after_anchor(ids[at:stop])
                if UNFINISHED not in whole:
                    texts[at:stop] = ["" for _ in ids[at : stop - 1]] + [whole]
            at = max(stop, at + 1)
        return texts

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
