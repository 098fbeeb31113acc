"""Losses taken piece by piece, against the plain form that holds all logits at once."""

from functools import partial
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.analysis.causal.patches import Batch, LatentPatches, causal_batch
from pipeline.analysis.evaluation.splice import splice_batch
from pipeline.analysis.groups import Cells
from pipeline.analysis.losses import BYTES_PER_LOGIT, Head, target_scores, token_losses
from pipeline.analysis.parting.screening import token_divergences
from pipeline.analysis.splicing import Unpatched, head_of
from pipeline.crosscoder import Crosscoder
from pipeline.models.hook import continued, residual
from tests.analysis.readings import hooked
from tests.models.families import random_family

D, V = 6, 23
PATCHED = 5


def head_logits(
    weight_VD: Tensor, bias_V: Tensor | None, cap: float | None, stream: Tensor
) -> Tensor:
    logits = torch.nn.functional.linear(stream, weight_VD, bias_V)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def room_for(n_positions: int, n_vocab: int = V) -> int:
    return 2 * BYTES_PER_LOGIT * n_vocab * n_positions


@st.composite
def cases(draw: st.DrawFn) -> tuple[Head, Tensor, Tensor, list[Tensor]]:
    """A head with or without bias and soft-cap, room for a few positions, streams of any scale."""
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    n, scale = draw(st.integers(1, 17)), draw(st.sampled_from((0.1, 1.0, 20.0)))
    weight, bias = torch.randn(V, D, generator=random), torch.randn(V, generator=random)
    cap = draw(st.sampled_from((None, 3.0)))
    logits = partial(head_logits, weight, bias if draw(st.booleans()) else None, cap)
    head = Head(logits, V, room_for(draw(st.integers(1, 20))))
    clean, *patched = scale * torch.randn(1 + PATCHED, n, D, generator=random)
    return head, torch.randint(V, (n,), generator=random), clean, patched


def plain_losses(head: Head, targets: Tensor, clean: Tensor, patched: list[Tensor]) -> Tensor:
    log_clean = head.logits(clean).log_softmax(dim=-1)
    found = []
    for stream in (clean, *patched):
        logits = head.logits(stream)
        ce = cross_entropy(logits, targets, reduction="none")
        log_p = logits.log_softmax(dim=-1)
        kl = kl_div(log_p, log_clean, reduction="none", log_target=True).sum(dim=-1)
        found.append(torch.stack([ce, kl]))
    return torch.stack(found)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_losses_in_pieces_are_those_of_all_logits_at_once(
    case: tuple[Head, Tensor, Tensor, list[Tensor]],
) -> None:
    head, targets, clean, patched = case
    found = token_losses(head, targets, clean, iter(patched))
    # Products of other shapes round otherwise, by a float32's share of the logits.
    close = 1e-6 * max(1.0, *(float(head.logits(x).abs().max()) for x in (clean, *patched)))
    expected = plain_losses(head, targets, clean, patched)
    assert torch.allclose(found, expected, rtol=1e-6, atol=close)
    assert torch.equal(found, token_losses(head, targets, clean, patched)), "bits from run to run"
    assert not found[0, 1].any(), "the clean stream is at no distance of itself"
    log_prob, is_likeliest = target_scores(head, targets, patched[0])
    assert torch.allclose(log_prob, -found[1, 0], atol=close)
    assert torch.equal(is_likeliest, head.logits(patched[0]).argmax(dim=-1) == targets)


def test_streams_wait_only_as_far_as_there_is_room() -> None:
    head = Head(lambda x: x, V, room_bytes=2 * 1000)
    groups = list(head.waiting(torch.zeros(7, 4), n_bytes=300))
    assert [len(group) for group in groups] == [3, 3, 1]
    assert [len(group) for group in head.waiting(torch.zeros(2, 4), n_bytes=10**6)] == [1, 1]


class Largest(TorchDispatchMode):
    """The most bytes of any tensor that an operation makes while this is open."""

    def __init__(self) -> None:
        super().__init__()
        self.n_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor) and not func.is_view:
                self.n_bytes = max(self.n_bytes, tensor.nbytes)
        return made


def test_no_analysis_makes_more_logits_than_there_is_room_for() -> None:
    """A Gemma-2, soft-cap and tied embedding included, with room for 4 of 22 predictions."""
    model, n_vocab, n_at_once = random_family("gemma2"), 300, 4
    head = head_of(model, room_for(n_at_once, n_vocab))
    pair = [hooked(partial(residual, model, 2), partial(continued, model, 2), head)] * 2
    crosscoder = Crosscoder.from_weights(
        kind="l1",
        W_enc=torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0)),
        W_dec=torch.randn(8, 2, 16, generator=torch.Generator().manual_seed(1)),
        b_enc=torch.zeros(8),
        b_dec=torch.zeros(2, 16),
    )
    token_ids = torch.randint(3, 300, (2, 12), generator=torch.Generator().manual_seed(2))
    nothing = torch.zeros_like(token_ids)
    batch = Batch(token_ids, nothing, nothing.bool(), nothing)
    with Largest() as largest:
        splice_batch(
            (pair[0], pair[1]),
            crosscoder,
            token_ids,
            nothing,
            Cells(("text",)),
            mean_MD=torch.ones(2, 16),
            unpatched=Unpatched(None, None),
        )
        causal_batch(
            (pair[0], pair[1]), LatentPatches(crosscoder, {}), batch, Unpatched(None, None)
        )
        token_divergences((pair[0], pair[1]), token_ids, Unpatched(None, None))
    assert largest.n_bytes == n_at_once * n_vocab * 4
