"""Tokens of documents, each with its class, and the tokenizer of models trained here."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.labels import OTHER, TEMPLATE
from pipeline.text.template import UNWRITTEN, Document

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

BOS, EOS, PAD = "<bos>", "<eos>", "<pad>"
WIDE_SPACES = np.array([0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000], np.uint32)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Tokens of one document: token_ids int32 [token], token_class uint8 [token].

    special_token_strings: how often the text spells a special token (each became plain text)
    """

    token_ids: NDArray[np.int32]
    token_class: NDArray[np.uint8]
    special_token_strings: int


def encode(
    tokenizer: "PreTrainedTokenizerBase", document: Document
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """(token_ids int32 [token], token_class uint8 [token]); see encode_documents."""
    (encoded,) = encode_documents(tokenizer, [document])
    return encoded.token_ids, encoded.token_class


def encode_documents(
    tokenizer: "PreTrainedTokenizerBase", documents: Sequence[Document]
) -> list[Encoded]:
    """Tokens of each document, as of its plain text: nothing added, and nothing special but the
    control tokens that its template wrote.

    A document that spells `<bos>` or `<|im_end|>` gets the tokens of those characters, never the
    special token: untrusted text cannot forge a BOS or the end of a turn. Raises ModelError for a
    tokenizer that makes special tokens of them none the less.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"tokenizer {tokenizer.name_or_path!r} has no tokenizer.json, which gives each token "
            "its characters: save the model's folder with a fast tokenizer"
        )
    plain = _as_text(tokenizer, backend, [d for d in documents if not d.controls])
    controlled = _with_controls(tokenizer, backend, [d for d in documents if d.controls])
    ready = {False: iter(plain), True: iter(controlled)}
    return [next(ready[document.controls]) for document in documents]


def _as_text(
    tokenizer: "PreTrainedTokenizerBase", backend: Any, documents: Sequence[Document]
) -> list[Encoded]:
    """Tokens of documents in which nothing is special."""
    if not documents:
        return []
    # Offsets cost time and only the template needs them.
    templated = any(d.template_spans for d in documents)
    encodings = _encode_as_text(backend, [d.text for d in documents], offsets=templated)
    forged = _forgeable(tokenizer)
    spelled = [n for n, found in enumerate(encodings) if not forged.keys().isdisjoint(found.ids)]
    if spelled:
        # WordLevel and Unigram look the characters up in their vocabulary, which holds `<s>` too.
        plain = _without(backend, tuple(forged.values()))
        again = _encode_as_text(plain, [documents[n].text for n in spelled], offsets=templated)
        for n, encoding in zip(spelled, again, strict=True):
            _refuse_forged(tokenizer, forged, encoding.ids)
            encodings[n] = encoding
    pattern = _special_pattern(tuple(special_strings(tokenizer)))
    return [
        Encoded(
            np.array(encoding.ids, np.int32),
            _token_class(document, encoding.offsets)
            if document.template_spans
            else np.full(len(encoding.ids), OTHER, np.uint8),
            len(pattern.findall(document.text)) if pattern else 0,
        )
        for document, encoding in zip(documents, encodings, strict=True)
    ]


def _with_controls(
    tokenizer: "PreTrainedTokenizerBase", backend: Any, documents: Sequence[Document]
) -> list[Encoded]:
    """Tokens of documents whose template writes special tokens.

    A copy of the tokenizer knows the special tokens by names that no text has. Where the template
    wrote one, its name is put in, so that the copy finds these and no others, and everything else
    is tokenized in its place, as the tokenizer does with a whole conversation.
    """
    if not documents:
        return []
    strings = tuple(_forgeable(tokenizer).values())
    pattern, names = _special_pattern(strings), _names(strings)
    named = [_renamed(document, pattern, names) for document in documents]
    plain = _without(backend, strings)
    plain.no_truncation()
    plain.no_padding()
    texts = [document.text for document in named]
    try:
        encodings = plain.encode_batch(texts, add_special_tokens=False)
    except Exception as error:  # all that the library raises
        raise ModelError(
            f"the tokenizer cannot read a text ({error}): name models with another tokenizer"
        ) from error
    return [
        Encoded(
            np.array(encoding.ids, np.int32),
            _token_class(document, encoding.offsets),
            len(pattern.findall(document.text)) if pattern else 0,
        )
        for document, encoding in zip(named, encodings, strict=True)
    ]


def _renamed(
    document: Document, pattern: "re.Pattern[str] | None", names: Mapping[str, str]
) -> Document:
    """The document with the special tokens of its template by these names."""
    if pattern is None:
        return document
    text, spans, at = [], [], 0
    length = 0
    for start, stop in document.template_spans:
        between = document.text[at:start]
        written = pattern.sub(lambda found: names[found[0]], document.text[start:stop])
        length += len(between)
        spans.append((length, length + len(written)))
        length += len(written)
        text += [between, written]
        at = stop
    return replace(document, text="".join([*text, document.text[at:]]), template_spans=spans)


def _names(strings: Sequence[str]) -> dict[str, str]:
    """String -> a name of its own that no text has."""
    return {string: f"{UNWRITTEN}{n}{UNWRITTEN}" for n, string in enumerate(strings)}


def _encode_as_text(backend: Any, texts: Sequence[str], *, offsets: bool) -> list[Any]:
    """The encodings of texts in which no added special token is looked for."""
    backend.no_truncation()
    backend.no_padding()
    before = backend.encode_special_tokens
    backend.encode_special_tokens = True
    try:
        encode_all = backend.encode_batch if offsets else backend.encode_batch_fast
        return list(encode_all(list(texts), add_special_tokens=False))
    except Exception as error:  # all that the library raises
        raise ModelError(
            f"the tokenizer cannot read a text ({error}): name models with another tokenizer"
        ) from error
    finally:
        backend.encode_special_tokens = before


def _forgeable(tokenizer: "PreTrainedTokenizerBase") -> dict[int, str]:
    """Id -> string of the special tokens that no text may become.

    Unknown text becomes `unk` rightly, and a single character, such as a PAD that is `!`, is text
    of its own.
    """
    strings = [s for s in special_strings(tokenizer) if len(s) > 1 and s != tokenizer.unk_token]
    ids: Any = tokenizer.convert_tokens_to_ids(strings)
    return {i: s for i, s in zip(ids, strings, strict=True) if i != tokenizer.unk_token_id}


@lru_cache(maxsize=8)
def _without(backend: Any, strings: tuple[str, ...]) -> Any:
    """A copy of a tokenizer in which these strings are named by characters that no text has, so
    that every other id and every other merge stays."""
    from tokenizers import Tokenizer

    name = _names(strings)
    plain = json.loads(backend.to_str())
    model = plain["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {name.get(token, token): i for token, i in model["vocab"].items()}
    else:  # Unigram keeps pairs of piece and score in the order of their ids
        model["vocab"] = [[name.get(piece, piece), score] for piece, score in model["vocab"]]
    if "merges" in model:
        model["merges"] = [m for m in model["merges"] if not _makes(m, name)]
    for added in plain["added_tokens"]:
        added["content"] = name.get(added["content"], added["content"])
    return Tokenizer.from_str(json.dumps(plain))


def _makes(merge: "str | list[str]", strings: Mapping[str, str]) -> bool:
    """Whether a merge of a BPE needs or makes one of these strings."""
    parts = merge.split(" ") if isinstance(merge, str) else merge
    return any(part in strings for part in (*parts, "".join(parts)))


def _refuse_forged(
    tokenizer: "PreTrainedTokenizerBase", forged: Mapping[int, str], ids: Sequence[int]
) -> None:
    found = sorted(forged[i] for i in set(ids) & forged.keys())
    if found:
        raise ModelError(
            f"tokenizer {tokenizer.name_or_path!r} makes the special token {found[0]!r} of plain "
            "text, which would let a document forge it: name models with another tokenizer"
        )


def special_strings(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Every string that the tokenizer would turn into a special token."""
    added = (t.content for t in tokenizer.added_tokens_decoder.values() if t.special)
    return sorted({*tokenizer.all_special_tokens, *added})


def eos_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Id of the EOS token. Raises ModelError where the tokenizer has none."""
    value: Any = tokenizer.eos_token_id
    if value is None:
        raise ModelError(
            f"tokenizer {tokenizer.name_or_path!r} has no eos_token, expected one because it "
            "separates documents: set eos_token in its tokenizer_config.json, or mix.separator=none"
        )
    return int(value)


@lru_cache(maxsize=8)
def _special_pattern(strings: tuple[str, ...]) -> re.Pattern[str] | None:
    longest_first = sorted(filter(None, strings), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _token_class(document: Document, offsets: list[tuple[int, int]]) -> NDArray[np.uint8]:
    """uint8 [token]: TEMPLATE where a character of the token that is no space is the template's,
    or, for a token of spaces, where any is.

    Tokenizers join the space after `User:` to the first word of the turn; that word is content.
    """
    spaces = _is_space(document.text)
    template = np.zeros(len(document.text), bool)
    for start, stop in document.template_spans:
        template[start:stop] = True
    starts, stops = _character_ranges(offsets, len(document.text))
    n_words = _in_ranges(~spaces, starts, stops)
    n_template = _in_ranges(template, starts, stops)
    n_template_words = _in_ranges(template & ~spaces, starts, stops)
    is_template = np.where(n_words > 0, n_template_words > 0, n_template > 0)
    return np.where(is_template, TEMPLATE, OTHER).astype(np.uint8)


def _character_ranges(
    offsets: list[tuple[int, int]], n_characters: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Character range of each token, with the spaces that some tokenizers trim put back."""
    ranges = np.array(offsets, np.int64).reshape(-1, 2)
    starts, stops = ranges[:, 0], np.maximum.accumulate(ranges[:, 1])
    starts = np.minimum(starts, np.concatenate(([0], stops[:-1])))
    starts = np.minimum(starts, max(n_characters - 1, 0))
    return starts, np.maximum(stops, starts + 1)


def _in_ranges(
    marks: NDArray[np.bool_], starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> NDArray[np.int64]:
    total = np.concatenate(([0], np.cumsum(marks)))
    return total[stops] - total[starts]


def _is_space(text: str) -> NDArray[np.bool_]:
    """bool [character]: Python's str.isspace, for a whole text at once."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    low = ((codes >= 9) & (codes <= 13)) | ((codes >= 28) & (codes <= 32))
    wide = ((codes >= 0x2000) & (codes <= 0x200A)) | np.isin(codes, WIDE_SPACES)
    return low | wide


def count_specials(encoded: Encoded) -> Counter[str]:
    """The special-token strings of a document as a counter."""
    n = encoded.special_token_strings
    return Counter(special_token_strings=n) if n else Counter()


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> "PreTrainedTokenizerFast":
    """A byte-level BPE of at most `vocab_size` tokens, the same for the same texts.

    <pad>, <bos> and <eos> are tokens 0, 1 and 2. Digits are tokens of their own, so that numbers
    are read digit by digit. `tokenizer(text)` puts <bos> first, as Gemma's and Llama's do.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )
