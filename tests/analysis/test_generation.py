"""Generation with kept keys, against whole passes and against transformers' own."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.analysis.generation import Replace, Sampled, Step, generate, greedy, own
from pipeline.analysis.splicing import HookedModel, Unpatched, head_of
from pipeline.models.continuation import Continuation
from pipeline.models.hook import continued, residual
from tests.analysis.readings import hooked
from tests.models.families import random_family

BASE, IT, START = 0, 1, 1
ONLY_START = Unpatched(START, None)
TEXT = torch.randint(3, 300, (2, 9), generator=torch.Generator().manual_seed(0))
TEXT[:, 0] = START
N_TOKENS = 7
ROOM = 2**20
Pair = tuple[HookedModel, HookedModel]


def cached(model: PreTrainedModel, layer: int) -> HookedModel:
    return HookedModel(
        partial(residual, model, layer),
        partial(continued, model, layer),
        head_of(model, ROOM),
        partial(Continuation, model, layer),
    )


def reread(model: PreTrainedModel, layer: int) -> HookedModel:
    above = partial(continued, model, layer)
    return hooked(partial(residual, model, layer), above, head_of(model, ROOM))


@pytest.fixture(scope="module", params=["gemma2", "gpt2", "bloom"])
def family(request: pytest.FixtureRequest) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Two models of a family: rotary positions and a window, learned positions, and none."""
    other = random_family(request.param)
    for parameter in other.parameters():
        parameter.data.mul_(1.02)
    return random_family(request.param), other


def steered(step: Step) -> Tensor:
    """Uses both streams, the position and the tokens, so that a shift of any would show."""
    at = torch.arange(step.first, step.first + step.token_ids.shape[1])
    scale = torch.sin(at)[:, None] + (step.token_ids % 5)[..., None]
    return step.hidden_M[IT] + 0.5 * scale * (step.hidden_M[IT] - step.hidden_M[BASE])


def moved(step: Step) -> Tensor:
    return step.hidden_M[IT] + 1.0


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("replace", [own(IT), steered])
def test_kept_keys_change_no_token(family, layer: int, replace: Replace) -> None:
    pairs: list[Pair] = [(of(family[0], layer), of(family[1], layer)) for of in (cached, reread)]
    written, expected = (
        generate(pair, IT, TEXT, replace, greedy, n_tokens=N_TOKENS, unpatched=ONLY_START)
        for pair in pairs
    )
    assert torch.equal(written, expected)


@pytest.mark.parametrize("m", [BASE, IT])
def test_unsteered_it_writes_what_transformers_writes(family, m: int) -> None:
    pair = cached(family[0], 2), cached(family[1], 2)
    written = generate(pair, m, TEXT, own(m), greedy, n_tokens=N_TOKENS, unpatched=ONLY_START)
    theirs = family[m].generate(
        TEXT,
        attention_mask=torch.ones_like(TEXT),
        do_sample=False,
        max_new_tokens=N_TOKENS,
        min_new_tokens=N_TOKENS,
        eos_token_id=None,
    )
    assert torch.equal(written, theirs[:, TEXT.shape[1] :])


def test_the_start_token_and_the_first_position_are_never_replaced(family) -> None:
    pair = cached(family[0], 2), cached(family[1], 2)
    text = TEXT.clone()
    text[0, 4] = START
    seen: list[Tensor] = []

    class Watched(Continuation):
        def logits(self, token_ids: Tensor, replace) -> Tensor:
            hidden = residual(family[1], 2, text)
            seen.append((replace(hidden) != hidden).any(dim=2))
            return super().logits(token_ids, replace)

    watched = replace(pair[IT], begin=partial(Watched, family[1], 2))
    generate((pair[BASE], watched), IT, text, moved, greedy, n_tokens=1, unpatched=ONLY_START)
    assert torch.equal(seen[0], text != START)


def test_outliers_are_never_replaced_in_the_prompt_or_in_what_is_written(family) -> None:
    """The limits leave half of the streams of either model as they are."""
    pair = cached(family[0], 2), cached(family[1], 2)
    norms = [residual(model, 2, TEXT).bfloat16().float().norm(dim=2) for model in family[:2]]
    limits = float(norms[0].median()), float(norms[1].median())
    unpatched = Unpatched(START, limits)
    seen: list[Tensor] = []

    class Watched(Continuation):
        def logits(self, token_ids: Tensor, replace) -> Tensor:
            def watched(hidden: Tensor) -> Tensor:
                replaced = replace(hidden)
                seen.append((replaced != hidden).any(dim=2))
                return replaced

            return super().logits(token_ids, watched)

    writer = replace(pair[IT], begin=partial(Watched, family[1], 2))
    generate((pair[BASE], writer), IT, TEXT, moved, greedy, n_tokens=3, unpatched=unpatched)
    beyond = (norms[0] > limits[0]) | (norms[1] > limits[1])
    assert torch.equal(seen[0], ~beyond & (TEXT != START))
    assert [len(step[0]) for step in seen] == [TEXT.shape[1], 1, 1]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.2, 3.0))
def test_the_same_numbers_draw_the_same_tokens_and_as_often_as_the_model_says(
    seed: int, temperature: float
) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 6, generator=random)
    n = 4000
    uniform = (torch.arange(n).double() + 0.5)[:, None] / n
    drawn = Sampled(uniform, temperature)(logits.expand(n, -1), 0)
    share = torch.bincount(drawn, minlength=6) / n
    expected = (logits[0].double() / temperature).softmax(dim=0)
    assert (share - expected).abs().max() <= 1.01 / n


def test_the_largest_number_draws_a_token_of_the_vocabulary() -> None:
    almost_one = torch.tensor([[1 - 2**-53]], dtype=torch.float64)
    logits = torch.tensor([[0.0, 0.0, -torch.inf]])
    assert Sampled(almost_one, 1.0)(logits, 0).item() == 1
