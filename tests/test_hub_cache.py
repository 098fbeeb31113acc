"""What of the Hub is on this machine."""

from pathlib import Path

import pytest

from pipeline.hub_cache import how_to_get, in_hub_cache


def test_only_a_revision_that_was_downloaded_is_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--ada--pair" / "snapshots" / ("a" * 40)
    assert in_hub_cache("ada/pair", "main") is None
    snapshot.mkdir(parents=True)
    (tmp_path / "models--ada--pair" / "refs").mkdir()
    (tmp_path / "models--ada--pair" / "refs" / "main").write_text("a" * 40)
    assert in_hub_cache("ada/pair", "main") == in_hub_cache("ada/pair", None) == snapshot
    assert in_hub_cache("ada/pair", "other") is None
    assert in_hub_cache("-a..b/x", None) is None, "a name that no repository can have"


def test_a_gated_repository_asks_for_its_terms_first_unless_somebody_is_logged_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "`hf download ada/pair --revision v2`" in how_to_get("ada/pair", "v2")
    assert "gated" not in how_to_get("ada/pair", "v2")
    assert "gated" in how_to_get("google/gemma-2-2b", None)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "token")
    assert "gated" not in how_to_get("google/gemma-2-2b", None)
