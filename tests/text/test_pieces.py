import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from pipeline.text.pieces import UNFINISHED, Pieces, characters
from pipeline.text.tokens import train_tokenizer

TEXT = "User: héllo  wörld — 你好\n\tthe  end "


def byte_level() -> PreTrainedTokenizerFast:
    return train_tokenizer(["the end of the world, hello hello", "the user says hello"], 300)


BYTES = byte_level()


def sentence_piece() -> PreTrainedTokenizerFast:
    """As Llama's: a space is part of the next word, the first one of a text is dropped."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = ["<unk>", "▁the", "▁end", "▁", "▁a", "a", "t", "h", "e", "n", "d"]
    tokenizer = Tokenizer(models.Unigram([(word, -1.0 - len(word) / 99) for word in words], 0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@pytest.mark.parametrize("text", [TEXT, "the end", "", " the"])
def test_the_pieces_of_a_text_join_to_the_text(text: str) -> None:
    tokenizer = byte_level()
    ids = tokenizer.encode(text, add_special_tokens=False)
    pieces = Pieces(tokenizer).of(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == text


def test_a_character_of_several_tokens_goes_to_the_last_of_them() -> None:
    tokenizer = byte_level()
    pieces = Pieces(tokenizer).of(tokenizer.encode("你", add_special_tokens=False))
    assert pieces == ["", "", "你"]


def test_every_character_of_a_run_goes_to_its_own_last_token() -> None:
    tokenizer = byte_level()
    pieces = Pieces(tokenizer).of(tokenizer.encode("你好世界。", add_special_tokens=False))
    assert [piece for piece in pieces if piece] == list("你好世界。")
    assert [at % 3 for at, piece in enumerate(pieces) if piece] == [2] * 5


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("last", [0, 1, 2])
def test_a_cut_character_leaves_its_neighbours_readable(first: int, last: int) -> None:
    tokenizer = byte_level()
    ids = tokenizer.encode("你好世界", add_special_tokens=False)
    pieces = Pieces(tokenizer).of(ids[first : len(ids) - last])
    middle = "你好世界"[first > 0 : 4 - (last > 0)]
    expected = UNFINISHED * (first > 0) + middle + UNFINISHED * (last > 0)
    assert "".join(pieces) == expected


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(f"{UNFINISHED}你")))
def test_pieces_of_any_text_join_to_what_the_tokenizer_reads(text: str) -> None:
    ids = BYTES.encode(text, add_special_tokens=False)
    expected = BYTES.decode(ids, clean_up_tokenization_spaces=False)
    assert "".join(Pieces(BYTES).of(ids)) == expected


def test_half_a_character_is_named_as_in_the_vocabulary() -> None:
    tokenizer = byte_level()
    first = tokenizer.encode("你", add_special_tokens=False)[0]
    assert Pieces(tokenizer).single(first) == tokenizer.convert_ids_to_tokens(first)


def test_a_tokenizer_that_drops_a_first_space_keeps_it_here() -> None:
    tokenizer = sentence_piece()
    ids = tokenizer.encode("the end", add_special_tokens=False)
    assert tokenizer.decode(ids[1:]) == "end"
    assert Pieces(tokenizer).of(ids) == [" the", " end"]


def byte_fallback() -> PreTrainedTokenizerFast:
    """As Gemma's: a character that the vocabulary lacks is written as its bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "a", "b", "▁", "é", "☃"]
    model = models.BPE({name: n for n, name in enumerate(names)}, [], byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def whole_words() -> PreTrainedTokenizerFast:
    """Of words alone, one of which is the sign itself."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[UNK]", "a", UNFINISHED]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


@pytest.mark.parametrize("tokenizer", [BYTES, byte_fallback()], ids=["byte level", "fallback"])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_replacement_sign_of_the_text_is_a_character_and_nothing_unfinished(
    tokenizer: PreTrainedTokenizerFast, n: int
) -> None:
    text = f"a{UNFINISHED * n} b{UNFINISHED}你"
    pieces = Pieces(tokenizer).of(tokenizer.encode(text, add_special_tokens=False))
    assert "".join(pieces) == text
    assert sum(piece == UNFINISHED for piece in pieces) == n + 1


@pytest.mark.parametrize("tokenizer", [BYTES, byte_fallback()], ids=["byte level", "fallback"])
def test_a_cut_character_and_the_signs_beside_it_are_kept_apart(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    ids = tokenizer.encode(f"你{UNFINISHED * 2}好", add_special_tokens=False)
    pieces = Pieces(tokenizer).of(ids[1:-1])
    assert "".join(pieces) == UNFINISHED * 4, "the end of one, two signs, the start of another"
    assert pieces[:2] == ["", UNFINISHED]


def test_a_word_that_is_the_sign_stands_for_itself() -> None:
    tokenizer = whole_words()
    assert Pieces(tokenizer).of([1, 2, 2, 1]) == [" a", f" {UNFINISHED}", f" {UNFINISHED}", " a"]


def test_a_token_that_ends_a_cut_character_and_begins_another_does_not_hide_it() -> None:
    """As the merges of a large vocabulary make them."""
    you, good = "你".encode(), "好".encode()
    assert characters([you[1:] + good[:1], good[1:]]) == [UNFINISHED, "好"]
    assert characters([you[:2], you[2:] + good[:2]]) == ["", f"你{UNFINISHED}"]
    assert characters([b"\x80", b"\x80", good]) == ["", UNFINISHED, "好"]
    assert characters([]) == []
