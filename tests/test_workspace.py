import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import artifacts
from pipeline.config import compose
from pipeline.errors import ConfigError, PipelineError
from pipeline.runtime import resident_memory_bytes
from pipeline.store import StoreWriter, activation_layout
from pipeline.workspace import Workspace
from stages import chain, shuffle

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
    with pytest.raises(
        ConfigError, match=r"no stage .* is called 'trian', expected some of .*train"
    ):
        chain.main(["models", "trian"])
    with pytest.raises(ConfigError, match="no stage given"):
        chain.main([])
    assert not INPUT.joinpath("tokenizer").exists()


@pytest.mark.parametrize("module", ["verify", "compose", "chain"])
def test_a_chain_names_the_stages_possible_for_a_module_that_is_none(module: str) -> None:
    with pytest.raises(ConfigError, match=rf"called '{module}', expected some of (.*)") as refused:
        chain.main(["models", module])
    possible = str(refused.value).split("expected some of ")[1].split(":")[0].split(", ")
    assert module not in possible
    assert {"models", "shuffle", "validation"} <= set(possible)


def test_memory_of_earlier_stages_does_not_count_against_the_shuffle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layout = activation_layout(2, 8, 64)
    held = np.ones(300_000_000, np.uint8)  # as if a stage before had left it
    with artifacts.build(
        Path("data/activations.zarr"), artifact="a", format_version=1, config={}, inputs={}
    ) as build:
        with StoreWriter.open(build.work, layout) as writer:
            writer.append({s.name: np.ones((100, *s.shape), s.dtype) for s in layout.arrays})
            writer.finish()
        build.publish(counts={"n_rows": 100}, facts={})
    ran = []
    monkeypatch.setattr(chain, "run", lambda stage, main: ran.append(stage.name))
    monkeypatch.setattr("sys.argv", ["chain", *OVERRIDES, "shuffle.memory_bytes=280000000"])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    chain.main(["models", "shuffle"])
    assert resident_memory_bytes() > held.nbytes
    assert ran == ["models"]
    assert Path("data/shuffled.zarr/manifest.json").exists()


def test_a_stage_that_fails_in_its_own_process_ends_the_chain(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["chain", *OVERRIDES])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with pytest.raises(SystemExit) as ended:
        chain.run_apart("shuffle")
    assert ended.value.code == 2
    assert "error: data/activations.zarr/manifest.json not found" in capfd.readouterr().err


def test_a_limit_below_what_the_process_holds_says_both_and_no_negative_number() -> None:
    assert shuffle.buffer_bytes(500, 200) == 300
    with pytest.raises(ConfigError, match=r"is 500, expected more than the 1,200 bytes") as refused:
        shuffle.buffer_bytes(500, 1200)
    assert "-" not in str(refused.value)
    assert str(refused.value).endswith("raise shuffle.memory_bytes")
