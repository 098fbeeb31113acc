"""Mistakes in what the configuration names: models, tokenizers, text files, weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.mistakes.table import TINY, Mistake

LOCAL = ("+experiment=local", "hook_point.layer=1")
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
TEXTS = ("sources.pile.paths=[t/*.jsonl]", "sources.chat.paths=[c/*.jsonl]")
PAIR = (*LOCAL, *TEXTS, "models.base.path=base", "models.it.path=it")


def model_config(**changes: object) -> str:
    return json.dumps({"model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2} | changes)


def models(
    name: str, held: dict[str, str | bytes], *words: str, typed: tuple[str, ...] = PAIR
) -> Mistake:
    """held: what lies in the folders of both models."""
    files = {
        f"{folder}/{file}": content for folder in ("base", "it") for file, content in held.items()
    }
    return Mistake(name, words, typed=typed, stage="models", files=files)


def folder_at(place: str) -> Callable[[Path], None]:
    return lambda folder: (folder / place).mkdir(parents=True)


MISTAKES = [
    models(
        "no path for a model",
        {},
        "models.base.path is missing",
        typed=(*LOCAL, *TEXTS, "models.it.path=it"),
    ),
    models("a model folder that is not there", {}, "base"),
    models(
        "a name of the Hub for a folder",
        {},
        "model folder google/gemma-2-2b does not exist",
        "kind: hub, repo: google/gemma-2-2b",
        typed=(*PAIR, "models.base.path=google/gemma-2-2b"),
    ),
    models("a folder of GGUF", {"model.gguf": b"GGUF"}, "base is GGUF", "it was made from"),
    models(
        "a configuration that Git LFS has not fetched",
        {"config.json": POINTER},
        "config.json is a pointer of Git LFS",
    ),
    Mistake(
        "a file in place of a model folder",
        ("model folder base is a file",),
        typed=PAIR,
        stage="models",
        files={"base": "mine"},
    ),
    models("an empty model folder", {"notes.txt": "x"}, "config.json"),
    models("a config.json that is no JSON", {"config.json": "{"}, "config.json"),
    models("a config.json that is a list", {"config.json": "[]"}, "config.json"),
    models("an empty config.json", {"config.json": ""}, "config.json"),
    models("a config.json that is no UTF-8", {"config.json": b"\xff"}, "config.json"),
    models("a model of an unknown family", {"config.json": '{"model_type": "nope"}'}, "nope"),
    models("a config.json without a family", {"config.json": "{}"}, "base"),
    models("a model without weights", {"config.json": model_config()}, "base"),
    models(
        "empty weights",
        {"config.json": model_config(), "model.safetensors": b""},
        "model.safetensors",
    ),
    models(
        "weights that Git LFS has not fetched",
        {
            "config.json": model_config(),
            "model.safetensors": POINTER,
        },
        "model.safetensors is a pointer of Git LFS",
        "`git lfs pull`",
    ),
    models(
        "weights as a pickle alone",
        {"config.json": model_config(), "pytorch_model.bin": b"x"},
        "base",
    ),
    models(
        "an index whose shard is missing",
        {
            "config.json": model_config(),
            "model.safetensors.index.json": '{"weight_map": {"a": "model-1.safetensors"}}',
        },
        "model-1.safetensors",
    ),
    models(
        "an index that is no JSON",
        {"config.json": model_config(), "model.safetensors.index.json": "{"},
        "model.safetensors.index.json",
    ),
    models(
        "a hub model without a revision",
        {},
        "revision",
        typed=(TINY, "models=gemma_2_2b", "models.base.revision=null"),
    ),
    Mistake(
        "verify of a file of text",
        ("x.zarr is a file", "expected a store"),
        typed=("x.zarr",),
        stage="verify",
        files={"x.zarr": "mine"},
    ),
    Mistake(
        "verify of an empty folder",
        ("x.zarr is a folder without", "expected a store"),
        typed=("x.zarr",),
        stage="verify",
        prepare=folder_at("x.zarr"),
    ),
    Mistake("a layer below none", ("hook_point.layer",), typed=(TINY, "hook_point.layer=-1")),
    Mistake(
        "no fraction held out",
        ("heldout_fraction",),
        typed=(TINY, "mix.heldout_fraction=0", "models.heldout.fraction=0.1"),
    ),
    Mistake(
        "everything held out",
        ("heldout_fraction",),
        typed=(TINY, "mix.heldout_fraction=1", "models.heldout.fraction=0.1"),
    ),
    Mistake(
        "a sequence of one token",
        ("sequence_length_tokens",),
        typed=(TINY, "mix.sequence_length_tokens=1", "models.heldout.sequence_length_tokens=8"),
    ),
    Mistake(
        "an unknown type of number", ("hook_point.dtype",), typed=(TINY, "hook_point.dtype=int8")
    ),
    Mistake("an unknown codec", ("dump.codec",), typed=(TINY, "dump.codec=lzma")),
    Mistake(
        "results that are a file",
        ("results",),
        typed=("+experiment=planted",),
        stage="models",
        files={"results": "mine"},
    ),
    Mistake(
        "a link that leads nowhere in place of the data folder",
        ("data",),
        typed=("+experiment=planted",),
        stage="models",
        prepare=lambda folder: (folder / "data").symlink_to(folder / "gone/away"),
    ),
    Mistake("report before anything", ("not found", "dvc repro"), typed=(TINY,), stage="report"),
    Mistake("changes before anything", ("not found", "dvc repro"), typed=(TINY,), stage="changes"),
    Mistake(
        "plan without an experiment", ("no experiment chosen",), typed=("seed=1",), stage="plan"
    ),
    Mistake(
        "models of a manifest that is text",
        ("manifest.json",),
        typed=(TINY,),
        stage="mix",
        files={"data/models/manifest.json": "x"},
    ),
    Mistake(
        "models whose manifest is a list",
        ("manifest.json",),
        typed=(TINY,),
        stage="mix",
        files={"data/models/manifest.json": "[]"},
    ),
    Mistake(
        "models whose manifest is no UTF-8",
        ("manifest.json",),
        typed=(TINY,),
        stage="mix",
        files={"data/models/manifest.json": b"\xff\xfe"},
    ),
    Mistake(
        "a manifest that is a folder",
        ("manifest.json",),
        typed=(TINY,),
        stage="mix",
        prepare=folder_at("data/models/manifest.json"),
    ),
    Mistake(
        "a folder in place of params.yaml",
        ("params.yaml",),
        files={"params.yaml": None},
        prepare=folder_at("params.yaml"),
    ),
    Mistake(
        "a folder in place of composed.yaml",
        ("composed.yaml",),
        stage="train",
        prepare=folder_at("composed.yaml"),
    ),
    Mistake(
        "a folder in place of a file of conf/",
        ("conf/train/default.yaml",),
        typed=(TINY,),
        files={"conf/train/default.yaml": None},
        prepare=folder_at("conf/train/default.yaml"),
    ),
    Mistake(
        "conf/ removed as a whole",
        ("conf",),
        typed=(TINY,),
        prepare=lambda folder: shutil.rmtree(folder / "conf"),
    ),
    Mistake(
        "a link in conf/ that leads nowhere",
        ("conf/train/default.yaml",),
        typed=(TINY,),
        files={"conf/train/default.yaml": None},
        prepare=lambda folder: (folder / "conf/train/default.yaml").symlink_to("gone"),
    ),
]
