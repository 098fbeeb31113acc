"""`~` and `$NAME` mean what they mean in a shell, also in a temporary work tree."""

from pathlib import Path

import pytest

from pipeline.paths import expanded, in_main_tree, located, located_pattern
from pipeline.planning.missing import missing_for
from tests.planning.test_planning import LAPTOP


def test_home_and_variables_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("MODELS", "/big/models")
    assert expanded("~/x") == Path("/home/ada/x")
    assert expanded("$MODELS/x") == Path("/big/models/x")
    assert expanded("$NO_SUCH_NAME/x") == Path("$NO_SUCH_NAME/x")


def test_what_a_temporary_work_tree_lacks_is_found_in_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, copy = tmp_path / "main", tmp_path / "main/.dvc/tmp/exps/tmp1"
    copy.mkdir(parents=True)
    (main / "text.jsonl").write_text("{}")
    (copy / "own").mkdir()
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(main))
    assert located("text.jsonl") == main / "text.jsonl"
    assert located_pattern("*.jsonl") == main / "*.jsonl"
    assert located("own") == Path("own")
    assert in_main_tree("data/bulk") == main / "data/bulk"
    assert in_main_tree("/big/bulk") == Path("/big/bulk")
    monkeypatch.chdir(main)
    assert in_main_tree("data/bulk") == Path("data/bulk")


def test_the_plan_finds_what_the_stages_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TEXT", str(tmp_path))
    for file in ("base/config.json", "it/config.json", "a.jsonl", "b.jsonl"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text('{"vocab_size": 9}')
    from pipeline.config import compose

    monkeypatch.chdir(Path(__file__).parents[1])
    config = compose(
        [
            "+experiment=local",
            "hook_point.layer=0",
            "models.base.path='~/base'",
            "models.it.path='$TEXT/it'",
            "sources.pile.paths=['~/a.jsonl']",
            "sources.chat.paths=['$TEXT/b.*']",
        ]
    )
    monkeypatch.setattr("pipeline.planning.missing.size_of", lambda *_: object())
    monkeypatch.setattr("pipeline.planning.missing.sizes_of", lambda *_: None)
    assert missing_for(config, LAPTOP, []) == []
