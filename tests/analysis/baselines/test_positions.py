"""The mean difference by position, against direct means; and what is read in it."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.baselines.position_lens import position_frame, position_lens
from pipeline.analysis.baselines.positions import PositionMeans, document_starts, position_means
from pipeline.analysis.losses import Head
from pipeline.analysis.splicing import HookedModel
from tests.analysis.readings import hooked

V, D, START = 20, 6, 0
ROOM = 2**20
DEVICE = torch.device("cpu")


class Tokens:
    """Sequences as a token store has them."""

    def __init__(self, **columns: NDArray[Any]) -> None:
        self._columns = columns

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        return self._columns[name][start:stop]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 4), st.integers(0, 9))
def test_starts_are_the_first_tokens_of_documents_that_are_long_enough(
    lengths: list[int], n_tokens: int, n_documents: int
) -> None:
    """Documents of known tokens packed end to end behind a start; 11 tokens a sequence."""
    document = np.repeat(np.arange(len(lengths)), lengths)
    token = np.concatenate([100 * d + np.arange(n) for d, n in enumerate(lengths)])
    n_sequences = -(-len(token) // 10)
    padding = 10 * n_sequences - len(token)
    rows = [np.pad(c, (0, padding), constant_values=-2) for c in (document, token)]
    starts = np.full((n_sequences, 1), -1)
    document_QS, token_QS = (
        np.concatenate([starts, row.reshape(n_sequences, 10)], axis=1) for row in rows
    )
    source = np.where(document_QS < 0, 1, document_QS % 2)
    tokens = Tokens(document=document_QS, token_id=token_QS, source=source)
    found = document_starts(
        tokens,
        [(at, at + 1) for at in range(n_sequences)],
        {0},
        n_tokens=n_tokens,
        n_documents=n_documents,
    )
    first = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    expected = [
        100 * d + np.arange(n_tokens)
        for d, n in enumerate(lengths)
        if d % 2 == 0 and n >= n_tokens and first[d] % 10 and first[d] % 10 + n_tokens <= 10
    ]
    whole = np.array(expected).reshape(-1, n_tokens)
    assert np.array_equal(found, whole[:n_documents])


def pair() -> tuple[HookedModel, HookedModel]:
    """IT adds its position times the first coordinate, on every text."""
    table = torch.randn(V, D, generator=torch.Generator().manual_seed(1))

    def base(ids: Tensor) -> Tensor:
        return table[ids]

    def it(ids: Tensor) -> Tensor:
        moved = table[ids].clone()
        moved[..., 0] += torch.arange(ids.shape[1]).float()
        return moved

    head = Head(lambda hidden: hidden, D, ROOM)
    return hooked(base, lambda _, h: h, head), hooked(it, lambda _, h: h, head)


IDS = np.random.default_rng(0).integers(1, V, (50, 4)).astype(np.int64)


def means(start_id: int | None, n_draws: int = 200) -> PositionMeans:
    return position_means(
        pair(),
        IDS,
        start_id=start_id,
        n_draws=n_draws,
        batch_documents=7,
        random=torch.Generator().manual_seed(0),
        device=DEVICE,
    )


@pytest.mark.parametrize("start_id", [START, None])
def test_the_mean_at_each_position_is_the_direct_one(start_id: int | None) -> None:
    """Without a start token the first token stands in its place."""
    found = means(start_id)
    text = torch.from_numpy(IDS)
    if start_id is not None:
        text = torch.cat([torch.full((50, 1), start_id), text], dim=1)
    streams = [model.residual(text)[:, 1:].double() for model in pair()]
    expected = torch.stack([s.mean(dim=0) for s in streams], dim=1)
    assert np.allclose(found.mean_PMD, expected.numpy())
    at = np.arange(1, text.shape[1])
    assert np.allclose(found.difference_PD[:, 0], at, atol=1e-5)
    assert np.allclose(found.square_P, at**2, atol=1e-4)
    squares = torch.stack([s.square().sum(dim=2).mean(dim=0) for s in streams], dim=1)
    assert np.allclose(found.length_PM, squares.sqrt().numpy())
    assert found.n == 50


def test_random_directions_lie_as_the_rows_of_the_base_model_do() -> None:
    found = means(START, n_draws=4000)
    rows = pair()[0].residual(torch.from_numpy(IDS))[:, 2].double()
    covariance = torch.cov(rows.T, correction=0).numpy()
    drawn = np.cov(found.random_KPD[:, 2].T, bias=True)
    assert np.abs(drawn - covariance).max() < 0.1 * np.abs(covariance).max()
    assert np.abs(found.random_KPD[:, 2].mean(axis=0)).max() < 0.1


def test_planted_words_are_read_in_the_difference_and_not_in_random_directions() -> None:
    random = np.random.default_rng(3)
    mean_PMD = np.zeros((1, 2, D))
    mean_PMD[0, 1] = [0, 5, 4, 0, 0, -9]
    given_means = PositionMeans(
        9, mean_PMD, np.ones((1, 2)), np.ones(1), random.normal(size=(99, 1, D))
    )
    found = position_lens(
        given_means,
        (Head(torch.neg, D, ROOM), Head(torch.clone, D, ROOM)),
        {1, 2},
        str,
        n_tokens=2,
        n_vocab=D,
    )
    (position,) = found["positions"]
    assert [token for token, _ in position["promotes_in_it"]] == ["1", "2"]
    assert position["promotes_in_base"][0][0] == "5"
    assert position["suppresses_in_it"][0][0] == "5"
    assert position["read"]["it"]["words"] == ["1", "2"]
    assert position["read"]["it"]["p_value"] < 0.2
    assert position["read"]["base"]["words"] == []
    assert position["read"]["base"]["p_value"] == 1.0
    assert found["planted_words"] == ["1", "2"]


def test_the_table_of_directions_is_empty_without_models() -> None:
    frame = position_frame(means(START))
    assert frame["position"].tolist() == [1, 2, 3, 4]
    assert len(frame["difference"][0]) == D
    assert len(position_frame(None)) == 0
