from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.analysis.heldout import Window
from pipeline.analysis.organism.selectivity import (
    CHOOSING,
    TESTING,
    RowLabels,
    label_rows,
    matched_latents,
    most_selective,
    places_in_documents,
    planted_pass,
)
from pipeline.errors import MismatchError
from tests.analysis.stores import heldout_store, random_crosscoder

PILE, CHAT = 0, 1


@dataclass(frozen=True)
class Chat:
    id: int
    token_id: NDArray[np.int32]
    region: NDArray[np.uint8]
    exchange: NDArray[np.int32]


def chat(number: int, regions: list[int], exchange: list[int]) -> Chat:
    ids = np.arange(len(regions), dtype=np.int32) + 100 * number
    return Chat(number, ids, np.array(regions, np.uint8), np.array(exchange, np.int32))


FIRST = chat(3, [0, 1, 2, 3, 0, 1, 3], [-1, 0, 0, 0, -1, 1, 1])
SECOND = chat(8, [0, 1, 3], [-1, 0, 0])


def columns(*parts: tuple[int, int, NDArray[np.int32]]) -> dict[str, NDArray[np.int64]]:
    """Rows of (source, document, token ids), in order."""
    source = np.concatenate([np.full(len(ids), source) for source, _, ids in parts])
    document = np.concatenate([np.full(len(ids), number) for _, number, ids in parts])
    place = places_in_documents(source[None], document[None], np.ones((1, len(source)), bool))
    token_id = np.concatenate([ids for *_, ids in parts]).astype(np.int64)
    return {"source": source, "document": document, "token_id": token_id, "place": place[0]}


def test_rows_get_the_regions_of_their_tokens_however_documents_are_cut_up() -> None:
    separator = np.array([2], np.int32)
    stored = columns(
        (CHAT, 3, FIRST.token_id[:4]),
        (PILE, 3, np.array([7, 7], np.int32)),
        (CHAT, 3, np.concatenate([FIRST.token_id[4:], separator])),
        (CHAT, 8, SECOND.token_id[:2]),
    )
    labels = label_rows(stored, CHAT, iter([chat(1, [1], [0]), FIRST, SECOND]))
    assert labels.region.tolist() == [0, 1, 2, 3, 0, 0, 0, 1, 3, 0, 0, 1]
    assert labels.exchange.tolist() == [-1, 0, 0, 0, -1, -1, -1, 1, 1, -1, -1, 2]
    assert labels.half.tolist() == [1] * 10 + [0] * 2
    assert labels.n_exchanges == 3


def test_rows_that_were_left_out_move_no_region_of_the_others() -> None:
    stored = columns(
        (CHAT, 3, FIRST.token_id), (PILE, 3, FIRST.token_id), (CHAT, 8, SECOND.token_id)
    )
    whole = label_rows(stored, CHAT, iter([FIRST, SECOND]))
    stay = np.array([0, 2, 3, 6, 7, 12, 15])
    labels = label_rows({n: of[stay] for n, of in stored.items()}, CHAT, iter([FIRST, SECOND]))
    assert labels.region.tolist() == whole.region[stay].tolist()
    assert labels.exchange.tolist() == whole.exchange[stay].tolist()


def test_the_place_of_a_token_counts_its_document_over_sequences_and_skips_starts() -> None:
    source = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    document = np.array([[-1, 5, 5, 6], [-1, 6, 6, 7], [-1, 5, 5, 5]])
    place = places_in_documents(source, document, document >= 0)
    assert place.tolist() == [[0, 0, 1, 0], [0, 1, 2, 0], [0, 0, 1, 2]]


def test_other_text_than_the_store_was_made_of_is_refused() -> None:
    stored = columns((CHAT, 3, FIRST.token_id), (CHAT, 8, SECOND.token_id + 1))
    with pytest.raises(MismatchError, match="chat 8 has other tokens"):
        label_rows(stored, CHAT, iter([FIRST, SECOND]))
    with pytest.raises(MismatchError, match="chat 8 of the store is not in its source"):
        label_rows(stored, CHAT, iter([FIRST]))


def test_the_pass_counts_what_a_direct_count_finds(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = torch.randn(64, 2, 5, generator=torch.Generator().manual_seed(0))
    exchange = np.repeat(np.arange(16), 4).astype(np.int64)
    region = np.tile([1, 2, 3, 0], 16).astype(np.uint8)
    exchange[region == 0] = -1
    half = random.integers(0, 2, 16).repeat(4).astype(np.uint8)
    labels = RowLabels(region, half, exchange, 16)
    crosscoder = random_crosscoder().requires_grad_(False)
    with heldout_store(tmp_path / "rows.zarr", x) as reader:
        sums = planted_pass(
            crosscoder,
            Window(reader, 64, 10).batches(torch.device("cpu"), "rows"),
            labels,
        )
    f = crosscoder.encode(crosscoder.normalise(x.bfloat16().float())).numpy()
    for h in (CHOOSING, TESTING):
        for r in range(4):
            rows = f[(half == h) & (region == r)]
            assert sums.n_HR[h, r] == len(rows)
            assert sums.n_fired_HRL[h, r] == pytest.approx((rows > 0).sum(axis=0))
            assert sums.sum_HRL[h, r] == pytest.approx(rows.sum(axis=0), rel=1e-5)
        numbers = np.unique(exchange[(half == h) & (exchange >= 0)])
        caught = [
            sum((f[(exchange == e) & np.isin(region, site)] > 0).any(axis=0) for e in numbers)
            for site in ([1, 2], [3])
        ]
        assert sums.caught_HSL[h] == pytest.approx(np.array(caught))
        assert sums.n_exchanges_H[h] == numbers.size
        before = (f[(half == h) & np.isin(region, [1, 2])] > 0).sum(axis=0)
        everywhere = np.maximum(1, (f[half == h] > 0).sum(axis=0))
        assert sums.precision(h)[0] == pytest.approx(before / everywhere)
    order = most_selective(sums, np.ones(12, bool), 12)
    score = sums.selectivity(CHOOSING).max(axis=0)[order]
    assert (np.diff(score) <= 0).all()
    assert score.max() <= 1


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 8))
def test_matched_latents_are_others_none_twice_and_near(seed: int, n: int, n_near: int) -> None:
    random = np.random.default_rng(seed)
    figure = random.random(40)
    target = random.choice(40, n, replace=False)
    allowed = random.random(40) < 0.8
    found = matched_latents(target, figure, allowed, random, n_near)
    assert len(set(found.tolist())) == found.size == n
    assert not set(found.tolist()) & set(target.tolist())
    assert allowed[found].all()
    free = allowed.copy()
    free[target] = False
    first = np.sort(np.abs(figure[free] - figure[target[0]]))[min(n_near, free.sum()) - 1]
    assert abs(figure[found[0]] - figure[target[0]]) <= first


def test_fewer_are_drawn_where_too_few_are_allowed() -> None:
    allowed = np.array([True, True, True])
    random = np.random.default_rng(0)
    assert matched_latents(np.array([0, 1]), np.zeros(3), allowed, random, 5).tolist() == [2]
