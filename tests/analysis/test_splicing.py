from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.evaluation.splice import (
    PATCHES,
    SpliceSums,
    merge,
    splice_batch,
)
from pipeline.analysis.evaluation.table import splice_table
from pipeline.analysis.groups import Cells
from pipeline.analysis.losses import BYTES_PER_LOGIT, Head
from pipeline.analysis.splicing import (
    HookedModel,
    Unpatched,
    prediction_mask,
    sample_sequences,
)
from pipeline.crosscoder import Crosscoder
from pipeline.harvest.census import rows_of
from tests.analysis.readings import hooked
from tests.analysis.stores import random_crosscoder

CELLS = Cells(("pile", "chat"))

V, D, BOS = 11, 5, 0
ONLY_BOS = Unpatched(BOS, None)
ROOM = 2 * BYTES_PER_LOGIT * V * 3
"""For the logits of three positions, fewer than the predictions of a batch."""


def toy_model(seed: int) -> HookedModel:
    """Embedding below the hook point, unembedding above it."""
    random = torch.Generator().manual_seed(seed)
    embedding = torch.randn(V, D, generator=random)
    unembedding = torch.randn(D, V, generator=random)
    return hooked(
        residual=partial(lambda table, ids: table[ids], embedding),
        continued=lambda _ids, hidden: hidden,
        head=Head(partial(lambda table, x: x @ table, unembedding), V, ROOM),
    )


def identity_crosscoder() -> Crosscoder:
    eye = torch.eye(2 * D).reshape(2, D, 2 * D)
    return Crosscoder.from_weights(
        kind="l1",
        W_enc=eye,
        W_dec=eye.permute(2, 0, 1).contiguous(),
        b_enc=torch.full((2 * D,), 64.0),
        b_dec=torch.full((2, D), -64.0),
    )


TOKENS = torch.tensor([[BOS, 3, 5, 7, 2, 9], [BOS, 1, 4, BOS, 8, 6]])
CELL_NUMBERS = torch.tensor([[0, 0, 1, 0, 1, 0], [2, 2, 3, 2, 3, 2]])


def spliced(crosscoder: Crosscoder, mean_MD: Tensor | None = None) -> SpliceSums:
    return splice_batch(
        (toy_model(1), toy_model(2)),
        crosscoder,
        TOKENS,
        CELL_NUMBERS,
        CELLS,
        mean_MD=torch.ones(2, D) if mean_MD is None else mean_MD,
        unpatched=ONLY_BOS,
    )


def test_predictions_from_and_of_bos_do_not_count() -> None:
    starts = ONLY_BOS.starts(TOKENS)
    assert prediction_mask(starts, starts).tolist() == [
        [False, True, True, True, True],
        [False, True, False, False, True],
    ]


def test_no_patch_touches_a_position_that_gives_no_row_whatever_sequences_begin_with() -> None:
    token_ids = np.array([[7, 3, 7, 4], [5, 3, 4, 7]], np.int32)
    for start_id in (7, 5, None):
        kept = Unpatched(start_id, None).starts(torch.from_numpy(token_ids))
        assert kept.tolist() == (~rows_of(token_ids, start_id)).tolist()


def test_a_perfect_crosscoder_costs_nothing_and_recovers_everything() -> None:
    sums = spliced(identity_crosscoder())
    clean, rebuilt = PATCHES.index("clean"), PATCHES.index("spliced")
    assert sums.ce_MQCP[..., rebuilt] == pytest.approx(sums.ce_MQCP[..., clean], abs=1e-4)
    assert sums.kl_MQCP[..., rebuilt] == pytest.approx(0.0, abs=1e-4)
    table = splice_table(
        sums, Bootstrap(2, n_resamples=100, confidence=0.9, random=np.random.default_rng(0))
    )
    assert table["base"]["all"]["kl_recovered_zero"]["value"] == pytest.approx(1.0, abs=1e-3)
    assert table["it"]["pile"]["ce_recovered_mean"]["value"] == pytest.approx(1.0, abs=1e-2)


@pytest.mark.parametrize(("patch", "value"), [("zero", 0.0), ("mean", 1.0), ("zero_with_bos", 0.0)])
def test_ablations_equal_the_direct_computation(patch: str, value: float) -> None:
    sums = spliced(random_crosscoder())
    for m, model in enumerate((toy_model(1), toy_model(2))):
        hidden = model.residual(TOKENS)
        kept = (TOKENS == BOS) & (not patch.endswith("_with_bos"))
        hidden = torch.where(kept[..., None], hidden, torch.full_like(hidden, value))
        mask = prediction_mask(ONLY_BOS.starts(TOKENS), ONLY_BOS.starts(TOKENS))
        expected = cross_entropy(
            model.head.logits(hidden[:, :-1][mask]), TOKENS[:, 1:][mask], reduction="sum"
        )
        found = sums.ce_MQCP[m, :, :, PATCHES.index(patch)].sum()
        assert found == pytest.approx(float(expected), rel=1e-5)


def test_outlier_rows_keep_their_own_activation_everywhere_and_predict_nothing() -> None:
    """The limit is set so that base alone is beyond it at one token, and IT at another."""
    pair = (toy_model(1), toy_model(2))
    norms = [model.residual(TOKENS).bfloat16().float().norm(dim=2) for model in pair]
    limits = (float(norms[0][0, 2]) - 1e-3, float(norms[1][1, 4]) - 1e-3)
    beyond = (norms[0] > limits[0]) | (norms[1] > limits[1])
    assert beyond[0, 2]
    assert beyond[1, 4]
    assert not beyond.all()
    seen: list[Tensor] = []

    def spy(ids: Tensor, hidden: Tensor) -> Tensor:
        seen.append(hidden)
        return pair[0].continued(ids, hidden)

    sums = splice_batch(
        (hooked(pair[0].residual, spy, pair[0].head), pair[1]),
        random_crosscoder(),
        TOKENS,
        CELL_NUMBERS,
        CELLS,
        mean_MD=torch.ones(2, D),
        unpatched=Unpatched(BOS, limits),
    )
    own, starts = pair[0].residual(TOKENS), TOKENS == BOS
    for patch, hidden in zip(PATCHES, seen, strict=True):
        changed = (hidden != own).any(dim=2)
        of_patch = ~beyond if patch.endswith("_with_bos") else ~beyond & ~starts
        assert not changed[~(of_patch | (starts & patch.endswith("_with_bos")))].any(), patch
        assert patch == "clean" or changed[of_patch & ~starts].all()
        if patch.endswith("_with_bos"):
            assert changed[starts].all(), "the start is an outlier of every model"
    counted = ~(beyond | starts)[:, :-1] & ~starts[:, 1:]
    assert sums.n_QC.sum() == counted.sum()


def test_bos_positions_keep_their_own_activation() -> None:
    seen: list[Tensor] = []
    toy = toy_model(1)

    def spy(ids: Tensor, hidden: Tensor) -> Tensor:
        seen.append(hidden)
        return toy.continued(ids, hidden)

    watched = hooked(toy.residual, spy, toy.head)
    splice_batch(
        (watched, watched),
        random_crosscoder(),
        TOKENS,
        CELL_NUMBERS,
        CELLS,
        mean_MD=torch.ones(2, D),
        unpatched=ONLY_BOS,
    )
    own = toy.residual(TOKENS)
    assert len(seen) == 2 * len(PATCHES)
    for at, hidden in enumerate(seen):
        is_kept = not PATCHES[at % len(PATCHES)].endswith("_with_bos")
        assert torch.equal(hidden[TOKENS == BOS], own[TOKENS == BOS]) == is_kept


def test_a_prediction_counts_in_the_cell_of_the_predicted_token() -> None:
    counts = spliced(random_crosscoder()).n_QC
    assert counts.tolist() == [[2, 2, 0, 0], [0, 0, 1, 1]]
    assert CELLS.pairs[1] == ("pile", "template")


def test_groups_add_up() -> None:
    sums = spliced(random_crosscoder())
    n = {name: sums.n_QC[:, cells].sum() for name, cells in CELLS.groups.items()}
    assert n["pile"] + n["chat"] == n["all"] == n["other"] + n["template"]


def test_batches_merge_to_the_whole() -> None:
    whole = spliced(random_crosscoder())
    both = merge([whole, whole])
    assert both.n_QC.shape[0] == 2 * whole.n_QC.shape[0]
    assert both.ce_MQCP.shape[1] == 2 * whole.ce_MQCP.shape[1]


def test_half_the_sampled_sequences_come_from_each_source() -> None:
    source = np.array([0] * 30 + [1] * 10)
    chosen = sample_sequences(source, 12, np.random.default_rng(0))
    assert np.unique(chosen).size == 12
    assert source[chosen].sum() == 6
    few = sample_sequences(source, 100, np.random.default_rng(0))
    assert few.tolist() == list(range(40))
