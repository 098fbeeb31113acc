"""The KL of every token, its gradient and its patches, against direct computations on a tiny pair;
and an edit that must be found."""

from copy import deepcopy
from functools import partial
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import kl_div, normalize
from transformers import PreTrainedModel

from pipeline.analysis.changes.lines import Lines
from pipeline.analysis.changes.measure import Changes
from pipeline.analysis.changes.rows import ChangeRows
from pipeline.analysis.losses import BYTES_PER_LOGIT
from pipeline.analysis.parting.attribution import Scene
from pipeline.analysis.parting.carriers import Subjects, carriers, correlation
from pipeline.analysis.parting.result import Carrier
from pipeline.analysis.parting.screening import Screened, token_divergences
from pipeline.analysis.splicing import HookedModel, Unpatched, head_of
from pipeline.config import compose
from pipeline.models.hook import continued, residual
from tests.analysis.readings import hooked
from tests.analysis.stores import random_crosscoder
from tests.models.families import VOCAB_SIZE, random_family

LAYER, D, START, EDITED = 1, 16, 1, 77
UNPATCHED = Unpatched(START, None)
ROOM = 2 * BYTES_PER_LOGIT * VOCAB_SIZE * 3
SECTION = compose(["+experiment=smoke"]).changes
BASE_MODEL = random_family("gemma2", tie_word_embeddings=False)


def open_model(model: PreTrainedModel) -> HookedModel:
    read = partial(residual, model, LAYER), partial(continued, model, LAYER)
    return hooked(*read, head_of(model, ROOM))


def moved() -> PreTrainedModel:
    """The base model with every weight moved a little."""
    model = deepcopy(BASE_MODEL)
    random = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=random)
    return model


def edited() -> PreTrainedModel:
    """The base model with one embedding moved far."""
    model = deepcopy(BASE_MODEL)
    random = torch.Generator().manual_seed(2)
    embedding = cast(torch.nn.Embedding, model.get_input_embeddings())
    embedding.weight.data[EDITED] += 3.0 * torch.randn(D, generator=random)
    return model


def sequences() -> Tensor:
    random = torch.Generator().manual_seed(3)
    token_ids = torch.randint(3, EDITED, (3, 14), generator=random)
    token_ids[:, 0] = token_ids[2, 7] = START
    token_ids[1, 6] = EDITED
    return token_ids


PAIR = (open_model(BASE_MODEL), open_model(moved()))
SCENE = Scene.of(PAIR, sequences()[:1], UNPATCHED)


def test_the_kl_of_each_token_is_that_of_both_models_whole_logits() -> None:
    token_ids = sequences()
    base, it = (
        model(token_ids).logits.log_softmax(dim=-1)  # pyright: ignore[reportCallIssue]
        for model in (BASE_MODEL, moved())
    )
    expected = kl_div(base, it, reduction="none", log_target=True).sum(dim=-1)[:, :-1]
    mask, found = token_divergences(PAIR, token_ids, UNPATCHED)
    assert torch.allclose(found, expected[mask], atol=1e-5)
    assert expected[mask].min() > 1e-3, "the two models differ everywhere"
    assert not mask[:, 0].any()
    assert mask[2].tolist() == [at not in (0, 6, 7) for at in range(13)]


def test_the_gradient_is_that_of_finite_differences() -> None:
    direction_SD = torch.randn(SCENE.it_SD.shape, generator=torch.Generator().manual_seed(4))
    direction_SD[0] = 0
    step = 1e-2
    up, down = (float(SCENE.kl(SCENE.it_SD + sign * step * direction_SD)) for sign in (1, -1))
    found = float((SCENE.gradient(SCENE.it_SD) * direction_SD).sum())
    assert found == pytest.approx((up - down) / (2 * step), rel=0.01)
    assert not SCENE.gradient(SCENE.it_SD)[0].any(), "nothing moves the start token"


def test_undoing_nothing_leaves_the_kl_of_the_token_as_it_is() -> None:
    nothing, all_of_it = SCENE.removed([0 * SCENE.it_SD, SCENE.it_SD - SCENE.base_SD])
    assert nothing == 0
    mask, kl_N = token_divergences(PAIR, sequences(), UNPATCHED)
    before = int(mask[0].sum()) - 1
    shorter = Scene.of(PAIR, sequences()[:1, :-1], UNPATCHED)
    assert float(shorter.kl(shorter.it_SD)) == pytest.approx(float(kl_N[before]), abs=1e-5)
    from_base = SCENE.kl(SCENE.base_SD)
    assert all_of_it == pytest.approx(float(SCENE.kl(SCENE.it_SD) - from_base), abs=1e-6)


def test_attributions_of_the_whole_difference_add_up_to_what_goes_with_it() -> None:
    difference_SD = SCENE.it_SD - SCENE.base_SD
    attributed = float((difference_SD * SCENE.path_gradient(12)).sum())
    assert attributed == pytest.approx(SCENE.removed([difference_SD])[0], rel=0.02)


def changes_of(direction_LD: Tensor) -> ChangeRows:
    n = len(direction_LD)
    lines = Lines(
        mean_MD=torch.zeros(2, D),
        shift_D=torch.zeros(D),
        faint_D=torch.zeros(D),
        scale=torch.tensor(0.0),
        direction_LD=normalize(direction_LD, dim=1),
        change_L=torch.arange(n),
        reader_KD=torch.zeros(0, D),
        offset_K=torch.zeros(0),
        spread_K=torch.zeros(0),
        weight_L=torch.ones(n),
        fourth_L=torch.ones(n),
    )
    return ChangeRows(Changes(lines), SECTION)


def test_an_edited_token_ranks_first_and_its_change_carries_it() -> None:
    token_ids, pair = sequences(), (PAIR[0], open_model(edited()))
    mask, kl_N = token_divergences(pair, token_ids, UNPATCHED)
    sequence_N, position_N = mask.numpy().nonzero()
    top = int(kl_N.argmax())
    assert (sequence_N[top], position_N[top]) == (1, 6)
    assert token_ids[1, 6] == EDITED
    scene = Scene.of(pair, token_ids[1:2, :7], UNPATCHED)
    own_D = scene.it_SD[6] - scene.base_SD[6]
    decoy_D = torch.linalg.svd(own_D[None])[2][-1]  # at a right angle to it
    rows = changes_of(torch.stack([decoy_D, own_D]))
    subjects = Subjects(rows, {1: 1, 2: 0}, random_crosscoder(d_model=D))
    gradient_SD = scene.path_gradient(8)
    (found,) = carriers(
        scene,
        gradient_SD,
        subjects.changes(scene, gradient_SD),
        n=3,
        random_D=normalize(torch.ones(D), dim=0),
        name=str,
    )
    kl = float(scene.kl(scene.it_SD))
    assert (found["number"], found["at"], found["on"]) == (1, 6, "6")
    assert found["patch"] == pytest.approx(kl, rel=0.05)
    assert found["attribution"] == pytest.approx(kl, rel=0.3)


def test_a_latents_attribution_is_that_of_what_it_puts_into_the_difference() -> None:
    crosscoder = random_crosscoder(d_model=D)
    subjects = Subjects(changes_of(torch.eye(D)[:1]), {}, crosscoder)
    gradient_SD = SCENE.path_gradient(2)
    found = subjects.latents(SCENE, gradient_SD)
    assert len(found.attribution) > 3
    f_SL = crosscoder.latents(torch.stack([SCENE.base_SD, SCENE.it_SD], dim=1)).detach()
    for latent, value in found.attribution.items():
        raw_MD = crosscoder.W_dec[latent].detach() / crosscoder.activation_scale[:, None]
        part_SD = f_SL[:, latent, None] * (raw_MD[1] - raw_MD[0])
        assert value == pytest.approx(float((part_SD * gradient_SD).sum()), abs=1e-5)
        assert torch.allclose(found.part(latent)[1:], part_SD[1:])
    order = [abs(found.attribution[latent]) for latent in found.strongest(3)]
    assert order == sorted(map(abs, found.attribution.values()), reverse=True)[:3]


def test_no_two_listed_tokens_lie_close_together_or_follow_the_same_words() -> None:
    kl = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 9.0, 0.05])
    position, source = np.array([10, 12, 20, 11, 40, 10, 60]), np.array([0, 0, 0, 0, 0, 1, 0])
    sequence = np.array([7, 7, 7, 8, 7, 7, 7])
    screened = Screened(sequence, position, source, position, kl)
    assert screened.largest(0, n=4, min_kl=0.1, apart=10) == [0, 2, 3, 4]
    assert screened.largest(0, n=2, min_kl=0.1, apart=11) == [0, 3]
    assert screened.largest(1, n=4, min_kl=0.1, apart=10) == [5]
    ids, of_one = np.array([3, 4, 5, 3, 4, 5, 6]), np.array([1, 1, 1, 2, 2, 2, 2])
    repeated = Screened(of_one, np.array([1, 2, 3, 1, 2, 3, 4]), 0 * ids, ids, kl)
    assert repeated.largest(0, n=9, min_kl=0.1, apart=1) == [5, 0, 1], "each as one before ends"


def test_the_correlation_needs_three_pairs_that_vary() -> None:
    def pairs(*values: tuple[float, float]) -> list[Carrier]:
        return [
            {"number": 0, "attribution": a, "patch": p, "random": 0.0, "at": 0, "on": ""}
            for a, p in values
        ]

    assert correlation(pairs((1, 2), (2, 4), (3, 6))) == pytest.approx(1.0)
    assert correlation(pairs((1, 2), (2, 4))) is None
    assert correlation(pairs((1, 2), (1, 4), (1, 6))) is None
