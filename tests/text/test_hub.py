"""The real loading code, on local folders in the hub's own layout, and the hub out of reach."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config.text import HubSourceConfig
from pipeline.errors import SourceError
from pipeline.text import hub
from pipeline.text.sources import describe, documents, rows

ROWS = [{"text": f"document {n}", "meta": {"pile_set_name": "a"}} for n in range(50)]
CHATS = [
    {
        "conversation_id": str(n),
        "model": "m",
        "conversation": [
            {"role": "user", "content": f"question {n}"},
            {"role": "assistant", "content": f"answer {n}"},
        ],
        "turn": 1,
        "language": "English",
    }
    for n in range(50)
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def spec(dataset: str, **changes: Any) -> HubSourceConfig:
    values = {
        "kind": "hub",
        "dataset": dataset,
        "subset": None,
        "revision": "main",
        "split": "train",
        "format": "text",
        "text_field": "text",
        "conversation_field": "conversation",
    }
    return HubSourceConfig.model_validate(values | changes)


@pytest.fixture
def pile(tmp_path: Path) -> str:
    """A folder laid out as monology/pile-uncopyrighted is."""
    folder = tmp_path / "pile" / "train"
    folder.mkdir(parents=True)
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    for name in ("00.jsonl.zst", "01.jsonl.zst"):
        (folder / name).write_bytes(pa.compress(lines, codec="zstd", asbytes=True))
    return str(folder.parent)


@pytest.fixture
def lmsys(tmp_path: Path) -> str:
    """A folder laid out as lmsys/lmsys-chat-1m is."""
    folder = tmp_path / "lmsys" / "data"
    folder.mkdir(parents=True)
    for shard in range(2):
        table = pa.Table.from_pylist(CHATS[shard * 25 : shard * 25 + 25])
        pq.write_table(table, folder / f"train-{shard:05d}-of-00002-abc.parquet")
    return str(folder.parent)


def test_the_pile_layout_streams(pile: str) -> None:
    texts = [document.text for document in documents(spec(pile), "pile")]
    assert texts == [str(row["text"]) for row in ROWS] * 2


def test_the_lmsys_layout_streams(lmsys: str) -> None:
    found = [document.text for document in documents(spec(lmsys, format="chat"), "chat")]
    assert found == [f"User: question {n}\nAssistant: answer {n}\n" for n in range(50)]


@pytest.mark.parametrize("start", [0, 1, 30, 49, 50, 51])
def test_a_stream_taken_up_has_the_ids_and_rows_of_an_unbroken_one(lmsys: str, start: int) -> None:
    source = spec(lmsys, format="chat")
    whole = [(row.id, row.load()) for row in rows(source, "chat")]
    assert [(row.id, row.load()) for row in rows(source, "chat", start)] == whole[start:]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "validation"}, "correct subset or split"),
        ({"subset": "other"}, "correct subset or split"),
        ({"text_field": "body"}, "row 1 has no field 'body', its fields are text, meta"),
    ],
)
def test_a_wrong_split_subset_or_field_is_an_error_with_a_remedy(
    pile: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SourceError) as error:
        list(documents(spec(pile, **changes), "pile"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_column_that_changes_its_type_between_files_disturbs_only_who_asks_for_it(
    tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for n, score in enumerate((1, "good")):
        rows_of_file = [{"text": f"document {n}", "score": score}]
        if kind == "jsonl":
            (folder / f"train-{n}.jsonl").write_text(json.dumps(rows_of_file[0]) + "\n")
        else:
            pq.write_table(pa.Table.from_pylist(rows_of_file), folder / f"train-{n}.parquet")
    found = [document.text for document in documents(spec(str(folder)), "pile")]
    assert found == ["document 0", "document 1"]


def test_a_damaged_shard_is_an_error_that_names_the_dataset(pile: str) -> None:
    (Path(pile) / "train" / "01.jsonl.zst").write_bytes(b"not zstd")
    with pytest.raises(SourceError, match=r"sources\.pile: dataset .*pile"):
        list(documents(spec(pile), "pile"))


def test_a_hub_out_of_reach_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    source = spec("owner/no-such-dataset")
    for use in (lambda: list(documents(source, "pile")), lambda: describe(source, "pile")):
        with pytest.raises(SourceError) as error:
            use()
        message = str(error.value)
        assert message.startswith("sources.pile: dataset 'owner/no-such-dataset'")
        assert "sources.pile.kind=files" in message


def test_a_gated_dataset_is_an_error_that_says_where_to_accept_and_how_to_log_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from datasets.exceptions import DatasetNotFoundError

    def refuse(_: HubSourceConfig) -> None:
        raise DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub.\nVisit ...")

    monkeypatch.setattr(hub, "_stream", refuse)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    with pytest.raises(SourceError) as error:
        list(documents(spec("a/b"), "chat"))
    assert str(error.value).endswith(
        "accept its terms at https://huggingface.co/datasets/a/b, then run `huggingface-cli login`"
    )
