"""Null pairs: what stands beside each base row, whatever the batch."""

from typing import Any

import numpy as np
import pytest

from pipeline.config.models import DumpConfig
from pipeline.plant.pairing import STEP, pairing_of
from pipeline.plant.rows import to_bits, to_float

N_ROWS = 4_000
RANDOM = np.random.default_rng(0)
BITS = to_bits(RANDOM.standard_normal((N_ROWS, 2, 6)).astype(np.float32))
LABELS: dict[str, Any] = {
    "sequence": np.arange(N_ROWS, dtype=np.int32) // 20,
    "position": np.arange(N_ROWS, dtype=np.int32) % 20,
}


def paired(pairing: str, seed: int = 0) -> np.ndarray:
    values = {"batch_tokens": 8, "rows_per_chunk": 8, "pairing": pairing, "seed": seed}
    rows = {"scatter_seed": None, "rows_per_round": None}
    norms = {"max_norm_ratio": None, "norm_sample_sequences": 1}
    config = DumpConfig.model_validate({**values, **rows, **norms, "codec": "none"})
    return pairing_of(config)(BITS, LABELS)


def test_matched_pairs_are_left_alone() -> None:
    assert np.array_equal(paired("matched"), BITS)


def test_the_same_model_twice_is_the_same_bits_twice() -> None:
    found = paired("same")
    assert np.array_equal(found[:, 0], BITS[:, 0])
    assert np.array_equal(found[:, 1], BITS[:, 0])


def test_noise_is_about_one_step_and_not_nothing() -> None:
    found = paired("noise")
    base, it = to_float(found)[:, 0], to_float(found)[:, 1]
    assert np.array_equal(found[:, 0], BITS[:, 0])
    assert (np.abs(it - base) <= 2 * STEP * np.abs(base)).all()
    assert 0.3 < (it != base).mean() < 0.9


def test_swapped_rows_are_the_two_rows_of_their_token_in_a_fair_order() -> None:
    found = paired("swapped")
    kept = (found == BITS).all(axis=(1, 2))
    turned = (found == BITS[:, ::-1]).all(axis=(1, 2))
    assert (kept ^ turned).all()
    assert 0.45 < kept.mean() < 0.55


def test_mispaired_rows_are_every_base_row_once_beside_another_token() -> None:
    found = paired("mispaired")
    assert np.array_equal(found[:, 0], BITS[:, 0])
    number = {row.tobytes(): i for i, row in enumerate(BITS[:, 0])}
    order = [number[row.tobytes()] for row in found[:, 1]]
    assert sorted(order) == list(range(N_ROWS))
    assert not (np.array(order) == np.arange(N_ROWS)).any()
    base, it = to_float(BITS)[:, 0], to_float(found)[:, 1]
    assert abs((base * it).mean()) < 0.05


@pytest.mark.parametrize("pairing", ["noise", "swapped", "mispaired"])
def test_the_seed_decides_and_nothing_else(pairing: str) -> None:
    assert np.array_equal(paired(pairing, 1), paired(pairing, 1))
    assert not np.array_equal(paired(pairing, 1), paired(pairing, 2))
