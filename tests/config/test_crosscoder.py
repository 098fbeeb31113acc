from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from pipeline.config.crosscoder import CrosscoderConfig, TrainConfig

CONF = Path("conf")
SCHEMA: TypeAdapter[Any] = TypeAdapter(CrosscoderConfig)


def values(group: str, name: str) -> dict[str, Any]:
    loaded = yaml.safe_load((CONF / group / f"{name}.yaml").read_text())
    return {key: 49 if value == "${seed}" else value for key, value in loaded.items()}


@pytest.mark.parametrize("kind", ["l1", "dsf", "jumprelu", "batch_topk"])
def test_every_file_of_the_group_is_a_valid_crosscoder_of_its_kind(kind: str):
    assert SCHEMA.validate_python(values("crosscoder", kind)).kind == kind


def test_the_pretrained_file_asks_for_an_origin():
    empty = values("crosscoder", "pretrained")
    with pytest.raises(ValidationError, match="give exactly one of the two"):
        SCHEMA.validate_python(empty)
    assert SCHEMA.validate_python(empty | {"path": "x"}).path == "x"


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("l1", {"n_latents": 0}, "greater than 0"),
        ("l1", {"n_latents": 12.5}, "valid integer"),
        ("l1", {"sparsity_coefficient": -1.0}, "greater than or equal to 0"),
        ("l1", {"sparsity_warmup_fraction": 1.5}, "less than or equal to 1"),
        ("l1", {"k": 3}, "Extra inputs are not permitted"),
        ("l1", {"decoder_init_norm": float("nan")}, "finite"),
        ("dsf", {"n_shared_latents": 16384}, "n_shared_latents \\(16384\\) must be <"),
        ("batch_topk", {"k": 200}, "k_start \\(100\\) must be >= crosscoder.k \\(200\\)"),
        ("batch_topk", {"n_latents": 64}, "k_start \\(100\\) must be <= crosscoder.n_latents"),
        ("batch_topk", {"threshold": "guess"}, "calibrated"),
        ("jumprelu", {"bandwidth": 0.0}, "greater than 0"),
    ],
)
def test_a_value_out_of_range_is_refused(kind: str, change: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        SCHEMA.validate_python(values("crosscoder", kind) | change)


def test_a_missing_key_is_refused():
    incomplete = values("train", "default")
    del incomplete["learning_rate"]
    with pytest.raises(ValidationError, match="learning_rate"):
        TrainConfig(**incomplete)


def test_the_published_recipe_is_the_default_of_the_l1_group():
    l1, train = values("crosscoder", "l1"), values("train", "default")
    assert (l1["n_latents"], l1["decoder_init_norm"]) == (16384, 0.08)
    assert (l1["sparsity_coefficient"], l1["sparsity_warmup_fraction"]) == (2.0, 0.05)
    assert (train["batch_rows"], train["learning_rate"]) == (4096, 5e-5)
    assert (train["lr_decay_fraction"], train["gradient_clip"]) == (0.2, 1.0)
    assert (train["beta1"], train["beta2"]) == (0.9, 0.999)
