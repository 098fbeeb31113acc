"""The text of single tokens, so that joined they read as the text they were cut from."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

UNFINISHED = "\ufffd"
"""What a decoder writes for bytes that are no whole character. A text may also hold this sign."""

# A byte-level vocabulary writes the bytes of printable Latin-1 as those characters, and the others,
# in their order, as the characters from 256 on.
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in set(_PRINTABLE)]
BYTE_OF = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(256 + n): byte for n, byte in enumerate(_OTHERS)
}
BYTE_NAME = re.compile(r"<0x([0-9A-F]{2})>")
"""How vocabularies with byte fallback write a byte."""

BETWEEN = "\ud800"
"""Put between tokens while they are one string. No text that was decoded from bytes has it."""
STRAY = re.compile(f"[\udc80-\udcff](?:{BETWEEN}*[\udc80-\udcff])*")
"""Bytes of no whole character, as the error handler `surrogateescape` writes them."""


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
            texts[at:stop] = characters([self._bytes(token_id) for token_id in ids[at:stop]])
            at = max(stop, at + 1)
        return texts

    def single(self, token_id: int) -> str:
        """A token by itself; one that is no whole character under its name in the vocabulary."""
        text = self._piece(token_id)
        return self._name(token_id) if UNFINISHED in text or not text else text

    def _bytes(self, token_id: int) -> bytes:
        """What a token that is not whole characters, or holds the sign itself, stands for."""
        name = self._name(token_id)
        if found := BYTE_NAME.fullmatch(name):
            return bytes.fromhex(found[1])
        if BYTE_OF.keys() >= set(name):
            return bytes(BYTE_OF[sign] for sign in name)
        return self._piece(token_id).encode()

    def _name(self, token_id: int) -> str:
        return str(self._tokenizer.convert_ids_to_tokens(token_id))

    def _piece(self, token_id: int) -> str:
        if token_id not in self._known:
            text = self._decode([*self._anchor, token_id])
            self._known[token_id] = text.removeprefix(self._before)
        return self._known[token_id]

    def _decode(self, token_ids: list[int]) -> str:
        return str(self._tokenizer.decode(token_ids, clean_up_tokenization_spaces=False))


def characters(tokens: Sequence[bytes]) -> list[str]:
    """The text of tokens that are bytes of UTF-8: each character on the last of its tokens, and of
    one that was cut a single UNFINISHED."""
    texts, ends = [""] * len(tokens), list(accumulate(map(len, tokens)))
    at = 0
    for sign in b"".join(tokens).decode(errors="surrogateescape"):
        at += len(sign.encode(errors="surrogateescape"))
        texts[bisect_left(ends, at)] += sign
    told = STRAY.sub(lambda run: BETWEEN * run[0].count(BETWEEN) + UNFINISHED, BETWEEN.join(texts))
    return told.split(BETWEEN) if tokens else []
