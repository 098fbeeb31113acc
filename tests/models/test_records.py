from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import ModelError
from pipeline.models.records import (
    ModelRecord,
    describe,
    have_same_weights,
    is_current,
    read_records,
    write_records,
)

MakeFolder = Callable[..., Path]


def test_a_record_holds_shape_and_digests(tmp_path: Path, model_folder: MakeFolder) -> None:
    record = describe(model_folder(tmp_path / "m"), "local", "m")
    assert (record.architecture, record.d_model, record.n_layers) == ("llama", 16, 3)
    assert record.files.keys() == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert record.n_bytes == sum(
        p.stat().st_size for n in record.files for p in [tmp_path / "m" / n]
    )


def test_the_same_files_of_weights_are_the_same_weights() -> None:
    files = {"config.json": {"sha256": "c"}, "model.safetensors": {"sha256": "w"}}
    one = ModelRecord("local", "m", "", "llama", 16, 3, 300, files, None)
    other = replace(one, location="n", files=files | {"config.json": {"sha256": "d"}})
    tuned = replace(one, files=files | {"model.safetensors": {"sha256": "v"}})
    assert have_same_weights({"base": one, "it": other})
    assert not have_same_weights({"base": one, "it": tuned})
    assert not have_same_weights({"base": replace(one, files={}), "it": replace(one, files={})})


def test_records_are_read_back(tmp_path: Path, model_folder: MakeFolder) -> None:
    record = describe(model_folder(tmp_path / "m"), "local", "m")
    write_records(tmp_path, {"base": record, "it": record})
    assert read_records(tmp_path) == {"base": record, "it": record}


def test_a_changed_local_folder_is_not_current(tmp_path: Path, model_folder: MakeFolder) -> None:
    folder = model_folder(tmp_path / "m")
    record = describe(folder, "local", str(folder))
    write_records(tmp_path, {"base": record, "it": record})
    assert is_current(tmp_path)
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    assert not is_current(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "config.json").write_text("{}"), "has model_type None"),
        (
            lambda folder: (folder / "config.json").write_text('{"model_type": ["llama"]}'),
            r"has model_type \['llama'\]",
        ),
        (lambda folder: (folder / "config.json").write_text("[]"), "holds no JSON object"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"has no model\.safetensors"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(
    tmp_path: Path, model_folder: MakeFolder, damage: Callable[[Path], object], message: str
) -> None:
    folder = model_folder(tmp_path / "m")
    damage(folder)
    with pytest.raises(ModelError, match=message):
        describe(folder, "local", "m")
