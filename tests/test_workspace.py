import json
from pathlib import Path

import pytest

from pipeline import artifacts
from pipeline.config import compose
from pipeline.errors import ConfigError, PipelineError
from pipeline.workspace import Workspace
from stages import chain

ROOT = Path(__file__).parents[1]
INPUT = Path("data/models")
OVERRIDES = ["+experiment=smoke"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A main folder with conf/ and one artifact."""
    monkeypatch.chdir(tmp_path)
    Path("conf").symlink_to(ROOT / "conf")
    make_input(1)


def make_input(n: int) -> None:
    with artifacts.build(INPUT, artifact="models", format_version=n, config={}, inputs={}) as build:
        build.publish(counts={}, facts={})


def workspace() -> Workspace:
    return Workspace(Path("data/points/a"), {INPUT: "models"})


def test_a_stage_writes_in_its_workspace_and_sees_the_linked_artifacts() -> None:
    one = workspace()
    one.run(["compose"], [*OVERRIDES, "seed=7"])
    assert "seed: 7" in (one.path / "composed.yaml").read_text()
    assert not Path("composed.yaml").exists()
    assert (one.path / INPUT).resolve() == INPUT.resolve()
    assert compose(OVERRIDES).seed != 7


def test_what_is_done_is_not_done_again_unless_overrides_or_inputs_change() -> None:
    one = workspace()
    one.run(["compose"], OVERRIDES)
    composed = one.path / "composed.yaml"
    composed.unlink()
    one.run(["compose"], OVERRIDES)
    assert not composed.exists()
    assert one.is_done(["compose"], OVERRIDES)
    one.run(["compose"], [*OVERRIDES, "seed=7"])
    assert composed.exists()
    make_input(2)
    assert not one.is_done(["compose"], [*OVERRIDES, "seed=7"])


def test_a_failed_stage_is_an_error_with_its_words_and_is_not_done() -> None:
    one = workspace()
    with pytest.raises(PipelineError, match=r"stage compose failed in data/points/a.*seed=x"):
        one.run(["compose"], [*OVERRIDES, "seed=x"])
    assert not one.is_done(["compose"], [*OVERRIDES, "seed=x"])


def test_a_missing_input_is_an_error_that_names_the_stage_that_makes_it() -> None:
    with pytest.raises(PipelineError, match="dvc repro mix"):
        Workspace(Path("data/points/b"), {Path("data/tokens.zarr"): "mix"}).run(["compose"], [])


def test_the_marker_says_what_was_done() -> None:
    one = workspace()
    one.run(["compose"], OVERRIDES)
    done = json.loads((one.path / "done.json").read_text())
    assert done["stages"] == ["compose"]
    assert done["inputs"] == {str(INPUT): artifacts.manifest_digest(INPUT)}


def test_a_chain_with_a_misspelt_stage_runs_none_of_them() -> None:
    with pytest.raises(ConfigError, match=r"no stage is called .trian., expected some of .*train"):
        chain.main(["models", "trian"])
    with pytest.raises(ConfigError, match="no stage given"):
        chain.main([])
    assert not INPUT.joinpath("tokenizer").exists()
