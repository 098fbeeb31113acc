from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pipeline.config.text import MixConfig, SourceConfig, sequences_per_round

ROOT = Path(__file__).parents[2]
SOURCE = TypeAdapter[Any](SourceConfig)
MIX: dict[str, Any] = {
    "shares": {"pile": 0.5, "chat": 0.5},
    "sequence_length_tokens": 1024,
    "n_train_tokens": 400_000_000,
    "n_heldout_tokens": 1,
    "heldout_fraction": 0.01,
    "heldout_document_tokens": None,
    "separator": "eos",
    "start": "auto",
    "template": "plain",
    "seed": 0,
    "rows_per_chunk": 1024,
}


@pytest.mark.parametrize("name", ["generated", "files", "hub"])
def test_every_source_file_holds_a_pile_and_a_chat_source(name: str) -> None:
    sources = yaml.safe_load((ROOT / "conf" / "sources" / f"{name}.yaml").read_text())
    assert set(sources) >= {"pile", "chat"}
    for spec in sources.values():
        values = spec | ({"paths": ["a.jsonl"]} if name == "files" else {})
        assert SOURCE.validate_python(values).kind == name


def test_the_asked_tokens_become_rows_rounded_up_to_pairs_of_sequences() -> None:
    mix = MixConfig.model_validate(MIX)
    assert mix.n_train_sequences % 2 == 0
    assert 0 <= mix.n_train_sequences * 1023 - 400_000_000 < 2 * 1023
    assert mix.n_heldout_sequences == 2


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(1, 10**9))
def test_a_round_holds_every_share_exactly_and_no_source_is_a_sequence_off(
    parts: list[int], n_tokens: int
) -> None:
    shares = {f"source_{n}": part / sum(parts) for n, part in enumerate(parts)}
    mix = MixConfig.model_validate(MIX | {"shares": shares, "n_train_tokens": n_tokens})
    step = sequences_per_round(shares.values())
    assert mix.n_train_sequences % step == 0
    assert 0 <= mix.n_train_sequences * 1023 - n_tokens < step * 1023
    if step > 1:
        assert all(
            (share * step) == pytest.approx(round(share * step)) for share in shares.values()
        )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sequence_length_tokens", 1),
        ("sequence_length_tokens", "1024"),
        ("n_train_tokens", 0),
        ("n_heldout_tokens", -1),
        ("heldout_fraction", 0.0),
        ("heldout_fraction", 1.0),
        ("heldout_fraction", 1e-12),
        ("separator", "bos"),
        ("seed", -1),
        ("rows_per_chunk", 0),
        ("shares", {"pile": 0.5, "chat": 0.4}),
        ("shares", {"pile": 1.5, "chat": -0.5}),
        ("shares", {"pile": 0.5, "template": 0.5}),
        ("shares", {"pile": 0.5, "Wiki 2": 0.5}),
        ("shares", {}),
        ("text_source", "pile"),
        ("surprise", 1),
    ],
)
def test_a_mix_out_of_range_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        MixConfig.model_validate(MIX | {key: value})


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "web"},
        {"kind": "generated", "generator": "poems", "n_documents": 1, "seed": 0},
        {"kind": "generated", "generator": "chats", "n_documents": 0, "seed": 0},
        {"kind": "generated", "generator": "chats", "n_documents": 1},
        {"kind": "files", "paths": [], "format": "text", "text_field": "t"},
        {"kind": "generated", "generator": "chats", "n_documents": 1, "seed": 0, "paths": ["a"]},
    ],
)
def test_a_malformed_source_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SOURCE.validate_python(spec)
