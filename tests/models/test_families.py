"""The hook point and truncated loading, against the whole models run plainly, family by family."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from pipeline.errors import ModelError
from pipeline.models.configuration import read_configuration, shape_of
from pipeline.models.continuation import Continuation
from pipeline.models.hook import blocks, continued, head_logits, residual, residuals
from pipeline.models.load import read_model
from pipeline.models.pair import check_stream
from pipeline.models.skeleton import skeleton, try_loading
from tests.models.families import FAMILIES, N_LAYERS, TUPLES, UNCUT, family_folder, random_family

TOKEN_IDS = torch.randint(3, 300, (2, 12), generator=torch.Generator().manual_seed(0))
pytestmark = pytest.mark.filterwarnings("ignore")  # of what families fall back to without kernels


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family_folder(tmp_path_factory.mktemp("families") / request.param, request.param)


def logits_with(model, layer: int, hidden: torch.Tensor) -> torch.Tensor:
    """Logits [B, S, V] of the model continued from `hidden` [B, S, D] at block `layer`."""
    stream = continued(model, layer, TOKEN_IDS, hidden)
    return head_logits(model, stream.flatten(0, 1)).unflatten(0, TOKEN_IDS.shape)


def load(folder: Path, n_layers: int | None = None):
    return read_model(folder, dtype="float32", attention="auto", device="cpu", n_layers=n_layers)


def test_each_family_is_read_cut_and_continued_exactly(folder: Path) -> None:
    model = load(folder)
    with torch.no_grad():
        whole = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        output = whole(input_ids=TOKEN_IDS, output_hidden_states=True, use_cache=False)
    layers = (0, 2, N_LAYERS - 1)
    for layer, found in zip(layers, residuals(model, layers, TOKEN_IDS), strict=True):
        assert torch.equal(found, output.hidden_states[layer]), "of several from one pass"
    for layer in layers:
        expected = output.hidden_states[layer]
        assert torch.equal(residual(model, layer, TOKEN_IDS), expected), layer
        cut = load(folder, layer)
        assert torch.equal(residual(cut, layer, TOKEN_IDS), expected), layer
        n_blocks = N_LAYERS if folder.name in UNCUT else max(1, layer)
        assert len(blocks(cut)) == n_blocks
        assert torch.equal(logits_with(model, layer, expected), output.logits), layer
        lower, whole_way = Continuation(model, layer), Continuation(model, layer)
        read = [lower.residual(part) for part in TOKEN_IDS.split([11, 1], dim=1)]
        assert torch.allclose(torch.cat(read, dim=1), expected, atol=1e-5), layer
        told = [whole_way.logits(part, torch.clone) for part in TOKEN_IDS.split([11, 1], dim=1)]
        assert torch.allclose(torch.stack(told, dim=1), output.logits[:, -2:], atol=1e-5), layer


@pytest.mark.parametrize("layer", [0, 1])
def test_a_text_that_outgrows_a_table_of_positions_is_refused(tmp_path: Path, layer: int) -> None:
    """What is written counts too, token by token. Rotary positions have no end."""
    model = load(family_folder(tmp_path / "gpt2", "gpt2", max_position_embeddings=12))
    reading = Continuation(model, layer)
    reading.residual(TOKEN_IDS)
    with pytest.raises(ModelError, match=r"13 tokens, but GPT2LMHeadModel has positions for 12: "):
        reading.residual(TOKEN_IDS[:, :1])
    rotary = load(family_folder(tmp_path / "llama", "llama", max_position_embeddings=8))
    assert Continuation(rotary, layer).residual(TOKEN_IDS).shape == (2, 12, 16)


def test_each_family_is_tried_without_reading_its_weights(folder: Path) -> None:
    model = try_loading(folder, None)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    shape = shape_of(read_configuration(folder), folder)
    assert (shape.architecture, shape.d_model, shape.n_layers, shape.vocab_size) == (
        folder.name,
        16,
        N_LAYERS,
        300,
    )


def test_a_family_takes_flex_attention_or_says_that_it_lacks_it(tmp_path: Path) -> None:
    """Compiling it takes minutes on a CPU; that the rows are the same was seen once, by hand."""
    gemma, bloom = (family_folder(tmp_path / name, name) for name in ("gemma2", "bloom"))
    model = try_loading(gemma, "flex_attention")
    assert model.config._attn_implementation == "flex_attention"
    with pytest.raises(ModelError, match=r"hook_point\.attention is flex_attention, which bloom"):
        try_loading(bloom, "flex_attention")


@pytest.mark.parametrize("family", TUPLES)
def test_the_head_alone_gives_logits_where_blocks_return_tuples(family: str) -> None:
    model = random_family(family)
    hidden = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    logits = head_logits(model, hidden)
    (norm,) = (
        m for n, m in model.named_modules() if n.endswith(("ln_f", "norm_f", "final_layernorm"))
    )
    unembedding = model.get_output_embeddings()
    assert unembedding is not None
    expected = unembedding(norm(hidden))
    scale = getattr(model.config, "lm_head_multiplier", 1.0)
    assert torch.allclose(logits, expected * scale, atol=1e-5)


def test_sharded_weights_are_read_as_one_file_is(tmp_path: Path) -> None:
    model = random_family("qwen3")
    model.save_pretrained(tmp_path / "shards", max_shard_size="8KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    assert torch.equal(
        residual(load(tmp_path / "shards", 2), 2, TOKEN_IDS), residual(model, 2, TOKEN_IDS)
    )


def test_the_language_part_of_a_multimodal_checkpoint_is_read(tmp_path: Path) -> None:
    """Its configuration leans on the defaults of its class, and its blocks lie a level deeper."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
    }
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path)
    plain = json.loads((tmp_path / "config.json").read_text())
    del plain["text_config"]["vocab_size"]  # as published: the class's default
    (tmp_path / "config.json").write_text(json.dumps(plain))
    shape = shape_of(read_configuration(tmp_path), tmp_path)
    assert (shape.d_model, shape.n_layers, shape.vocab_size) == (16, N_LAYERS, 262_208)
    model = load(tmp_path)
    with torch.no_grad():
        output = model(input_ids=TOKEN_IDS, output_hidden_states=True, use_cache=False)
    assert torch.equal(residual(load(tmp_path, 2), 2, TOKEN_IDS), output.hidden_states[2])
    assert torch.equal(logits_with(model, 2, output.hidden_states[2]), output.logits)


def test_a_family_without_one_residual_stream_is_refused(tmp_path: Path) -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model(
        "gemma3n_text",
        vocab_size=300,
        vocab_size_per_layer_input=300,
        hidden_size=16,
        hidden_size_per_layer_input=8,
        intermediate_size=24,
        num_hidden_layers=N_LAYERS,
        num_kv_shared_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        laurel_rank=4,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(ModelError, match="has no single residual stream"):
        residual(model, 2, TOKEN_IDS)
    with pytest.raises(ModelError, match="has no single residual stream"):
        check_stream(skeleton(config))


def test_a_family_that_cannot_go_on_from_what_it_has_read_is_refused() -> None:
    from transformers import MambaConfig

    config = MambaConfig(vocab_size=300, hidden_size=16, num_hidden_layers=N_LAYERS, state_size=4)
    with pytest.raises(ModelError, match="MambaForCausalLM takes no past_key_values"):
        check_stream(skeleton(config))


def test_blocks_that_also_get_what_earlier_blocks_wrote_are_refused() -> None:
    """A stream put in place of theirs would leave the rest as it was."""
    model = random_family("llama")

    def also(_block: object, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        return args, kwargs | {"written": torch.zeros(2, 12, 1, 16)}

    blocks(model)[2].register_forward_pre_hook(also, with_kwargs=True)
    with pytest.raises(ModelError, match="has no single residual stream"):
        residual(model, 2, TOKEN_IDS)
