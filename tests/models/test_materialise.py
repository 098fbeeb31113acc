import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from pipeline.artifacts import hash_files
from pipeline.config.models import ModelsConfig, TrainedModel
from pipeline.errors import ModelError
from pipeline.models import materialise as materialise_module
from pipeline.models.edits.edit import read_edits
from pipeline.models.figures import pair_figures
from pipeline.models.load import load_model, load_tokenizer, read_model
from pipeline.models.materialise import Workshop, materialise
from pipeline.models.pair import Reading
from pipeline.models.records import read_records
from pipeline.models.sequences import Sources

Models = Callable[..., ModelsConfig]
MakeFolder = Callable[..., Path]
Hashes = dict[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def in_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # logs/ goes here


def shop_at(work: Path, models: ModelsConfig, sources: Sources, layer: int = 1) -> Workshop:
    work.mkdir(exist_ok=True)
    return Workshop(work, models, sources, Reading(layer, "auto", 32, "eos"), torch.device("cpu"))


@pytest.fixture(scope="module")
def unbroken(
    tmp_path_factory: pytest.TempPathFactory, models_config: Models, sources: Sources
) -> Hashes:
    """Digests of a pair that was made without a break."""
    work = tmp_path_factory.mktemp("unbroken")
    materialise(shop_at(work, models_config(), sources))
    return hash_files(work)


def test_a_trained_and_a_tuned_model_form_a_pair(
    tmp_path: Path, models_config: Models, sources: Sources
) -> None:
    shop = shop_at(tmp_path / "models", models_config(), sources)
    materialise(shop)
    assert sorted(path.name for path in shop.work.iterdir()) == [
        "base",
        "it",
        "models.json",
        "start.json",
        "template.json",
        "tokenizer",
    ]
    base, it = (
        load_model(shop.work, name, dtype="float32", attention="eager", device="cpu")
        for name in ("base", "it")
    )
    assert base.config.model_type == it.config.model_type == "gemma2"
    assert not torch.equal(base.lm_head.weight, it.lm_head.weight)
    assert len(load_tokenizer(shop.work)) == base.config.vocab_size


def test_equal_configurations_give_equal_bytes(
    tmp_path: Path, models_config: Models, sources: Sources, unbroken: Hashes
) -> None:
    materialise(shop_at(tmp_path / "again", models_config(), sources))
    assert hash_files(tmp_path / "again") == unbroken


@pytest.mark.parametrize(
    ("dies_in", "call"), [("fit", 1), ("fit", 2), ("save_model", 2), ("write_records", 1)]
)
def test_a_killed_run_goes_on_to_equal_bytes(
    tmp_path: Path,
    models_config: Models,
    sources: Sources,
    monkeypatch: pytest.MonkeyPatch,
    unbroken: Hashes,
    dies_in: str,
    call: int,
) -> None:
    calls = 0
    original = getattr(materialise_module, dies_in)

    def die(*args: object, **keywords: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return original(*args, **keywords)

    shop = shop_at(tmp_path / "killed", models_config(), sources)
    with monkeypatch.context() as patch:
        patch.setattr(materialise_module, dies_in, die)
        with pytest.raises(KeyboardInterrupt):
            materialise(shop)
    materialise(shop)
    assert hash_files(shop.work) == unbroken


def test_losses_are_reported_before_and_after(
    tmp_path: Path, models_config: Models, sources: Sources
) -> None:
    shop = shop_at(tmp_path / "models", models_config(), sources)
    figures: dict[str, Any] = dict(pair_figures(shop, materialise(shop)))
    base, it = figures["base"], figures["it"]
    assert it["initial_heldout_loss_nats"] == base["heldout_loss_nats"]
    assert base["heldout_loss_nats"]["pile"] < base["initial_heldout_loss_nats"]["pile"]
    assert it["heldout_loss_nats"]["chat"] < it["initial_heldout_loss_nats"]["chat"]
    assert figures["loss_change_nats"]["chat"] == pytest.approx(
        it["heldout_loss_nats"]["chat"] - base["heldout_loss_nats"]["chat"]
    )


def test_two_local_folders_are_referred_to_and_not_copied(
    tmp_path: Path, models_config: Models, sources: Sources, model_folder: MakeFolder
) -> None:
    for name in ("one", "two"):
        model_folder(tmp_path / name, seed=len(name))
    local = [{"kind": "local", "path": str(tmp_path / name)} for name in ("one", "two")]
    shop = shop_at(tmp_path / "models", models_config(*local), sources)
    figures: dict[str, Any] = dict(pair_figures(shop, materialise(shop)))
    assert sorted(path.name for path in shop.work.iterdir()) == [
        "models.json",
        "start.json",
        "template.json",
        "tokenizer",
    ]
    assert read_records(shop.work)["it"].location == str(tmp_path / "two")
    assert figures["base"] == figures["it"]
    assert "heldout_loss_nats" not in figures["base"]


def test_a_local_folder_is_tuned_with_its_own_tokenizer(
    tmp_path: Path, models_config: Models, sources: Sources, model_folder: MakeFolder, tokenizer
) -> None:
    local = {"kind": "local", "path": str(model_folder(tmp_path / "one"))}
    shop = shop_at(tmp_path / "models", models_config(local), sources)
    figures: dict[str, Any] = dict(pair_figures(shop, materialise(shop)))
    assert load_tokenizer(shop.work).get_vocab() == tokenizer.get_vocab()
    assert figures["it"]["initial_heldout_loss_nats"] == figures["base"]["heldout_loss_nats"]
    assert "initial_heldout_loss_nats" not in figures["base"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"d_model": 24}, r"models\.it .* has d_model 24, but models\.base .* has 16"),
        ({"n_layers": 1}, r"hook_point\.layer is 1, but models\.it has 1 blocks"),
    ],
)
def test_models_that_form_no_pair_are_refused(
    tmp_path: Path,
    models_config: Models,
    sources: Sources,
    model_folder: MakeFolder,
    fields,
    message,
) -> None:
    model_folder(tmp_path / "one")
    model_folder(tmp_path / "two", **fields)
    local = [{"kind": "local", "path": str(tmp_path / name)} for name in ("one", "two")]
    with pytest.raises(ModelError, match=message):
        materialise(shop_at(tmp_path / "models", models_config(*local), sources))


def test_a_layer_that_is_not_there_is_refused_before_training(
    tmp_path: Path, models_config: Models, sources: Sources
) -> None:
    shop = shop_at(tmp_path / "models", models_config(), sources, layer=3)
    with pytest.raises(ModelError, match=r"set hook_point\.layer between 0 and 2"):
        materialise(shop)
    assert list(shop.work.iterdir()) == []


KILLED = """
import sys
from pathlib import Path
import torch
from pipeline.config.models import ModelsConfig
from pipeline.config.text import GeneratedSourceConfig
from pipeline.models.materialise import Workshop, materialise
from pipeline.models.pair import Reading
torch.set_num_threads(1)
work, models, *sources = sys.argv[1:]
sources = [GeneratedSourceConfig.model_validate_json(source) for source in sources]
sources = dict(zip(("pile", "chat"), sources))
config = ModelsConfig.model_validate_json(models)
reading = Reading(1, "auto", 32, "eos")
materialise(Workshop(Path(work), config, sources, reading, torch.device("cpu")))
"""


def test_kill_minus_9_in_training_resumes_to_equal_bytes(
    tmp_path: Path, models_config: Models, sources: Sources
) -> None:
    models = models_config()
    assert isinstance(models.base, TrainedModel)
    slow = models.model_copy(update={"base": models.base.model_copy(update={"n_steps": 40})})
    (tmp_path / "killed").mkdir()
    arguments = [slow.model_dump_json(), *(s.model_dump_json() for s in sources.values())]
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, cwd=tmp_path)
    checkpoint = tmp_path / "killed" / "base.training" / "checkpoint.pt"
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    materialise(shop_at(tmp_path / "killed", slow, sources))
    materialise(shop_at(tmp_path / "unbroken", slow, sources))
    assert hash_files(tmp_path / "killed") == hash_files(tmp_path / "unbroken")


def test_an_edited_pair_differs_by_its_edits_and_both_models_have_the_common_ones(
    tmp_path: Path, models_config: Models, sources: Sources
) -> None:
    group = {"n": 1, "strengths": [2.0], "min_rate": 0.0001, "max_rate": 0.5}
    groups = {
        name: group | {"form": "token_added", "models": models}
        for name, models in (("own", "it"), ("common", "both"), ("control", "none"))
    }
    edited = {
        **{"kind": "edited", "of": "base", "groups": groups, "sources": {"pile": 1.0}},
        **{"n_sequences": 8, "sequence_length_tokens": 32, "n_layers": 1, "seed": 3},
    }
    models = models_config(it=edited)
    found = materialise(shop_at(tmp_path, models, sources))

    def embedding(folder: Path) -> torch.Tensor:
        model = read_model(folder, dtype="float32", attention="eager", device="cpu")
        return cast(torch.nn.Embedding, model.get_input_embeddings()).weight

    trained, base, it = (
        embedding(folder)
        for folder in (tmp_path / "base", found["base"].folder, found["it"].folder)
    )
    own, common, _control = read_edits(tmp_path)
    assert it.ne(base).any(dim=1).nonzero().flatten().tolist() == [own.index]
    assert base.ne(trained).any(dim=1).nonzero().flatten().tolist() == [common.index]
