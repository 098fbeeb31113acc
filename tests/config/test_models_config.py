from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.config.models import DumpConfig, HookPointConfig, ModelsConfig

HELDOUT = {
    "sources": ["pile", "chat"],
    "more_sources": [],
    "n_sequences": 8,
    "sequence_length_tokens": 64,
    "fraction": 0.1,
    "seed": 0,
}
LOCAL = {"kind": "local", "path": "/m"}
TRAINING = {
    "sources": {"chat": 1.0},
    "n_steps": 10,
    "batch_sequences": 8,
    "micro_batch_sequences": 4,
    "sequence_length_tokens": 64,
    "learning_rate": 1e-3,
    "warmup_fraction": 0.1,
    "weight_decay": 0.1,
    "gradient_clip": 1.0,
    "precision": "bf16",
    "checkpoint_every_steps": 5,
    "seed": 0,
}
TUNED = TRAINING | {"kind": "tuned", "of": "base", "lora": None}
TRAINED = TRAINING | {
    "kind": "trained",
    "architecture": "llama",
    "vocab_size": 512,
    "d_model": 32,
    "d_mlp": 64,
    "d_head": 8,
    "n_layers": 2,
    "n_heads": 4,
    "n_key_value_heads": 2,
    "tokenizer": {"sources": ["pile"], "n_documents": 10},
}


def parse(base: dict[str, Any] = LOCAL, it: dict[str, Any] = LOCAL) -> ModelsConfig:
    return ModelsConfig.model_validate(
        {
            **{"base": base, "it": it, "twin": None},
            **{"start": "auto", "template": "plain", "heldout": HELDOUT},
        }
    )


@pytest.mark.parametrize("spec", [LOCAL, TUNED, {"kind": "hub", "repo": "a/b", "revision": "main"}])
def test_each_kind_parses(spec: dict[str, Any]) -> None:
    assert parse(it=spec).it.kind == spec["kind"]
    assert parse(base=TRAINED).base.kind == "trained"


@pytest.mark.parametrize(
    ("base", "it", "message"),
    [
        (LOCAL, TUNED | {"of": "it"}, "cannot be made from itself"),
        (TUNED | {"of": "it"}, TUNED, "one of the two must be hub, local or trained"),
        (LOCAL, TUNED | {"sources": {"chat": 0.5}}, "shares sum to 0.5, expected 1"),
        (LOCAL, TUNED | {"sources": {}}, "at least 1 item"),
        (LOCAL, TUNED | {"micro_batch_sequences": 3}, r"must divide batch_sequences \(8\)"),
        (LOCAL, TUNED | {"n_steps": 0}, "greater than or equal to 1"),
        (LOCAL, TUNED | {"n_steps": "10"}, "valid integer"),
        (LOCAL, TUNED | {"precision": "fp16"}, "'fp32' or 'bf16'"),
        (LOCAL, TUNED | {"stepz": 1}, "Extra inputs are not permitted"),
        (TRAINED | {"n_key_value_heads": 3}, LOCAL, r"must divide n_heads \(4\)"),
        (TRAINED | {"d_head": 7}, LOCAL, "must be even"),
        (LOCAL, {"kind": "zip"}, "does not match any of the expected tags"),
        (LOCAL, {"kind": "local"}, "Field required"),
        (LOCAL, {"kind": "hub", "repo": "a b", "revision": "main"}, "match pattern"),
    ],
)
def test_a_pair_that_cannot_be_made_is_refused(
    base: dict[str, Any], it: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        parse(base, it)


@pytest.mark.parametrize(
    "fields", [{"layer": -1}, {"dtype": "float16"}, {"attention": "flash"}, {"layer": 1.0}]
)
def test_a_hook_point_out_of_range_is_refused(fields: dict[str, Any]) -> None:
    good = {"layer": 3, "dtype": "bfloat16", "attention": "eager", "layers": []}
    assert HookPointConfig.model_validate(good).layer == 3
    with pytest.raises(ValidationError):
        HookPointConfig.model_validate(good | fields)


@pytest.mark.parametrize("key", ["batch_tokens", "rows_per_chunk"])
def test_a_dump_needs_positive_sizes(key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        DumpConfig.model_validate({"batch_tokens": 1, "rows_per_chunk": 1} | {key: 0})
