"""What is asked of a pair before anything is downloaded."""

from pathlib import Path

import pytest

from pipeline.config import compose
from pipeline.models.here import refused_models
from pipeline.models.pair import reading_of
from pipeline.text.tokens import train_tokenizer
from tests.models.families import family_folder


def test_local_folders_are_asked_what_the_models_stage_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(base: Path, it: Path, *overrides: str) -> list[str]:
        folders = (f"models.base.path='{base}'", f"models.it.path='{it}'", "hook_point.layer=2")
        length = "mix.sequence_length_tokens=32"
        config = compose(["+experiment=local", "sources=generated", *folders, length, *overrides])
        return refused_models(config.models, reading_of(config.hook_point, config.mix))

    tokenizer = train_tokenizer(["User: hello there\nAssistant: a stone by the river\n"], 300)
    for name in ("base", "it"):
        tokenizer.save_pretrained(family_folder(tmp_path / name, "llama"))
    folders = (tmp_path / "base", tmp_path / "it")
    assert said(*folders) == []
    monkeypatch.setenv("HOME", str(tmp_path))
    assert said(Path("~/base"), Path("$HOME/it")) == []
    (line,) = said(*folders, "mix.start=nowhere")
    assert "token 'nowhere' has no id" in line
    weights = tmp_path / "it" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    (line,) = said(*folders)
    assert line.startswith("models.it: ")
    assert "is cut off or no safetensors file" in line
