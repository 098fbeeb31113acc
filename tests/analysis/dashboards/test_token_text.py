import pytest
from transformers import PreTrainedTokenizerFast

from pipeline.analysis.dashboards.token_text import Pieces
from pipeline.text.tokens import train_tokenizer

TEXT = "User: héllo  wörld — 你好\n\tthe  end "


def byte_level() -> PreTrainedTokenizerFast:
    return train_tokenizer(["the end of the world, hello hello", "the user says hello"], 300)


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


def test_half_a_character_is_named_as_in_the_vocabulary() -> None:
    tokenizer = byte_level()
    first = tokenizer.encode("你", add_special_tokens=False)[0]
    assert Pieces(tokenizer).single(first) == tokenizer.convert_ids_to_tokens(first)


def test_a_tokenizer_that_drops_a_first_space_keeps_it_here() -> None:
    tokenizer = sentence_piece()
    ids = tokenizer.encode("the end", add_special_tokens=False)
    assert tokenizer.decode(ids[1:]) == "end"
    assert Pieces(tokenizer).of(ids) == [" the", " end"]
