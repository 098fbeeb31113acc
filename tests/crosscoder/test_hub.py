"""The Hub's conventions, without the Hub: local folders, and its client's calls recorded."""

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from pipeline.crosscoder import Crosscoder, Layout
from pipeline.errors import MissingArtifactError, PipelineError
from tests.crosscoder.test_model import random_crosscoder, random_rows

PROVENANCE = {
    "models": {
        "base": {"kind": "hub", "repo": "google/gemma-2-2b"},
        "it": {"kind": "hub", "repo": "google/gemma-2-2b-it"},
        "heldout": {"seed": 1},
    },
    "hook_point": {"layer": 14},
    "crosscoder": {"kind": "batch_topk", "k": 100},
    "train": {"learning_rate": 1e-4},
    "training": {"n_rows": 9, "last": {"l0": 99.5, "fve_it": 0.871}},
}


class RecordedApi:
    """Stands in for HfApi: keeps what was created, and a copy of what was uploaded."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.created: list[tuple[str, dict[str, Any]]] = []
        self.messages: list[str] = []

    def create_repo(self, repo: str, **settings: Any) -> None:
        self.created.append((repo, settings))

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> str:
        target = self.root / repo_id
        target.mkdir(parents=True)
        for file in Path(folder_path).iterdir():
            (target / file.name).write_bytes(file.read_bytes())
        self.messages.append(commit_message)
        return f"https://huggingface.co/{repo_id}/commit/0123"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecordedApi:
    """Uploads land in a folder, and downloads come from it."""
    recorded = RecordedApi(tmp_path / "hub")

    def snapshot(repo: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert revision in (None, "v1")
        for file in (recorded.root / repo).rglob("*.*"):
            name = str(file.relative_to(recorded.root / repo))
            wanted = any(fnmatch(name, pattern) for pattern in allow_patterns)
            assert wanted or file.is_dir() or file.name == "README.md", name
        return str(recorded.root / repo)

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: recorded)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    return recorded


def test_what_is_pushed_comes_back_the_same(api: RecordedApi):
    crosscoder = random_crosscoder(3).float()
    crosscoder.provenance = PROVENANCE
    address = crosscoder.push_to_hub("someone/diff", private=False, commit_message="First")
    assert address == "https://huggingface.co/someone/diff/commit/0123"
    assert api.created == [("someone/diff", {"private": False, "exist_ok": True})]
    assert api.messages == ["First"]
    fetched = Crosscoder.from_pretrained("someone/diff", revision="v1")
    for name, tensor in crosscoder.state_dict().items():
        assert torch.equal(fetched.state_dict()[name], tensor), name
    assert fetched.provenance == PROVENANCE


@pytest.mark.parametrize("layout", ["reference", "learning"])
def test_a_public_layout_can_be_pushed(api: RecordedApi, layout: Layout):
    crosscoder = random_crosscoder(3, gated=False).float()
    crosscoder.push_to_hub("someone/diff", layout=layout)
    fetched, x_raw = Crosscoder.from_pretrained("someone/diff"), random_rows(1, crosscoder).float()
    torch.testing.assert_close(fetched.reconstruct(x_raw), crosscoder.reconstruct(x_raw))
    assert not (api.root / "someone/diff/weights.safetensors").exists()


def test_a_public_crosscoder_in_a_subfolder_is_fetched(api: RecordedApi):
    crosscoder = random_crosscoder(4, gated=False).float()
    crosscoder.save(api.root / "ckkissane/x/blocks.14.hook_resid_pre", layout="reference")
    fetched = Crosscoder.from_pretrained("ckkissane/x", subfolder="blocks.14.hook_resid_pre")
    x_raw = random_rows(1, crosscoder).float()
    assert torch.equal(fetched.reconstruct(x_raw), crosscoder.reconstruct(x_raw))


def test_a_refused_upload_says_what_to_do(api: RecordedApi, monkeypatch: pytest.MonkeyPatch):
    def refuse(**settings: Any) -> None:
        raise OSError("403 Forbidden")

    monkeypatch.setattr(api, "upload_folder", refuse)
    with pytest.raises(PipelineError, match=r"someone/diff \(403 Forbidden\): log in with"):
        random_crosscoder(3).push_to_hub("someone/diff")


def test_a_name_that_is_neither_folder_nor_repository_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name, told in (
        ("no/such/folder/here", "no crosscoder at no/such/folder/here: there is no such folder"),
        ("/nowhere", "no crosscoder at /nowhere: there is no such folder"),
        ("someone/no-such-crosscoder", "someone/no-such-crosscoder"),
    ):
        with pytest.raises(MissingArtifactError, match=told):
            Crosscoder.from_pretrained(name)
