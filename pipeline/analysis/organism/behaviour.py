"""A planted behaviour of a model, with latents taken out of its residual stream or put into it.

The prompts and replies are given, so a patch at the hook point changes nothing below it: latents
are encoded once, and every condition runs the upper blocks alone. Greedy decoding writes the
reply's first tokens exactly where each of them is the likeliest next token after those before it,
so one pass gives the rate of the behaviour under greedy decoding as well as its log probability.

Letters: Q prompts, S positions, D d_model, M models, J latents kept, V vocabulary.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.generation import Step, generate, greedy
from pipeline.analysis.losses import Head, target_scores
from pipeline.analysis.splicing import HookedModel, Unpatched
from pipeline.crosscoder import Crosscoder
from pipeline.labels import MODELS

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Latents = NDArray[np.int64]
BASE, IT = range(len(MODELS))


class Encoded(Protocol):
    """A prompt with its reply as tokens, without BOS."""

    @property
    def token_id(self) -> NDArray[np.int32]: ...
    @property
    def is_opening(self) -> Bools: ...
    @property
    def is_reply(self) -> Bools: ...


@dataclass(frozen=True)
class Batch:
    """token_ids, is_opening, is_reply, is_token [Q, S], BOS first, padded on the right (which no
    earlier position sees), neither of which is_token marks, nor outliers: no patch touches these;
    hidden_M: residual streams [Q, S, D]; f [Q, S, J] of the `latents` that are kept (ascending), 0
    where is_token is not."""

    token_ids: Tensor
    is_opening: Tensor
    is_reply: Tensor
    is_token: Tensor
    hidden_M: list[Tensor]
    latents: Latents
    f: Tensor

    def active(self, latents: Latents) -> Tensor:
        """[Q, S, len(latents)] of latents that were kept."""
        index = torch.from_numpy(np.searchsorted(self.latents, latents))
        return self.f[..., index.to(self.f.device)]


@dataclass(frozen=True)
class Behaviour:
    """Per prompt [Q]: log probability in nats of the reply's first token, given the prompt, and of
    the whole reply; tokens of it; whether greedy decoding writes its first tokens.

    The first token is where a model decides on a reply; what follows, it may know by heart.
    """

    onset_log_prob: Floats
    log_prob: Floats
    n_tokens: Floats
    is_greedy: Floats


@torch.inference_mode()
def encode_batches(
    batches: Iterable[Batch], crosscoder: Crosscoder, latents: Latents
) -> list[Batch]:
    """Batches that were read, encoded; of the latents, only those given are kept."""
    kept = np.unique(latents)
    return [
        replace(
            batch,
            latents=kept,
            f=encode_streams(batch.hidden_M, crosscoder, kept) * batch.is_token[..., None],
        )
        for batch in batches
    ]


def read_batches(
    prompts: Sequence[Encoded],
    models: tuple[HookedModel, HookedModel],
    *,
    batch_prompts: int,
    start_id: int,
    unpatched: Unpatched,
    device: torch.device,
) -> Iterator[Batch]:
    """The prompts in order, run through both models up to the hook point; no latent is kept."""
    for at in range(0, len(prompts), batch_prompts):
        padded = _padded(prompts[at : at + batch_prompts], start_id)
        token_ids, is_opening, is_reply, is_token = (tensor.to(device) for tensor in padded)
        hidden_M = [model.residual(token_ids) for model in models]
        yield Batch(
            token_ids,
            is_opening,
            is_reply,
            is_token & ~unpatched.outliers(hidden_M),
            hidden_M=hidden_M,
            latents=np.zeros(0, np.int64),
            f=torch.zeros(*token_ids.shape, 0, device=device),
        )


def encode_streams(hidden_M: Sequence[Tensor], crosscoder: Crosscoder, latents: Latents) -> Tensor:
    """[Q, S, len(latents)] of the latents in both models' streams [Q, S, D]."""
    stacked = torch.stack([hidden.float() for hidden in hidden_M], dim=2)
    index = torch.from_numpy(latents).to(stacked.device)
    f = crosscoder.encode(crosscoder.normalise(stacked.flatten(0, 1)))[:, index]
    return f.unflatten(0, stacked.shape[:2])


def _padded(prompts: Sequence[Encoded], bos: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    width = 1 + max(prompt.token_id.size for prompt in prompts)
    ids = torch.full((len(prompts), width), bos, dtype=torch.long)
    marks = torch.zeros(3, len(prompts), width, dtype=torch.bool)
    for q, prompt in enumerate(prompts):
        end = 1 + prompt.token_id.size
        ids[q, 1:end] = torch.from_numpy(prompt.token_id.astype(np.int64))
        marks[0, q, 1:end] = torch.from_numpy(prompt.is_opening)
        marks[1, q, 1:end] = torch.from_numpy(prompt.is_reply)
        marks[2, q, 1:end] = True
    return ids, marks[0], marks[1], marks[2]


Patch = Callable[[Batch], Tensor]
"""Batch -> what to add to the residual stream [Q, S, D], in the model's own units."""


def nothing(batch: Batch) -> Tensor:
    """The patch that leaves the model as it is."""
    return torch.zeros((), device=batch.token_ids.device)


def ablation(crosscoder: Crosscoder, latents: Latents, m: int = IT) -> Patch:
    """Takes the latents' own contribution out at every token: - sum_j f_j d_j^m / scale_m."""
    directions = _directions(crosscoder, latents, m, m)
    return lambda batch: -(batch.active(latents) @ directions)


def steering(vectors_2D: Tensor) -> Patch:
    """Puts the first vector in at the tokens that open the reply, and the second at its tokens."""
    opening_D, reply_D = vectors_2D

    def patch(batch: Batch) -> Tensor:
        return batch.is_opening[..., None] * opening_D + batch.is_reply[..., None] * reply_D

    return patch


def steering_vectors(crosscoder: Crosscoder, latents: Latents, values_2J: Floats, m: int) -> Tensor:
    """[2, D] sum_j value_j d_j^IT, in the units of model `m`: the latents' IT directions with the
    given value of each where the reply opens and in the reply."""
    directions = _directions(crosscoder, latents, IT, m)
    return torch.from_numpy(values_2J).to(directions) @ directions


def _directions(crosscoder: Crosscoder, latents: Latents, decoder: int, units: int) -> Tensor:
    """[len(latents), D] decoder vectors of model `decoder` in the units of model `units`."""
    device = crosscoder.W_dec.device
    rows = crosscoder.W_dec.detach()[torch.from_numpy(latents).to(device), decoder]
    return rows / crosscoder.activation_scale[units]


@torch.inference_mode()
def behaviour(
    batches: Sequence[Batch], model: HookedModel, m: int, patch: Patch, n_greedy_tokens: int
) -> Behaviour:
    """The behaviour of model number `m`, patched, over all prompts."""
    parts = []
    for batch in batches:
        hidden = batch.hidden_M[m]
        patched = hidden + (patch(batch) * batch.is_token[..., None]).to(hidden.dtype)
        stream = model.continued(batch.token_ids, patched)
        parts.append(_scores(model.head, stream, batch, n_greedy_tokens))
    return Behaviour(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _scores(head: Head, stream: Tensor, batch: Batch, n_greedy_tokens: int) -> tuple[Floats, ...]:
    """[Q] the fields of Behaviour, from the stream after the last block [Q, S, D]."""
    is_target = batch.is_reply[:, 1:]
    where = is_target.nonzero()
    targets = batch.token_ids[:, 1:][is_target]
    log_prob, is_likeliest = target_scores(head, targets, stream[:, :-1][is_target])
    n_prompts = len(batch.token_ids)

    def per_prompt(values: Tensor) -> Floats:
        sums = torch.zeros(n_prompts, dtype=torch.float64, device=values.device)
        return sums.index_add_(0, where[:, 0], values.double()).cpu().numpy()

    place = is_target.cumsum(dim=1)[is_target]  # 1 for the first token of a reply
    missed = ~is_likeliest & (place <= n_greedy_tokens)
    return (
        per_prompt(log_prob * (place == 1)),
        per_prompt(log_prob),
        per_prompt(torch.ones_like(log_prob)),
        (per_prompt(missed) == 0).astype(np.float64),
    )


def write_reply(
    prompt: Encoded,
    models: tuple[HookedModel, HookedModel],
    crosscoder: Crosscoder,
    latents: Latents,
    m: int,
    patch: Patch,
    *,
    n_tokens: int,
    start_id: int,
    unpatched: Unpatched,
) -> list[int]:
    """Greedy reply of model `m`, patched at every token, to the prompt with its reply cut off.

    latents: those that the patch needs
    """
    device, kept = crosscoder.W_dec.device, np.unique(latents)
    n_before = int(np.flatnonzero(prompt.is_reply)[0])
    before = np.concatenate([[start_id], prompt.token_id[:n_before]]).astype(np.int64)
    is_opening = torch.zeros(1, len(before) + n_tokens, dtype=torch.bool, device=device)
    is_opening[0, 1 : len(before)] = torch.from_numpy(prompt.is_opening[:n_before])
    is_reply = torch.arange(is_opening.shape[1], device=device)[None] >= len(before)

    def put(step: Step) -> Tensor:
        where = slice(step.first, step.first + step.token_ids.shape[1])
        hidden = list(step.hidden_M)
        f = encode_streams(hidden, crosscoder, kept)
        marks = is_opening[:, where], is_reply[:, where]
        is_token = torch.ones_like(step.token_ids, dtype=torch.bool)
        added = patch(Batch(step.token_ids, *marks, is_token, hidden, kept, f))
        return hidden[m] + added.to(hidden[m].dtype)

    text = torch.from_numpy(before)[None].to(device)
    written = generate(models, m, text, put, greedy, n_tokens=n_tokens, unpatched=unpatched)
    return written[0].tolist()
