import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from pipeline.errors import ModelError
from pipeline.models.pair import Reading, check_layer, check_tokenizers, check_width, examine
from pipeline.models.records import ModelRecord
from pipeline.models.start import Start, choose_start, read_start, write_start
from pipeline.text.tokens import train_tokenizer
from tests.models.families import family_folder, random_family

RECORD = ModelRecord("local", "m", "", "llama", 16, 3, 300, {}, None)
PAIR = {"base": RECORD, "it": RECORD}
BEGIN = Start("<bos>", 1, "a test")


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


def check(
    base: PreTrainedTokenizerFast, it: PreTrainedTokenizerFast, vocab_size: int = 300
) -> None:
    """What the stage `models` asks of two tokenizers."""
    check_tokenizers(base, it, BEGIN, "eos", {"models.it (m)": vocab_size})


def altered(tokenizer: PreTrainedTokenizerFast, old: str, new: str) -> PreTrainedTokenizerFast:
    """The tokenizer with one token named otherwise."""
    plain = tokenizer.backend_tokenizer.to_str().replace(f'"{old}"', f'"{new}"')
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(plain), bos_token="<bos>", eos_token="<eos>"
    )


def test_one_tokenizer_fits_itself(tokenizer: PreTrainedTokenizerFast) -> None:
    check(tokenizer, tokenizer)


def test_tokenizers_with_other_ids_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    other = train_tokenizer(["wholly other words, wholly other words"], 280)
    with pytest.raises(ModelError, match="tokenizer mismatch"):
        check(tokenizer, other)


def test_one_bos_under_another_role_is_the_start(tokenizer: PreTrainedTokenizerFast) -> None:
    """SmolLM2's tuned model calls another token BOS, but has the base's BOS under its id."""
    other = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, bos_token="<eos>", eos_token="<pad>"
    )
    start = choose_start("auto", tokenizer, other)
    assert (start.token, start.id) == ("<bos>", 1)
    check(tokenizer, other)


@pytest.mark.parametrize(
    ("choice", "token", "token_id"),
    [("bos", "<bos>", 1), ("eos", "<eos>", 2), ("<pad>", "<pad>", 0), ("none", None, None)],
)
def test_the_start_is_what_was_asked_for(
    tokenizer: PreTrainedTokenizerFast, choice: str, token: str | None, token_id: int | None
) -> None:
    start = choose_start(choice, tokenizer, tokenizer)
    assert (start.token, start.id) == (token, token_id)


def test_without_a_bos_nothing_is_put_in_front_unless_asked_for(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    """As Qwen's tokenizers, which have none."""
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<eos>")
    assert choose_start("auto", bare, bare).id is None
    assert choose_start("eos", bare, bare).id == 2
    with pytest.raises(ModelError, match=r"mix\.start is bos, but .* has no BOS: set mix\.start"):
        choose_start("bos", bare, bare)


def test_a_start_that_one_model_lacks_is_refused_with_both_ids(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    other = altered(tokenizer, "<bos>", "<s>")
    with pytest.raises(ModelError, match=r"'<bos>' has id 1 for the base model and .* IT model"):
        choose_start("auto", altered(tokenizer, "x", "x"), other)


@pytest.mark.parametrize("choice", ["nowhere", "<|im_start|>"])
def test_a_start_that_is_no_token_is_refused(
    tokenizer: PreTrainedTokenizerFast, choice: str
) -> None:
    with pytest.raises(ModelError, match="no id for the base model"):
        choose_start(choice, tokenizer, tokenizer)


def test_a_start_is_read_back(tmp_path: Path) -> None:
    write_start(tmp_path, BEGIN)
    assert read_start(tmp_path) == BEGIN


def test_a_vocabulary_larger_than_the_embedding_is_refused(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    with pytest.raises(ModelError, match=r"has id \d+, but models\.it \(m\) embeds 270 tokens"):
        check(tokenizer, tokenizer, vocab_size=270)


def test_special_tokens_beyond_the_embedding_that_no_text_becomes_are_let_be(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Gemma-3 270M and 1B have an image token past the last row of their embedding."""
    wide = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()),
        bos_token="<bos>",
        eos_token="<eos>",
    )
    n = len(wide)
    wide.add_special_tokens({"additional_special_tokens": ["<image>"]})
    check(wide, wide, vocab_size=n)
    wide.add_tokens(["<box>"])
    with pytest.raises(ModelError, match=f"'<box>' .* has id {n + 1}, but"):
        check(wide, wide, vocab_size=n)


def test_tokens_that_the_tuned_model_added_are_let_be(tokenizer: PreTrainedTokenizerFast) -> None:
    other = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()),
        bos_token="<bos>",
        eos_token="<eos>",
    )
    other.add_tokens(["<tool>"])
    check(tokenizer, other)
    with pytest.raises(ModelError, match=r"1 tokens have other ids .* '<tool>' \(\d+ and None\)"):
        check(other, tokenizer)


def test_a_reserved_token_that_the_tuned_model_names_otherwise_is_let_be(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    base, it = (
        PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()),
            bos_token="<bos>",
            eos_token="<eos>",
        )
        for _ in range(2)
    )
    base.add_tokens(["<unused0>"])
    it.add_special_tokens({"additional_special_tokens": ["<start_of_turn>"]})
    check(base, it)


def test_a_tokenizer_that_cannot_tell_texts_apart_is_refused() -> None:
    empty = Tokenizer(WordLevel({"<unk>": 0, "<bos>": 1}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=empty, bos_token="<bos>", unk_token="<unk>"
    )
    with pytest.raises(ModelError, match="as 1 different tokens, expected a vocabulary of text"):
        check_tokenizers(tokenizer, tokenizer, BEGIN, "none", {})


def test_special_tokens_may_differ_in_name(tokenizer: PreTrainedTokenizerFast) -> None:
    """IT models rename reserved tokens of the base model for their chat template."""
    check(tokenizer, altered(tokenizer, "<pad>", "<start_of_turn>"))


def test_an_eos_that_is_not_shared_is_refused_where_it_separates(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    other = altered(tokenizer, "<eos>", "<end>")
    base = altered(tokenizer, "x", "x")
    with pytest.raises(ModelError, match=r"set mix\.separator=none"):
        check(base, other)
    check_tokenizers(base, other, BEGIN, "none", {})


def test_a_base_without_eos_is_refused_where_it_separates(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Here and not in `mix`, whose tokenizer is a copy that the pipeline made."""
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, bos_token="<bos>")
    with pytest.raises(ModelError, match=r"has no eos_token.*or mix\.separator=none"):
        check(bare, bare)
    check_tokenizers(bare, bare, BEGIN, "none", {})


READING = Reading(layer=1, attention="auto", sequence_length_tokens=32, separator="eos")


@pytest.mark.parametrize(
    ("family", "limit", "refused"),
    [("gpt2", 64, True), ("opt", 64, True), ("gpt_neo", 64, True), ("llama", 64, False)],
)
def test_a_limit_that_the_model_states_is_held_against_the_text(
    tmp_path: Path, family: str, limit: int, refused: bool
) -> None:
    """Beyond learned positions there is nothing to read; rotary ones go on, at a risk."""
    folder = family_folder(tmp_path / family, family)
    assert examine("base", folder, replace(READING, sequence_length_tokens=limit)) is None
    longer = replace(READING, sequence_length_tokens=limit + 1)
    if refused:
        with pytest.raises(ModelError, match=r"set mix\.sequence_length_tokens to 64 or less"):
            examine("base", folder, longer)
    else:
        warning = examine("base", folder, longer)
        assert warning is not None
        assert "mix.sequence_length_tokens is 65, but models.base" in warning


def damage_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("{}")


def cut_off(folder: Path) -> None:
    path = max(folder.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-100])


def replace_by_text(folder: Path) -> None:
    max(folder.glob("*.safetensors")).write_text("<html>not found</html>")


def quantise(folder: Path) -> None:
    path = folder / "config.json"
    plain = json.loads(path.read_text())
    path.write_text(json.dumps(plain | {"quantization_config": {"quant_method": "gptq"}}))


def one_tensor(folder: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Alter a matrix of one of the files."""
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        for name in [name for name, tensor in tensors.items() if tensor.ndim == 2][:1]:
            changed = tensors | {name: change(tensors[name]).contiguous()}
            save_file(changed, path, {"format": "pt"})
            return


def pack(folder: Path) -> None:
    one_tensor(folder, lambda tensor: tensor.to(torch.int8))


def cut_a_column(folder: Path) -> None:
    one_tensor(folder, lambda tensor: tensor[:, 1:])


def change_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def number_a_shard(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": 3}}')


def demand_code(folder: Path) -> None:
    path = folder / "config.json"
    plain = json.loads(path.read_text()) | {"model_type": "own"}
    path.write_text(json.dumps(plain | {"auto_map": {"AutoConfig": "configuration_own.Own"}}))
    (folder / "configuration_own.py").write_text("raise SystemExit('this code ran')")


def become_encoder_decoder(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "t5"}')


def become_adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_index, r"is no index of weight files"),
        (cut_off, r"is cut off or no safetensors file"),
        (replace_by_text, r"is cut off or no safetensors file"),
        (lambda folder: max(folder.glob("*.safetensors")).unlink(), r"not found, one of \d files"),
        (lambda folder: (folder / "model.safetensors.index.json").unlink(), "has no model.safe"),
        (pack, r"are packed or quantised \(\S+ holds whole numbers\), expected bfloat16"),
        (cut_a_column, r"do not fit its config.json \(\S+ has shape \(\d+, \d+\), expected"),
        (number_a_shard, r"is no index of weight files \(a name of a file is no text"),
        (
            lambda folder: change_config(folder, intermediate_size=-8),
            r"no \w+ can be built from config.json",
        ),
        (quantise, r"are quantised \(gptq\), expected bfloat16"),
        (demand_code, r"needs code of its own .* never run here"),
        (become_encoder_decoder, r"decoder-only"),
        (become_adapter, r"holds an adapter .* kind: adapter"),
        (
            lambda folder: (folder / "config.json").write_text('{"model_type": "new"}'),
            "'new', which",
        ),
        (lambda folder: (folder / "config.json").write_text("[" * 100_000), "is not JSON"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value))[:20],
)
def test_what_cannot_be_loaded_is_told_by_its_cause_before_any_weight_is_read(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    random_family("llama").save_pretrained(tmp_path, max_shard_size="8KB")
    damage(tmp_path)
    with pytest.raises(ModelError, match=message):
        examine("base", tmp_path, READING)


def test_attention_that_a_family_lacks_is_told_with_the_key(tmp_path: Path) -> None:
    folder = family_folder(tmp_path / "m", "gemma2")
    with pytest.raises(ModelError, match=r"hook_point\.attention is sdpa, which gemma2 cannot"):
        examine("base", folder, replace(READING, attention="sdpa"))
    assert examine("base", folder, replace(READING, attention="eager")) is None


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("")
    with pytest.raises(ModelError, match="m is a file: expected a Hugging Face folder"):
        examine("base", tmp_path / "m", READING)
