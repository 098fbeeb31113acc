import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.crosscoder import Crosscoder


def random_crosscoder(
    seed: int = 0, *, n_models: int = 2, d_model: int = 6, n_latents: int = 20, gated: bool = True
) -> Crosscoder:
    """Random weights in float64 and unequal factors."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return Crosscoder.from_weights(
        kind="batch_topk",
        W_enc=normal(n_models, d_model, n_latents),
        W_dec=normal(n_latents, n_models, d_model),
        b_enc=normal(n_latents) * 0.1,
        b_dec=normal(n_models, d_model),
        activation_scale=torch.tensor([0.276, 0.713, 2.9], dtype=torch.float64)[:n_models],
        threshold=normal(n_latents).abs() * (1.0 if gated else 0.0),
    )


def random_rows(seed: int, crosscoder: Crosscoder, n_rows: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (n_rows, crosscoder.n_models, crosscoder.d_model)
    return torch.randn(shape, generator=generator, dtype=torch.float64) * 2


def test_encode_and_decode_follow_the_published_equations():
    crosscoder = random_crosscoder()
    x = random_rows(1, crosscoder)
    pre = torch.einsum("bmd,mdl->bl", x, crosscoder.W_enc) + crosscoder.b_enc
    f = torch.where(pre > crosscoder.threshold, pre, 0.0)
    x_hat = torch.einsum("bl,lmd->bmd", f, crosscoder.W_dec) + crosscoder.b_dec
    torch.testing.assert_close(crosscoder.encode(x), f)
    torch.testing.assert_close(crosscoder(x), x_hat)


def test_a_threshold_of_zero_is_a_relu():
    crosscoder = random_crosscoder(gated=False)
    x = random_rows(1, crosscoder)
    assert torch.equal(crosscoder.encode(x), torch.relu(crosscoder.preactivations(x)))


def test_reconstruct_takes_and_gives_raw_activations():
    crosscoder = random_crosscoder()
    x_raw = random_rows(2, crosscoder)
    scale = crosscoder.activation_scale[:, None]
    torch.testing.assert_close(crosscoder.reconstruct(x_raw), crosscoder(x_raw * scale) / scale)


def test_normalise_takes_bfloat16_to_the_crosscoders_type():
    crosscoder = random_crosscoder()
    assert crosscoder.normalise(random_rows(3, crosscoder).bfloat16()).dtype == torch.float64


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n_models=st.integers(1, 3))
def test_folding_changes_neither_values_nor_l0(seed: int, n_models: int):
    crosscoder = random_crosscoder(seed, n_models=n_models)
    folded = crosscoder.folded()
    x_raw = random_rows(seed + 1, crosscoder)
    f, f_folded = crosscoder.encode(crosscoder.normalise(x_raw)), folded.encode(x_raw)
    assert torch.equal(f > 0, f_folded > 0)
    torch.testing.assert_close(f_folded, f)
    torch.testing.assert_close(folded.decode(f_folded), crosscoder.reconstruct(x_raw))
    assert folded.activation_scale.tolist() == [1.0] * n_models


def test_folding_changes_decoder_norms_by_model():
    crosscoder = random_crosscoder()
    ratio = crosscoder.decoder_norms() / crosscoder.folded().decoder_norms()
    torch.testing.assert_close(ratio, crosscoder.activation_scale.expand_as(ratio))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_permuting_latents_permutes_activations_and_keeps_the_reconstruction(seed: int):
    crosscoder = random_crosscoder(seed)
    order = torch.randperm(crosscoder.n_latents, generator=torch.Generator().manual_seed(seed))
    permuted = Crosscoder.from_weights(
        kind=crosscoder.kind,
        W_enc=crosscoder.W_enc[:, :, order],
        W_dec=crosscoder.W_dec[order],
        b_enc=crosscoder.b_enc[order],
        b_dec=crosscoder.b_dec,
        activation_scale=crosscoder.activation_scale,
        threshold=crosscoder.threshold[order],
    )
    x = random_rows(seed + 1, crosscoder)
    torch.testing.assert_close(permuted.encode(x), crosscoder.encode(x)[:, order])
    torch.testing.assert_close(permuted(x), crosscoder(x))


def test_views_share_memory_with_the_flat_weights():
    crosscoder = random_crosscoder()
    with torch.no_grad():
        crosscoder.W_dec[4, 1, 2] = 7.0
        crosscoder.W_enc[1, 2, 4] = 8.0
    column = crosscoder.d_model + 2
    assert crosscoder.W_dec_LP[4, column].item() == pytest.approx(7.0)
    assert crosscoder.W_enc_LP[4, column].item() == pytest.approx(8.0)
