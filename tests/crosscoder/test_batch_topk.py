import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.crosscoder import BatchTopKConfig
from pipeline.crosscoder import Crosscoder, products
from pipeline.crosscoder.batch_topk import BatchTopK
from pipeline.crosscoder.initialise import initial_crosscoder
from pipeline.crosscoder.variant import Moment
from tests.training.planted_rows import crosscoder_config

D_MODEL = 7
MOMENT = Moment(19, 20)


def make(seed: int = 3, **changes: object) -> BatchTopK:
    config = crosscoder_config("batch_topk", seed=seed, **changes)
    assert isinstance(config, BatchTopKConfig)
    crosscoder = initial_crosscoder(
        config,
        n_models=2,
        d_model=D_MODEL,
        activation_scale=torch.ones(2),
        dtype=torch.float64,
    )
    return BatchTopK(crosscoder, config, precision="fp32", dead_after_rows=100)


def rows(seed: int, n_rows: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_rows, 2 * D_MODEL, generator=generator, dtype=torch.float64)


def scores(variant: BatchTopK, x_BP: torch.Tensor) -> torch.Tensor:
    crosscoder = variant.crosscoder
    pre_BL = x_BP @ crosscoder.W_enc_LP.t() + crosscoder.b_enc_L
    return (torch.relu(pre_BL) * crosscoder.decoder_norms().sum(-1)).detach()


def train_step(variant: BatchTopK, x_BP: torch.Tensor, moment: Moment) -> float:
    step = variant.step(x_BP, moment)
    l0 = float(step.latents.count_nonzero()) / len(x_BP)
    variant.advance(step, len(x_BP))
    return l0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), guess=st.floats(0.0, 20.0))
def test_exactly_the_largest_scores_are_kept_whatever_the_guess(seed: int, guess: float):
    variant, x_BP = make(seed), rows(seed)
    variant.guess.fill_(guess)
    step = variant.step(x_BP, Moment(19, 20))
    largest = scores(variant, x_BP).flatten().topk(50 * 3).values
    assert int(step.latents.count_nonzero()) == 50 * 3
    assert float(variant._smallest_kept) == pytest.approx(float(largest[-1]), rel=1e-12)


def test_dense_entries_give_the_step_that_gathering_gives(monkeypatch: pytest.MonkeyPatch):
    steps = []
    for is_gathered in (True, False):
        monkeypatch.setattr(products, "on_cpu", lambda tensor: False)
        monkeypatch.setattr(products, "gathers", lambda *_args, answer=is_gathered: answer)
        variant = make()
        variant.rows_since_fired_L[::3] = 1000  # AuxK is at work too
        steps.append((variant, variant.step(rows(0), MOMENT)))
    (first, by_gathering), (second, dense) = steps
    assert dense.latents.shape == (50, 40)
    assert int(dense.latents.count_nonzero()) == len(by_gathering.latents) == 150
    assert torch.equal(dense.fired_L, by_gathering.fired_L)
    torch.testing.assert_close(dense.loss.total, by_gathering.loss.total)
    for ours, theirs in zip(second.parameters(), first.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_k_falls_from_its_start_and_ends_at_the_configured_k():
    variant = make()
    values = [variant.k(Moment(step, 20)) for step in range(20)]
    assert values[0] == pytest.approx(8)
    assert values == sorted(values, reverse=True)
    assert values[10:] == [3.0] * 10


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_l0_at_the_last_step_is_the_configured_k(fraction: float):
    variant = make(k_anneal_fraction=fraction)
    l0s = [train_step(variant, rows(step), Moment(step, 20)) for step in range(20)]
    assert l0s[-1] == pytest.approx(3.0)
    assert l0s[0] == pytest.approx(3.0 if fraction == 0.0 else 8.0)


def test_the_running_threshold_is_the_mean_of_the_smallest_kept_scores():
    variant = make(threshold_momentum=0.5, threshold="running_mean")
    smallest = []
    for step in range(3):
        train_step(variant, rows(step), Moment(19, 20))
        smallest.append(float(scores(variant, rows(step)).flatten().topk(150).values[-1]))
    expected = 0.5 * (0.5 * smallest[0] + 0.5 * smallest[1]) + 0.5 * smallest[2]
    assert float(variant.running_threshold) == pytest.approx(expected)
    variant.finish([])
    theta_L = variant.crosscoder.threshold * variant.crosscoder.decoder_norms().sum(-1)
    torch.testing.assert_close(theta_L.detach(), torch.full_like(theta_L, expected))


@pytest.mark.parametrize("n_batches", [1, 4])
def test_the_calibrated_threshold_gives_the_target_l0_on_the_rows_it_saw(n_batches: int):
    variant = make()
    batches = [rows(seed) for seed in range(n_batches)]
    variant.finish(batches)
    f_BL = variant.crosscoder.encode(torch.cat(batches).view(-1, 2, D_MODEL))
    assert float((f_BL > 0).sum(-1).double().mean()) == pytest.approx(3.0)


def test_calibrating_changes_nothing_but_the_threshold():
    variant = make()
    before = {name: tensor.clone() for name, tensor in variant.crosscoder.state_dict().items()}
    variant.finish([rows(0)])
    after = variant.crosscoder.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == [
        "threshold_L"
    ]


def test_inference_keeps_what_the_training_step_kept_where_the_threshold_fits():
    variant, x_BP = make(), rows(0)
    step = variant.step(x_BP, Moment(19, 20))
    variant.finish([x_BP])
    f_BL = variant.crosscoder.encode(x_BP.view(-1, 2, D_MODEL))
    torch.testing.assert_close(f_BL[f_BL > 0], step.latents)


def test_a_batch_without_positive_scores_leaves_nothing_that_a_resumed_run_would_miss():
    """What the next update depends on is in `state`: a twin made of it goes the same way."""
    variant = make()
    train_step(variant, rows(0), Moment(19, 20))
    twin = make()
    twin.load_state(variant.state())
    for each in (variant, twin):
        with torch.no_grad():
            each.crosscoder.b_enc_L.fill_(-1e3)
        train_step(each, rows(1), Moment(19, 20))
    for name, tensor in variant.state().items():
        assert torch.equal(tensor, twin.state()[name]), name


def test_fewer_positive_scores_than_k_are_all_kept():
    variant = make()
    with torch.no_grad():
        variant.crosscoder.b_enc_L.fill_(-1e3)
        variant.crosscoder.b_enc_L[0] = 5.0
    step = variant.step(rows(0), Moment(19, 20))
    assert int(step.latents.count_nonzero()) == 50
    assert int(step.fired_L.sum()) == 1


def test_the_auxiliary_loss_reaches_dead_latents_and_no_others():
    variant, x_BP = make(), rows(0)
    variant.step(x_BP, Moment(19, 20))
    without = variant.crosscoder.W_dec_LP.grad
    assert without is not None
    without = without.clone()
    variant.rows_since_fired_L[::4] = 100
    step = variant.step(x_BP, Moment(19, 20))
    assert variant.crosscoder.W_dec_LP.grad is not None
    moved_L = (variant.crosscoder.W_dec_LP.grad - without).norm(dim=-1) > 1e-12
    assert bool(moved_L[::4].any())
    moved_L[::4] = False
    assert not bool(moved_L.any())
    assert float(step.loss.terms["auxk"]) > 0


def test_a_last_batch_of_one_row_has_no_auxiliary_loss():
    """One row has no variance to be normalised by, and must not stop the run."""
    variant = make()
    variant.rows_since_fired_L[::4] = 100
    step = variant.step(rows(0, 1), Moment(19, 20))
    assert float(step.loss.terms["auxk"]) == 0.0
    readable = variant.loss(rows(0, 1), Moment(19, 20)).terms["auxk"]
    assert float(readable.detach()) == 0.0
    gradients = [p.grad for p in variant.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


def test_the_auxiliary_loss_is_zero_while_none_is_dead():
    step = make().step(rows(0), Moment(19, 20))
    assert float(step.loss.terms["auxk"]) == 0.0
    assert float(step.loss.total) == pytest.approx(float(step.loss.terms["reconstruction"]))


def test_explaining_the_whole_residual_costs_nothing():
    """A dead latent whose decoder is the one residual direction can take the term to 0."""
    variant = make(k_aux=1)
    crosscoder = variant.crosscoder
    residual_BP = torch.zeros(4, 2 * D_MODEL, dtype=torch.float64)
    residual_BP[:, 0] = torch.tensor([-1.0, -2.0, -3.0, -4.0])
    pre_BL = torch.zeros(4, crosscoder.n_latents, dtype=torch.float64)
    pre_BL[:, 5] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    with torch.no_grad():
        crosscoder.W_dec_LP[5] = 0.0
        crosscoder.W_dec_LP[5, 0] = 1.0
    dead_L = torch.zeros(crosscoder.n_latents, dtype=torch.bool)
    dead_L[5] = True
    with torch.no_grad():
        explained = variant.auxk.loss(pre_BL, residual_BP, dead_L)
    dead_L[5] = False
    dead_L[6] = True
    # A silent latent explains nothing: mean ||e||^2 is 30 / 4, its spread 5 / 4.
    with torch.no_grad():
        silent = variant.auxk.loss(pre_BL, residual_BP, dead_L)
    assert float(explained) == pytest.approx(0.0)
    assert float(silent) == pytest.approx(30 / 4 / 1.25)


def dead_third(form: str, seed: int = 3) -> BatchTopK:
    """A variant with a third of its latents dead."""
    variant = make(seed, reconstruction=form)
    variant.rows_since_fired_L[::3] = 100
    return variant


@pytest.mark.parametrize("form", ["squared", "norm"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_both_forms_have_their_gradient_by_hand(form: str, seed: int):
    variant, x_BP = dead_third(form, seed), rows(seed)
    expected = torch.autograd.grad(variant.loss(x_BP, MOMENT).total, variant.parameters())
    total = variant.step(x_BP, MOMENT).loss.total
    assert float(total) == pytest.approx(variant.loss(x_BP, MOMENT).total.item(), rel=1e-10)
    for parameter, gradient in zip(variant.parameters(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-10)


def test_a_row_that_is_met_exactly_has_no_gradient_in_the_norm_form():
    variant = make(reconstruction="norm")
    with torch.no_grad():
        variant.crosscoder.b_enc_L.fill_(-1e3)
    variant.step(torch.zeros(4, 2 * D_MODEL, dtype=torch.float64), MOMENT)
    for parameter in variant.parameters():
        assert parameter.grad is not None
        assert float(parameter.grad.abs().max()) == 0.0


def test_the_norm_form_is_the_published_loss_on_rows_of_unit_norm():
    """crosscoder_learning's, restated: rows there have a norm of 1, here one of sqrt(D), which
    scales the biases and the latents, and neither decoder nor encoder."""
    variant, x_BP = dead_third("norm"), rows(1)
    crosscoder, root = variant.crosscoder, D_MODEL**0.5
    x = x_BP.view(-1, 2, D_MODEL) / root
    pre = torch.einsum("bmd,mdl->bl", x, crosscoder.W_enc) + crosscoder.b_enc_L / root
    scores = torch.relu(pre) * crosscoder.W_dec.norm(dim=-1).sum(-1)
    f = torch.relu(pre) * (scores >= scores.flatten().topk(3 * len(x)).values[-1])
    error = x - torch.einsum("bl,lmd->bmd", f, crosscoder.W_dec) - crosscoder.b_dec / root
    dead = variant.dead()
    kept = torch.where(dead, scores, -torch.inf).topk(variant.auxk.k_aux, dim=1).indices
    f_dead = torch.zeros_like(pre).scatter(1, kept, torch.relu(pre).gather(1, kept))
    missed = error - torch.einsum("bl,lmd->bmd", f_dead, crosscoder.W_dec)
    spread = (error - error.mean(0)).square().sum((1, 2)).mean()
    published = error.norm(dim=-1).mean() + missed.square().sum((1, 2)).mean() / spread / 32
    found = variant.loss(x_BP, Moment(19, 20)).total
    assert found.item() == pytest.approx(published.item(), rel=1e-10)


@pytest.mark.parametrize("form", ["squared", "norm"])
@pytest.mark.parametrize("times", [2, 9])
def test_the_auxiliary_coefficient_means_the_same_at_any_width(form: str, times: int):
    """Rows and weights written several times side by side leave the same share unexplained, so the
    weighted terms stay in the same proportion."""

    def proportion(times: int) -> float:
        narrow = dead_third(form)
        config = narrow.config
        crosscoder = Crosscoder.from_weights(
            kind="batch_topk",
            W_enc=narrow.crosscoder.W_enc.detach().repeat(1, times, 1) / times,
            W_dec=narrow.crosscoder.W_dec.detach().repeat(1, 1, times),
            b_enc=narrow.crosscoder.b_enc_L.detach(),
            b_dec=narrow.crosscoder.b_dec.detach().repeat(1, times),
        )
        variant = BatchTopK(crosscoder, config, precision="fp32", dead_after_rows=100)
        variant.rows_since_fired_L[::3] = 100
        x_BP = rows(1).view(-1, 2, D_MODEL).repeat(1, 1, times).flatten(1)
        loss = variant.step(x_BP, MOMENT).loss
        shares = {name: loss.weights[name] * float(term) for name, term in loss.terms.items()}
        return shares["auxk"] / shares["reconstruction"]

    assert proportion(1) > 0
    assert proportion(times) == pytest.approx(proportion(1), rel=1e-10)
