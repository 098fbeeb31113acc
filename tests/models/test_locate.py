from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from pipeline.config.models import HubModel, LocalModel
from pipeline.errors import ModelError
from pipeline.models.locate import locate_hub, locate_local

HUB = HubModel(kind="hub", repo="google/gemma-2-2b", revision="main")
RESPONSE: Any = SimpleNamespace(headers={}, request=None)  # all that the errors read of one


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.GatedRepoError("no", response=RESPONSE), "is gated: accept its licence"),
        (errors.RepositoryNotFoundError("no", response=RESPONSE), "was not found on the"),
        (errors.RevisionNotFoundError("no", response=RESPONSE), "has no revision 'main'"),
        (errors.HfHubHTTPError("no", response=RESPONSE), "cannot be reached"),
        (errors.LocalEntryNotFoundError("no"), "cannot be reached"),
        (ConnectionError("no"), "cannot be reached"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_hub_refuses_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelError, match=message):
        locate_hub(HUB)


def test_a_model_neither_cached_nor_reachable_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="is not in the local cache"):
        locate_hub(HUB)


def test_a_full_disk_is_not_called_a_missing_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(OSError, match="No space left"):
        locate_hub(HUB)


def test_a_local_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist: expected a Hugging Face folder"):
        locate_local(LocalModel(kind="local", path=str(tmp_path / "nowhere")))
