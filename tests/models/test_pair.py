from dataclasses import replace

import pytest
from transformers import PreTrainedTokenizerFast

from pipeline.errors import ModelError
from pipeline.models.pair import check_layer, check_tokenizers, check_width
from pipeline.models.records import ModelRecord
from pipeline.text.tokens import train_tokenizer

RECORD = ModelRecord("local", "m", "", "llama", 16, 3, 300, {})
PAIR = {"base": RECORD, "it": RECORD}


def test_models_of_unequal_width_are_refused() -> None:
    with pytest.raises(
        ModelError, match=r"models\.it .* has d_model 8, but models\.base .* has 16"
    ):
        check_width(PAIR | {"it": replace(RECORD, d_model=8)})


@pytest.mark.parametrize(("layer", "fits"), [(0, True), (2, True), (3, False)])
def test_the_layer_must_be_the_input_of_a_block(layer: int, fits: bool) -> None:
    if fits:
        check_layer("base", 3, layer)
    else:
        with pytest.raises(ModelError, match=r"set hook_point\.layer between 0 and 2"):
            check_layer("base", 3, layer)


def refusal(base: PreTrainedTokenizerFast, it: PreTrainedTokenizerFast) -> str | None:
    """Why the tokenizers are refused; None where they fit."""
    try:
        check_tokenizers(base, it, PAIR)
    except ModelError as error:
        return str(error)
    return None


def test_one_tokenizer_fits_itself(tokenizer: PreTrainedTokenizerFast) -> None:
    assert refusal(tokenizer, tokenizer) is None


def test_tokenizers_with_other_ids_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    other = train_tokenizer(["wholly other words, wholly other words"], 280)
    with pytest.raises(ModelError, match="tokenizer mismatch"):
        check_tokenizers(tokenizer, other, PAIR)


def test_tokenizers_with_another_bos_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    other = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, bos_token="<eos>", eos_token="<eos>"
    )
    with pytest.raises(ModelError, match="BOS has id 1, the IT model's 2"):
        check_tokenizers(tokenizer, other, PAIR)


def test_a_vocabulary_larger_than_the_embedding_is_refused(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    with pytest.raises(ModelError, match=r"models\.it .* embeds 270"):
        check_tokenizers(tokenizer, tokenizer, PAIR | {"it": replace(RECORD, vocab_size=270)})


def test_special_tokens_may_differ_in_name(tokenizer: PreTrainedTokenizerFast) -> None:
    """IT models rename reserved tokens of the base model for their chat template."""
    import json

    from tokenizers import Tokenizer

    plain = tokenizer.backend_tokenizer.to_str().replace('"<pad>"', '"<start_of_turn>"')
    assert json.loads(plain)
    renamed = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(plain), bos_token="<bos>", eos_token="<eos>"
    )
    check_tokenizers(tokenizer, renamed, PAIR)
