import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from pipeline.text.pieces import UNFINISHED, Pieces
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


@given(st.text(st.characters(exclude_characters=UNFINISHED, exclude_categories=["Cs"])))
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
