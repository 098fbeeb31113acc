"""What follows from the logits of a language model, without ever holding the logits of a batch.

A vocabulary of 256,000 makes a megabyte of float32 logits per position, and losses want several
such arrays. So the residual stream after the last block is kept, which is a hundred times narrower,
and logits are made of as many positions as `Head.room_bytes` holds, used, and let go. Each position
sees the whole vocabulary at once: pieces of it, and sums joined over them, would save no time and
need the same head.

Letters: N positions, D d_model, V vocabulary.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BYTES_PER_LOGIT = 20
"""Alive at once per position and token: the clean distribution and its logarithm, a patched one's
logits, their copy in float32 or the soft-cap's, and the logarithm of its distribution."""


@dataclass(frozen=True)
class Head:
    """A model's final norm, unembedding and soft-cap, and the memory for what follows.

    logits: residual stream after the last block [N, D] -> logits [N, V]
    room_bytes: for streams that wait, and for logits and what is computed of them, half for each
    """

    logits: Callable[[Tensor], Tensor]
    n_vocab: int
    room_bytes: int

    @property
    def n_at_once(self) -> int:
        """Positions whose logits fit."""
        return max(1, self.room_bytes // (2 * BYTES_PER_LOGIT * self.n_vocab))

    def pieces(self, n: int) -> Iterator[slice]:
        """`n` positions in pieces that fit."""
        return (slice(at, at + self.n_at_once) for at in range(0, n, self.n_at_once))

    def waiting(self, streams: Iterable[Tensor], n_bytes: int) -> Iterator[list[Tensor]]:
        """The streams, of `n_bytes` each, as many at a time as may wait for their logits."""
        fit, held = max(1, self.room_bytes // (2 * max(n_bytes, 1))), []
        for stream in streams:
            held.append(stream)
            if len(held) == fit:
                yield held
                held = []
        if held:
            yield held


def token_losses(
    head: Head, targets_N: Tensor, clean_ND: Tensor, patched: Iterable[Tensor]
) -> Tensor:
    """[1 + P, 2, N] in nats, of the clean stream and of the P patched ones [N, D], one at least:
    cross entropy, and KL(clean || it)."""
    found: list[Tensor] = []
    # Written into anew for every patch: arrays of this size that come and go leave a process with
    # holes in its memory, into which aligned blocks of the same size do not fit, and it grows.
    n_at_once = min(head.n_at_once, len(targets_N))
    room = [torch.empty(n_at_once, head.n_vocab, device=clean_ND.device) for _ in range(3)]
    for streams in head.waiting(patched, clean_ND.nbytes):
        pieces = [
            _losses(head, room, targets_N[piece], clean_ND[piece], [x[piece] for x in streams])
            for piece in head.pieces(len(targets_N))
        ]
        # Every group needs the clean distribution anew, whose own losses count once.
        found.append(torch.cat(pieces, dim=2)[min(len(found), 1) :])
    return torch.cat(found)


def _losses(
    head: Head, room: list[Tensor], targets_N: Tensor, clean_ND: Tensor, patched: list[Tensor]
) -> Tensor:
    """`token_losses` of one piece. room: three arrays of at least as many positions"""
    log_clean, clean, log_p = (array[: len(targets_N)] for array in room)
    log_probabilities(head, clean_ND, log_clean)
    torch.exp(log_clean, out=clean)
    ce = -log_clean.gather(1, targets_N[:, None])[:, 0]
    found = [ce, torch.zeros_like(ce)]
    for x in patched:
        log_probabilities(head, x, log_p)
        found.append(-log_p.gather(1, targets_N[:, None])[:, 0])
        # p (log p - log q) term by term, as kl_div has it, but in place: no further array [N, V].
        found.append(-log_p.sub_(log_clean).mul_(clean).sum(dim=-1))
    return torch.stack(found).unflatten(0, (-1, 2))


def target_scores(head: Head, targets_N: Tensor, stream_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Per token [N]: log probability of its target in nats, and whether no token is likelier."""
    found: list[Tensor] = []
    for piece in head.pieces(len(targets_N)):
        log_p, targets = log_probabilities(head, stream_ND[piece]), targets_N[piece]
        likeliest = log_p.argmax(dim=-1) == targets
        found.append(torch.stack([log_p.gather(1, targets[:, None])[:, 0], likeliest.float()]))
    log_prob, is_likeliest = torch.cat(found, dim=1)
    return log_prob, is_likeliest.bool()


def divergences(heads: tuple[Head, Head], streams: tuple[Tensor, Tensor]) -> Tensor:
    """[N] KL(first || second) in nats of two models' predictions, from their streams [N, D]; over
    the tokens that both heads know, where one has padding the other lacks."""
    (first, second), (x_ND, y_ND) = heads, streams
    n_vocab = min(first.n_vocab, second.n_vocab)
    pieces = [
        divergence(
            log_probabilities(first, x_ND[piece], n_vocab=n_vocab),
            log_probabilities(second, y_ND[piece], n_vocab=n_vocab),
        )
        for piece in first.pieces(len(x_ND))
    ]
    return torch.cat(pieces)


def divergence(log_p_NV: Tensor, log_q_NV: Tensor) -> Tensor:
    """[N] KL(p || q) in nats; has a gradient where either asks for one."""
    return (log_p_NV.exp() * (log_p_NV - log_q_NV)).sum(dim=-1)


def log_probabilities(
    head: Head, stream_ND: Tensor, out: Tensor | None = None, *, n_vocab: int | None = None
) -> Tensor:
    """[N, V] in float32, of no more positions than there is room for, written into `out` where that
    is given; else it has a gradient where the stream asks for one. n_vocab: of the first tokens
    alone"""
    return torch.log_softmax(head.logits(stream_ND)[:, :n_vocab].float(), dim=-1, out=out)
