"""LoRA adapters: merged by hand against merged here, cut, refused, trained."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from pipeline.artifacts import hash_files
from pipeline.config.models import ModelsConfig
from pipeline.errors import ModelError
from pipeline.models.adapter import check_adapter, read_adapter
from pipeline.models.configuration import ADAPTER_WEIGHTS
from pipeline.models.figures import pair_figures
from pipeline.models.hook import residual
from pipeline.models.load import load_model, read_model
from pipeline.models.materialise import Workshop, materialise
from pipeline.models.pair import Reading
from pipeline.models.records import is_current, read_records
from pipeline.models.sequences import Sources
from pipeline.models.skeleton import try_loading

MakeFolder = Callable[..., Path]
Models = Callable[..., ModelsConfig]
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # peft's, of transformers' names
TOKEN_IDS = torch.arange(3, 23)[None]
LORA: dict[str, Any] = {"rank": 2, "alpha": 4.0, "target_modules": "all-linear"}


@pytest.fixture(autouse=True)
def in_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # logs/ goes here


def write_adapter(base: Path, folder: Path, **changes: Any) -> Path:
    """A random adapter on every linear layer of the model in `base`."""
    config = LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", **changes)
    wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    wrapped.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


@pytest.fixture
def base(tmp_path: Path, model_folder: MakeFolder) -> Path:
    return model_folder(tmp_path / "base")


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    return write_adapter(base, tmp_path / "adapter")


def read(base: Path, adapter: Path | None, n_layers: int | None = None, dtype: str = "float32"):
    return read_model(
        base, dtype=dtype, attention="eager", device="cpu", n_layers=n_layers, adapter=adapter
    )


def test_an_adapter_adds_alpha_over_rank_b_a_to_each_matrix(base: Path, adapter: Path) -> None:
    tensors = load_file(adapter / ADAPTER_WEIGHTS)
    plain, adapted = read(base, None), read(base, adapter)
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_{}.weight"
    change = 4 / 2 * tensors[name.format("B")] @ tensors[name.format("A")]
    weights = [m.state_dict()["model.layers.1.mlp.up_proj.weight"] for m in (plain, adapted)]
    assert change.abs().max() > 0.1
    assert torch.allclose(weights[1], weights[0] + change, atol=1e-6)
    assert not any("lora" in key for key in adapted.state_dict())


def test_an_adapter_is_merged_in_float32_and_then_cast(base: Path, adapter: Path) -> None:
    wide, narrow = read(base, adapter), read(base, adapter, dtype="bfloat16")
    for one, other in zip(wide.parameters(), narrow.parameters(), strict=True):
        assert torch.equal(one.to(torch.bfloat16), other)


def test_an_adapter_that_changes_nothing_gives_the_activations_of_its_base_in_bfloat16(
    base: Path, adapter: Path
) -> None:
    tensors = load_file(adapter / ADAPTER_WEIGHTS)
    idle = {name: 0 * value if "lora_B" in name else value for name, value in tensors.items()}
    save_file(idle, adapter / ADAPTER_WEIGHTS)
    plain, adapted = (read(base, which, dtype="bfloat16") for which in (None, adapter))
    assert torch.equal(residual(adapted, 2, TOKEN_IDS), residual(plain, 2, TOKEN_IDS))
    frequencies = [dict(model.named_buffers()) for model in (plain, adapted)]
    assert {n: b.dtype for n, b in frequencies[0].items()} == {
        n: b.dtype for n, b in frequencies[1].items()
    }


@pytest.mark.parametrize("layer", [1, 2])
def test_a_cut_model_gets_the_adapter_of_its_blocks(base: Path, adapter: Path, layer: int) -> None:
    whole, cut = read(base, adapter), read(base, adapter, n_layers=layer)
    assert torch.equal(residual(cut, layer, TOKEN_IDS), residual(whole, layer, TOKEN_IDS))
    assert not torch.equal(
        residual(whole, layer, TOKEN_IDS), residual(read(base, None), layer, TOKEN_IDS)
    )


def pair_of(work: Path, models: ModelsConfig, sources: Sources) -> tuple[Workshop, dict[str, Any]]:
    work.mkdir(exist_ok=True)
    shop = Workshop(work, models, sources, Reading(1, "auto", 32, "eos"), torch.device("cpu"))
    return shop, dict(pair_figures(shop, materialise(shop)))


@pytest.mark.parametrize("named", [True, False])
def test_an_adapter_is_a_model_of_the_pair(
    tmp_path: Path, models_config: Models, sources: Sources, base: Path, adapter: Path, named: bool
) -> None:
    """On the other model of the pair, or on one of its own."""
    local = {"kind": "local", "path": str(base)}
    it = {
        "kind": "adapter",
        "of": local if named else "base",
        "adapter": {"kind": "local", "path": str(adapter)},
    }
    shop, _ = pair_of(tmp_path / "models", models_config(local, it), sources)
    record = read_records(shop.work)["it"].adapter
    assert record is not None
    assert record.files.keys() == {"adapter_config.json", ADAPTER_WEIGHTS}
    loaded = load_model(shop.work, "it", dtype="float32", attention="eager", device="cpu")
    expected = read(base, adapter)
    assert torch.equal(residual(loaded, 1, TOKEN_IDS), residual(expected, 1, TOKEN_IDS))
    assert is_current(shop.work)
    tensors = load_file(adapter / ADAPTER_WEIGHTS)
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, adapter / ADAPTER_WEIGHTS)
    assert not is_current(shop.work)
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors is not the file"):
        load_model(shop.work, "it", dtype="float32", attention="eager", device="cpu")


def test_a_tuned_adapter_is_kept_beside_its_base_and_made_in_equal_bytes(
    tmp_path: Path, models_config: Models, sources: Sources
) -> None:
    tuned = models_config().it.model_dump() | {"lora": LORA, "learning_rate": 0.05}
    shop, figures = pair_of(tmp_path / "a", models_config(it=tuned), sources)
    assert sorted(path.name for path in (shop.work / "it").iterdir()) == [
        "adapter_config.json",
        ADAPTER_WEIGHTS,
    ]
    after = figures["it"]["heldout_loss_nats"]["chat"]
    assert after < figures["it"]["initial_heldout_loss_nats"]["chat"]
    base, it = (
        load_model(shop.work, name, dtype="float32", attention="eager", device="cpu")
        for name in ("base", "it")
    )
    embeddings = [model.state_dict()["model.embed_tokens.weight"] for model in (base, it)]
    assert torch.equal(*embeddings)
    assert not torch.equal(residual(base, 1, TOKEN_IDS), residual(it, 1, TOKEN_IDS))
    pair_of(tmp_path / "b", models_config(it=tuned), sources)
    assert hash_files(tmp_path / "a") == hash_files(tmp_path / "b")


def change_config(**changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def lose_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / ADAPTER_WEIGHTS)
    del tensors[min(tensors)]
    save_file(tensors, folder / ADAPTER_WEIGHTS)


def cut_off(folder: Path) -> None:
    path = folder / ADAPTER_WEIGHTS
    path.write_bytes(path.read_bytes()[:-4])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change_config(peft_type="IA3"), "is of method IA3, expected LORA"),
        (change_config(alora_invocation_tokens=[1]), "expected LORA"),
        (change_config(target_modules=["c_attn"]), "does not fit"),
        (change_config(r="two"), "does not fit"),
        (change_config(lora_alpha=None), "does not fit"),
        (change_config(r=3), r"is of shape \(2, \d+\), but .* ask for shape \(3, \d+\)"),
        (lose_a_tensor, "is not there"),
        (cut_off, "is cut off or no safetensors file"),
        (lambda folder: (folder / ADAPTER_WEIGHTS).unlink(), "has no adapter_model.safetensors"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "has no adapter_config.json"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "is no configuration"),
    ],
)
def test_an_adapter_of_another_method_or_shape_is_refused(
    base: Path, adapter: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(adapter)
    with pytest.raises(ModelError, match=message):
        check_adapter(adapter, try_loading(base, None), str(base))


def test_an_adapter_of_another_model_is_refused(
    tmp_path: Path, adapter: Path, model_folder: MakeFolder
) -> None:
    wide = model_folder(tmp_path / "wide", d_model=24)
    with pytest.raises(ModelError, match="name the model that the adapter was trained on"):
        check_adapter(adapter, try_loading(wide, None), str(wide))
    skeleton = try_loading(tmp_path / "base", None)
    change_config(base_model_name_or_path="some/model-7b")(adapter)
    with pytest.raises(ModelError, match="trained on some/model-7b, but it is put on other/model"):
        check_adapter(adapter, skeleton, "other/model")
    check_adapter(adapter, try_loading(tmp_path / "base", None), "copy/Model-7B")


def test_an_adapter_with_a_scale_of_its_own_is_read(tmp_path: Path, base: Path) -> None:
    folder = write_adapter(base, tmp_path / "dora", use_dora=True, use_rslora=True)
    check_adapter(folder, try_loading(base, None), str(base))
    assert read_adapter(folder).use_dora
    assert not torch.equal(
        residual(read(base, folder), 1, TOKEN_IDS), residual(read(base, None), 1, TOKEN_IDS)
    )


@pytest.mark.parametrize(
    ("base", "it", "message"),
    [
        ({"of": "base"}, {}, "base.of is base"),
        ({"of": "it"}, {"of": "base"}, "base.of is it and it.of is base"),
    ],
)
def test_a_circle_of_adapters_is_refused(
    models_config: Models, base: dict[str, Any], it: dict[str, Any], message: str
) -> None:
    folder = {"kind": "local", "path": "a"}
    made = {"kind": "adapter", "of": folder, "adapter": folder}
    with pytest.raises(ValueError, match=message):
        models_config(made | base, made | it)
