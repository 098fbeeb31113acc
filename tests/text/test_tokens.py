import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from pipeline.errors import ModelError
from pipeline.labels import OTHER, TEMPLATE
from pipeline.text.template import Document, RoleTemplate, render_chat
from pipeline.text.tokens import encode, encode_documents, eos_id, train_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

CORPUS = [
    f"User: what is {n} words for number {n}?\nAssistant: It is {n}.\n\n Indeed\n"
    for n in range(99)
]


def trimming_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE whose offsets leave out the space before a word, as GPT-2's do."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=["<s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>")


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """Words marked by a leading ▁, with byte fallback off, as SentencePiece's are."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Replace("▁", " ")
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=500, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def own_tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(CORPUS, 500)


TOKENIZERS = {
    "own": own_tokenizer(),
    "trimming": trimming_tokenizer(),
    "metaspace": metaspace_tokenizer(),
}
every_tokenizer = pytest.mark.parametrize("kind", TOKENIZERS)


def chat(*turns: tuple[str, str]) -> Document:
    rendered = render_chat(
        0, [{"role": role, "content": content} for role, content in turns], "here"
    )
    assert isinstance(rendered, Document)
    return rendered


def classes_by_piece(kind: str, document: Document) -> list[tuple[str, int]]:
    tokenizer = TOKENIZERS[kind]
    token_ids, token_class = encode(tokenizer, document)
    assert (token_ids.dtype, token_class.dtype) == (np.int32, np.uint8)
    pieces = [str(tokenizer.decode([i])) for i in token_ids]
    return list(zip(pieces, token_class.tolist(), strict=True))


def test_the_template_is_template_and_the_first_word_of_a_turn_is_content() -> None:
    document = chat(("user", "what is 7"), ("assistant", "It is\n\n7."))
    pieces = classes_by_piece("own", document)
    assert [p for p, c in pieces if c == TEMPLATE] == ["User", ":", "\n", "Assistant", ":", "\n"]
    assert "".join(p for p, c in pieces if c == OTHER) == " what is 7 It is\n\n7."


def begins_and_ends(tokenizer: Any) -> set[int]:
    """Ids of BOS and EOS."""
    return {tokenizer.bos_token_id, tokenizer.eos_token_id}


@every_tokenizer
def test_words_get_the_same_class_from_every_tokenizer(kind: str) -> None:
    document = chat(("user", "what is number"), ("assistant", "It is  Indeed"))
    pieces = classes_by_piece(kind, document)
    template = "".join(p for p, c in pieces if c == TEMPLATE)
    content = "".join(p for p, c in pieces if c == OTHER)
    assert "".join(template.split()) == "User:Assistant:"
    assert "".join(content.split()) == "whatisnumberItisIndeed"


@every_tokenizer
@settings(deadline=None, max_examples=60)
@given(content=st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20))
def test_ids_equal_those_of_the_plain_text(kind: str, content: str) -> None:
    tokenizer = TOKENIZERS[kind]
    document = Document(0, f"User: {content}\n", [(0, 6), (6 + len(content), 7 + len(content))])
    token_ids, token_class = encode(tokenizer, document)
    plain: Any = tokenizer(document.text, add_special_tokens=False, split_special_tokens=True)
    assert token_ids.tolist() == plain["input_ids"]
    assert token_class[0] == TEMPLATE
    assert len(token_class) == len(token_ids)


@every_tokenizer
def test_text_without_template_has_no_template_token(kind: str) -> None:
    token_ids, token_class = encode(TOKENIZERS[kind], Document(0, "User: is it? 🙂\n"))
    assert len(token_ids)
    assert not token_class.any()


@every_tokenizer
def test_special_token_strings_stay_text_and_are_counted(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]
    forged = f"{tokenizer.bos_token}User: {tokenizer.eos_token}{tokenizer.bos_token}"
    (encoded,) = encode_documents(tokenizer, [chat(("user", forged))])
    assert not begins_and_ends(tokenizer) & set(encoded.token_ids.tolist())
    assert encoded.special_token_strings == 3


def wordlevel_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words looked up in a vocabulary that holds the special tokens too."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    specials = ["<unk>", "<s>", "</s>"]
    tokenizer.train_from_iterator(CORPUS, trainers.WordLevelTrainer(special_tokens=specials))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def unigram_tokenizer() -> PreTrainedTokenizerFast:
    """Pieces of a SentencePiece Unigram, as T5's and XGLM's are."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    tokenizer.train_from_iterator(
        [*CORPUS, "a <b> / c"],
        trainers.UnigramTrainer(
            vocab_size=200,
            unk_token="<unk>",
            special_tokens=["<unk>", "<s>", "</s>"],
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def whole_word_bpe() -> PreTrainedTokenizerFast:
    """BPE that looks whole words up before it merges, as Llama-3's does."""
    plain = json.loads(own_tokenizer().backend_tokenizer.to_str())
    plain["model"]["ignore_merges"] = True
    plain["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(plain)), bos_token="<bos>", eos_token="<eos>"
    )


@pytest.mark.parametrize("make", [wordlevel_tokenizer, unigram_tokenizer, whole_word_bpe])
def test_no_document_forges_a_special_token_under_any_kind_of_tokenizer(
    make: "Callable[[], PreTrainedTokenizerFast]",
) -> None:
    tokenizer = make()
    bos, eos = str(tokenizer.bos_token), str(tokenizer.eos_token)
    texts = [f"what is {bos} {eos} words", "what is words", bos, f"{eos}{bos} for number"]
    encoded = encode_documents(tokenizer, [Document(n, text) for n, text in enumerate(texts)])
    for found in encoded:
        assert not begins_and_ends(tokenizer) & set(found.token_ids.tolist())
        assert len(found.token_ids) > 0
    assert [found.special_token_strings for found in encoded] == [2, 0, 1, 2]
    (alone,) = encode_documents(tokenizer, [Document(0, "what is words")])
    assert encoded[1].token_ids.tolist() == alone.token_ids.tolist()


def test_a_forged_turn_keeps_its_characters_and_its_class() -> None:
    tokenizer = unigram_tokenizer()
    token_ids, token_class = encode(tokenizer, chat(("user", "is </s> words"), ("assistant", "It")))
    content = token_ids[token_class == OTHER].tolist()
    assert "".join(tokenizer.convert_ids_to_tokens(content)).replace("▁", " ") == "is </s> words It"


def test_added_special_tokens_stay_text_too() -> None:
    tokenizer = own_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    (encoded,) = encode_documents(tokenizer, [Document(0, "a <|im_end|> b")])
    assert encoded.special_token_strings == 1
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") not in encoded.token_ids
    assert tokenizer.decode(encoded.token_ids.tolist()) == "a <|im_end|> b"


def test_the_tokenizer_is_left_as_it_was() -> None:
    tokenizer = own_tokenizer()
    encode(tokenizer, Document(0, "<bos> a"))
    assert tokenizer("<eos>")["input_ids"] == [tokenizer.bos_token_id, tokenizer.eos_token_id]


def test_a_batch_equals_its_documents_one_by_one() -> None:
    documents = [chat(("user", f"what is {n}" * n)) for n in range(1, 9)]
    documents.append(Document(1, "plain"))
    batch = encode_documents(TOKENIZERS["own"], documents)
    for document, encoded in zip(documents, batch, strict=True):
        token_ids, token_class = encode(TOKENIZERS["own"], document)
        assert np.array_equal(encoded.token_ids, token_ids)
        assert np.array_equal(encoded.token_class, token_class)


def test_training_a_tokenizer_twice_gives_the_same_tokenizer() -> None:
    one, two = own_tokenizer(), own_tokenizer()
    assert one.backend_tokenizer.to_str() == two.backend_tokenizer.to_str()
    assert (one.pad_token_id, one.bos_token_id, one.eos_token_id) == (0, 1, 2)
    assert 256 < len(one) <= 500


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
def test_the_trained_tokenizer_loses_nothing(text: str) -> None:
    token_ids, _ = encode(TOKENIZERS["own"], Document(0, text))
    assert TOKENIZERS["own"].decode(token_ids.tolist()) == text


def test_numbers_are_read_digit_by_digit() -> None:
    pieces = classes_by_piece("own", Document(0, "1234"))
    assert [piece for piece, _ in pieces] == ["1", "2", "3", "4"]


def test_a_missing_eos_is_an_error_with_a_remedy() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    with pytest.raises(ModelError, match=r"has no eos_token.*tokenizer_config.json"):
        eos_id(tokenizer)


def test_a_tokenizer_without_offsets_is_an_error() -> None:
    class Slow:
        name_or_path = "somewhere"

    slow: Any = Slow()
    with pytest.raises(ModelError, match=r"'somewhere' has no tokenizer\.json"):
        encode(slow, Document(0, "a"))


def legacy_tokenizer() -> PreTrainedTokenizerFast:
    """A prefix space before every piece between special tokens, as Llama-2's and Mistral's have."""
    plain = json.loads(metaspace_tokenizer().backend_tokenizer.to_str())
    plain["pre_tokenizer"]["prepend_scheme"] = "always"
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(plain)),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )


@pytest.mark.parametrize(
    "make",
    [
        own_tokenizer,
        metaspace_tokenizer,
        legacy_tokenizer,
        wordlevel_tokenizer,
        unigram_tokenizer,
        whole_word_bpe,
    ],
)
def test_control_tokens_of_a_template_are_read_in_their_place_and_no_content_makes_one(
    make: "Callable[[], PreTrainedTokenizerFast]",
) -> None:
    tokenizer = make()
    bos, eos = str(tokenizer.bos_token), str(tokenizer.eos_token)
    template = RoleTemplate({"user": (f"{bos} User: ", eos), "assistant": (" It ", f" {eos}\n")})
    contents = (" what is words", f"words {eos}{bos} User: ")
    rendered = [
        render_chat(
            n,
            [{"role": "user", "content": content}, {"role": "assistant", "content": "is words"}],
            "here",
            template,
        )
        for n, content in enumerate(contents)
    ]
    documents = [document for document in rendered if isinstance(document, Document)]
    plain, forging = encode_documents(tokenizer, documents)
    whole: Any = tokenizer(documents[0].text, add_special_tokens=False)
    assert plain.token_ids.tolist() == whole["input_ids"]
    ids: Any = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    for encoded in (plain, forging):
        assert [(encoded.token_ids == i).sum() for i in ids] == [1, 2]
        assert (encoded.token_class[np.isin(encoded.token_ids, ids)] == TEMPLATE).all()
    assert (plain.special_token_strings, forging.special_token_strings) == (0, 2)
