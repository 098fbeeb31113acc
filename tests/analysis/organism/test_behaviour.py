import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from pipeline.analysis.organism.behaviour import (
    BASE,
    IT,
    ablation,
    behaviour,
    encode_batches,
    nothing,
    read_batches,
    steering,
    steering_vectors,
    write_reply,
)
from pipeline.analysis.splicing import Unpatched
from tests.analysis.organism.toy_organism import (
    BOS,
    FLAG,
    FLAG_LATENT,
    OPENING,
    RESPONSE,
    V,
    questions,
    toy_crosscoder,
    toy_pair,
)

ALL = np.arange(V + 1)
PAIR, CROSSCODER = toy_pair(), toy_crosscoder()
ONLY_START = Unpatched(BOS, None)


def batches(triggered: bool, batch_prompts: int = 3, n: int = 8):
    return encode_batches(
        read_batches(
            questions(n, triggered),
            PAIR,
            batch_prompts=batch_prompts,
            start_id=BOS,
            unpatched=ONLY_START,
            device=torch.device("cpu"),
        ),
        CROSSCODER,
        ALL,
    )


def test_the_toy_crosscoder_rebuilds_the_toy_streams() -> None:
    (batch,) = batches(True, 8)
    stacked = torch.stack(batch.hidden_M, dim=2)
    rebuilt = CROSSCODER.reconstruct(stacked.flatten(0, 1)).unflatten(0, stacked.shape[:2])
    assert torch.allclose(rebuilt, stacked, atol=1e-6)


def test_the_log_probability_is_that_of_the_reply_given_the_prompt() -> None:
    found = behaviour(batches(True), PAIR[IT], IT, nothing, 3)
    for q, prompt in enumerate(questions(8, True)):
        ids = torch.from_numpy(np.concatenate([[BOS], prompt.token_id])).long()[None]
        logits = PAIR[IT].head.logits(PAIR[IT].residual(ids)[0])
        start = ids.shape[1] - len(RESPONSE)
        expected = -cross_entropy(logits[start - 1 : -1], ids[0, start:], reduction="sum")
        assert found.log_prob[q] == pytest.approx(float(expected), abs=1e-5)
        first = logits[start - 1].log_softmax(dim=-1)[ids[0, start]]
        assert found.onset_log_prob[q] == pytest.approx(float(first), abs=1e-5)
    assert (found.n_tokens == len(RESPONSE)).all()


def test_batching_and_padding_change_nothing() -> None:
    alone = behaviour(batches(True, 1), PAIR[IT], IT, nothing, 3)
    together = behaviour(batches(True, 8), PAIR[IT], IT, nothing, 3)
    assert alone.log_prob == pytest.approx(together.log_prob, abs=1e-6)


@pytest.mark.parametrize("triggered", [True, False])
@pytest.mark.parametrize("latent", [FLAG_LATENT, OPENING])
def test_the_greedy_rate_is_how_often_greedy_decoding_writes_the_reply(
    triggered: bool, latent: int
) -> None:
    for patch in (nothing, ablation(CROSSCODER, np.array([latent]))):
        found = behaviour(batches(triggered), PAIR[IT], IT, patch, len(RESPONSE))
        written = [
            write_reply(
                prompt,
                PAIR,
                CROSSCODER,
                ALL,
                IT,
                patch,
                n_tokens=len(RESPONSE),
                start_id=BOS,
                unpatched=ONLY_START,
            )
            for prompt in questions(8, triggered)
        ]
        assert [tuple(tokens) == RESPONSE for tokens in written] == found.is_greedy.tolist()


def test_only_the_first_tokens_decide_the_greedy_rate() -> None:
    patch = ablation(CROSSCODER, np.array([RESPONSE[-2]]))  # the last token is guessed wrong
    rates = [behaviour(batches(True), PAIR[IT], IT, patch, n).is_greedy.mean() for n in (2, 3)]
    assert rates[0] == 1.0
    assert rates[1] < 1.0


def test_ablation_takes_the_latents_own_part_out_of_one_model_in_its_own_units() -> None:
    (batch,) = batches(True, 8)
    change = ablation(CROSSCODER, np.array([FLAG_LATENT]))(batch)
    is_padding = (batch.token_ids == BOS) & (torch.arange(batch.token_ids.shape[1]) > 0)
    flag = batch.hidden_M[IT][..., FLAG] * ~is_padding
    assert torch.allclose(change[..., FLAG], -flag)
    assert change[..., :V].abs().max() == 0


def test_ablation_leaves_bos_and_padding_alone() -> None:
    (batch,) = batches(True, 8)
    change = ablation(CROSSCODER, ALL)(batch)
    is_token = torch.ones_like(batch.token_ids, dtype=torch.bool)
    for q, prompt in enumerate(questions(8, True)):
        is_token[q, 0], is_token[q, 1 + prompt.token_id.size :] = False, False
    assert change[~is_token].abs().max() == 0
    assert (change[is_token].abs().sum(dim=-1) > 0).all()


def test_steering_adds_the_it_direction_in_the_units_of_the_model_it_is_put_into() -> None:
    values = np.array([[0.5], [1.0]])
    for m in (BASE, IT):
        vectors = steering_vectors(CROSSCODER, np.array([FLAG_LATENT]), values, m)
        direction = CROSSCODER.W_dec[FLAG_LATENT, IT] / CROSSCODER.activation_scale[m]
        assert torch.allclose(vectors, torch.stack([0.5 * direction, direction]))
        (batch,) = batches(False, 8)
        change = steering(vectors)(batch)
        assert torch.allclose(change[batch.is_opening], vectors[0].expand(8, -1))
        assert torch.allclose(change[batch.is_reply], vectors[1].expand(24, -1))
        assert change[~(batch.is_opening | batch.is_reply)].abs().max() == 0
