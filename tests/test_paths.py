"""`~` and `$NAME` mean what they mean in a shell, also in a temporary work tree."""

from pathlib import Path

import pytest

from pipeline.paths import expanded, in_main_tree, located, matching


def test_home_and_variables_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("MODELS", "/big/models")
    assert expanded("~/x") == Path("/home/ada/x")
    assert expanded("$MODELS/x") == Path("/big/models/x")
    assert expanded("~no-such-user/x") == Path("~no-such-user/x")
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
    assert matching("*.jsonl") == matching("text.jsonl") == [main / "text.jsonl"]
    assert located("own") == Path("own")
    assert in_main_tree("data/bulk") == main / "data/bulk"
    assert in_main_tree("/big/bulk") == Path("/big/bulk")
    monkeypatch.chdir(main)
    assert in_main_tree("data/bulk") == Path("data/bulk")


def test_a_path_that_is_there_is_no_glob(tmp_path: Path) -> None:
    named, matched = tmp_path / "chats [1].jsonl", tmp_path / "chats 1.jsonl"
    named.write_text("{}")
    assert matching(str(named)) == [named]
    named.rename(matched)
    assert matching(str(named)) == [matched]
    assert matching(str(tmp_path / "chats [2].jsonl")) == []
