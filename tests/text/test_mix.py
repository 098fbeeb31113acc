import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline.config.text import FilesSourceConfig, MixConfig, SourceConfig
from pipeline.errors import SourceError
from pipeline.labels import HELDOUT, TEMPLATE, TRAIN
from pipeline.store.writer import StoreWriter
from pipeline.text.mix import STREAMS, Mix, write_mix
from pipeline.text.packing import NO_DOCUMENT
from tests.text.conftest import generated

PILE, CHAT = 0, 1

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Sources = dict[str, SourceConfig]
Arrays = dict[str, np.ndarray]


def config(**changes: Any) -> MixConfig:
    values = {
        "shares": {"pile": 0.5, "chat": 0.5},
        "sequence_length_tokens": 32,
        "n_train_tokens": 31 * 41,
        "n_heldout_tokens": 31 * 10,
        "heldout_fraction": 0.2,
        "heldout_document_tokens": None,
        "separator": "eos",
        "start": "auto",
        "template": "plain",
        "seed": 0,
        "rows_per_chunk": 8,
    }
    return MixConfig.model_validate(values | changes)


def arrays_of(mix: Mix) -> Arrays:
    chunks = list(mix.chunks())
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


@pytest.fixture(scope="module")
def mix(sources: Sources, tokenizer: "PreTrainedTokenizerFast") -> Mix:
    return Mix(config(), sources, tokenizer, 1)


@pytest.fixture(scope="module")
def arrays(mix: Mix) -> Arrays:
    return arrays_of(mix)


def quiet(_: Mix) -> Callable[[int], None]:
    return lambda _n: None


def digests(path: Path) -> dict[str, str]:
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    }


def test_half_the_tokens_of_each_split_are_of_each_source_in_turn(arrays: Arrays) -> None:
    for split, n in ((TRAIN, 42), (HELDOUT, 10)):
        of_split = arrays["source"][arrays["split"] == split]
        assert len(of_split) == n
        assert (of_split[0::2] == PILE).all()
        assert (of_split[1::2] == CHAT).all()


def test_the_published_mix_keeps_its_tokens(arrays: Arrays) -> None:
    """The digest is that of the mix when it knew two sources of equal shares alone."""
    assert hashlib.sha256(arrays["token_id"].tobytes()).hexdigest()[:16] == "ee7088d73748bf4c"


def test_each_of_three_sources_has_its_exact_share_in_every_round(
    sources: Sources, tokenizer: "PreTrainedTokenizerFast"
) -> None:
    shares = {"chat": 0.2, "code": 0.3, "pile": 0.5}
    mixed = {**sources, "code": generated("documents", kinds=("code",))}
    mix = Mix(config(shares=shares, n_train_tokens=31 * 41), mixed, tokenizer, 1)
    assert mix.n_sequences == {TRAIN: 50, HELDOUT: 10}
    source = arrays_of(mix)["source"][:, 0].reshape(6, 10)
    assert [(source == code).sum(axis=1).tolist() for code in range(3)] == [
        [5] * 6,
        [2] * 6,
        [3] * 6,
    ]
    assert {name: mix.counts()[f"train_{name}_sequences"] for name in mixed} == {
        "pile": 25,
        "chat": 10,
        "code": 15,
    }


def test_one_source_can_be_the_whole_mix(
    sources: Sources, tokenizer: "PreTrainedTokenizerFast"
) -> None:
    mix = Mix(config(shares={"pile": 1.0}), {"pile": sources["pile"]}, tokenizer, 1)
    assert mix.n_sequences == {TRAIN: 41, HELDOUT: 10}
    assert (arrays_of(mix)["source"] == PILE).all()


def test_train_comes_first_and_no_document_is_in_both_splits(arrays: Arrays) -> None:
    assert (np.diff(arrays["split"].astype(int)) >= 0).all()
    for source in (PILE, CHAT):
        used = [
            set(
                arrays["document"][
                    (arrays["split"] == split) & (arrays["source"][:, 0] == source)
                ].flat
            )
            - {NO_DOCUMENT}
            for split in (TRAIN, HELDOUT)
        ]
        assert used[0]
        assert used[1]
        assert not used[0] & used[1]


def test_held_out_text_is_of_more_documents_where_a_stretch_of_each_is_taken(
    sources: Sources, tokenizer: "PreTrainedTokenizerFast", arrays: Arrays
) -> None:
    cut = arrays_of(Mix(config(heldout_document_tokens=4), sources, tokenizer, 1))
    train = arrays["split"] == TRAIN
    assert np.array_equal(cut["token_id"][train], arrays["token_id"][train])
    whole, of_more = (
        np.unique(found["document"][~train & (found["source"][:, 0] == PILE)], return_counts=True)
        for found in (arrays, cut)
    )
    assert len(of_more[0]) > 2 * len(whole[0])
    assert max(n for document, n in zip(*of_more, strict=True) if document != NO_DOCUMENT) <= 5


def test_only_chats_have_template_tokens(arrays: Arrays) -> None:
    share = [
        (arrays["token_class"][arrays["source"] == source] == TEMPLATE).mean()
        for source in (PILE, CHAT)
    ]
    assert share[0] == 0
    assert 0.02 < share[1] < 0.5


def test_counts_add_up(mix: Mix, arrays: Arrays) -> None:
    counts = mix.counts()
    assert counts["n_train_sequences"] == 42
    assert counts["n_heldout_sequences"] == 10
    assert counts["n_train_tokens"] == 42 * 31
    for split in ("train", "heldout"):
        for label in ("pile", "chat"):
            n = {
                key.removeprefix(f"{split}_{label}_"): value
                for key, value in counts.items()
                if key.startswith(f"{split}_{label}_")
            }
            assert (
                n["document_tokens"] + n["separator_tokens"] + n["bos_tokens"]
                == n["sequences"] * 32 + n["leftover_tokens"]
            )


def test_a_mix_taken_up_at_any_chunk_is_the_unbroken_one(
    sources: Sources, tokenizer: "PreTrainedTokenizerFast", mix: Mix, arrays: Arrays
) -> None:
    first = Mix(config(), sources, tokenizer, 1)
    for n_chunks, _ in enumerate(first.chunks(), 1):
        entry = json.loads(json.dumps(first.entry()))
        second = Mix(config(), sources, tokenizer, 1, entry)
        if n_chunks * 8 < second.n_rows:
            rest = arrays_of(second)
            for name, array in rest.items():
                assert np.array_equal(array, arrays[name][n_chunks * 8 :])
            assert second.counts() == mix.counts()


class KilledError(Exception):
    pass


@pytest.mark.parametrize("n_chunks", [1, 3, 6, 7])
def test_a_killed_run_goes_on_to_the_same_bytes(
    tmp_path: Path,
    sources: Sources,
    tokenizer: "PreTrainedTokenizerFast",
    monkeypatch: pytest.MonkeyPatch,
    n_chunks: int,
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = write_mix(
        whole, config(), sources, tokenizer, start_id=1, n_threads=2, on_start=quiet
    )
    starts: list[int] = []

    def kill_after(mix: Mix) -> Callable[[int], None]:
        starts.append(mix.row)
        left = iter(range(n_chunks - 1))

        def advance(_: int) -> None:
            if next(left, None) is None:
                raise KilledError

        return advance

    with pytest.raises(KilledError):
        write_mix(
            broken, config(), sources, tokenizer, start_id=1, n_threads=2, on_start=kill_after
        )
    outcome = write_mix(
        broken,
        config(),
        sources,
        tokenizer,
        start_id=1,
        n_threads=2,
        on_start=lambda mix: starts.append(mix.row) or (lambda _: None),
    )
    assert starts[0] == 0
    assert starts[1] <= 8 * n_chunks
    assert outcome == expected
    assert digests(broken) == digests(whole)


def test_a_run_killed_between_sealing_and_publishing_finishes_with_the_same_counts(
    tmp_path: Path, sources: Sources, tokenizer: "PreTrainedTokenizerFast"
) -> None:
    one = write_mix(
        tmp_path / "a", config(), sources, tokenizer, start_id=1, n_threads=2, on_start=quiet
    )
    before = digests(tmp_path / "a")
    two = write_mix(
        tmp_path / "a", config(), sources, tokenizer, start_id=1, n_threads=2, on_start=quiet
    )
    assert one == two
    assert digests(tmp_path / "a") == before


def test_a_run_that_dies_before_its_last_chunk_is_on_disk_writes_that_chunk_again(
    tmp_path: Path,
    sources: Sources,
    tokenizer: "PreTrainedTokenizerFast",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = write_mix(
        whole, config(), sources, tokenizer, start_id=1, n_threads=2, on_start=quiet
    )

    def die(*_: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "finish", die)
        with pytest.raises(KilledError):
            write_mix(broken, config(), sources, tokenizer, start_id=1, n_threads=2, on_start=quiet)
    assert (
        write_mix(broken, config(), sources, tokenizer, start_id=1, n_threads=2, on_start=quiet)
        == expected
    )
    assert digests(broken) == digests(whole)


def test_files_that_changed_during_a_resumed_run_are_an_error(
    tmp_path: Path, sources: Sources, tokenizer: "PreTrainedTokenizerFast"
) -> None:
    path = tmp_path / "text.jsonl"
    path.write_text('{"text": "one two three"}\n' * 600)
    pile = FilesSourceConfig.model_validate(
        {
            "kind": "files",
            "paths": [str(path)],
            "format": "text",
            "text_field": "text",
            "conversation_field": "conversation",
        }
    )
    mixed = {**sources, "pile": pile}
    _, facts = write_mix(
        tmp_path / "a", config(), mixed, tokenizer, start_id=1, n_threads=2, on_start=quiet
    )
    assert facts["sources"]["pile"][str(path)]["bytes"] == path.stat().st_size
    path.write_text('{"text": "four"}\n' * 600)
    with pytest.raises(SourceError, match=r"sources\.pile has changed since the run"):
        write_mix(
            tmp_path / "a", config(), mixed, tokenizer, start_id=1, n_threads=2, on_start=quiet
        )


def test_the_finished_store_keeps_one_entry(
    tmp_path: Path, sources: Sources, tokenizer: "PreTrainedTokenizerFast"
) -> None:
    write_mix(tmp_path / "a", config(), sources, tokenizer, start_id=1, n_threads=2, on_start=quiet)
    saved = json.loads((tmp_path / "a" / STREAMS).read_text())
    assert [entry["row"] for entry in saved["entries"]] == [52]
