"""The two Gemma experiments against the published recipes, value for value."""

import pytest

from pipeline.config import Config, compose
from pipeline.config.crosscoder import BatchTopKConfig, L1Config
from pipeline.config.models import HubModel
from pipeline.config.text import HubSourceConfig
from pipeline.text.template import Document, render_chat


@pytest.fixture(scope="module")
def gemma() -> Config:
    return compose(["+experiment=gemma"])


@pytest.fixture(scope="module")
def gemma_batch_topk() -> Config:
    return compose(["+experiment=gemma_batch_topk"])


def test_gemma_is_the_reference_recipe(gemma: Config):
    """Kissane et al. 2024, "Open Source Replication of Anthropic's Crosscoder paper for
    model-diffing", and the configuration of its published weights (ckkissane/
    crosscoder-gemma-2-2b-model-diff)."""
    crosscoder, train = gemma.crosscoder, gemma.train
    assert isinstance(crosscoder, L1Config)
    assert crosscoder.n_latents == 16_384
    assert crosscoder.sparsity_coefficient == pytest.approx(2.0)
    assert crosscoder.sparsity_warmup_fraction == pytest.approx(0.05)
    assert crosscoder.decoder_init_norm == pytest.approx(0.08)
    assert not crosscoder.decoder_init_shared
    assert crosscoder.decoder_bias_init == "zero"
    assert (crosscoder.seed, train.seed, gemma.seed) == (49, 49, 49)
    assert (train.batch_rows, train.n_rows) == (4096, 400_000_000)
    assert (train.beta1, train.beta2, train.epsilon) == (0.9, 0.999, 1e-8)
    assert train.learning_rate == pytest.approx(5e-5)
    assert (train.lr_warmup_steps, train.lr_decay_fraction) == (0, 0.2)
    assert train.gradient_clip == pytest.approx(1.0)
    assert train.precision == "fp32"


def test_gemma_is_read_where_the_reference_reads(gemma: Config):
    """resid_pre of block 14 is `hidden_states[14]`; bfloat16, as the reference loads its models."""
    base, it = gemma.models.base, gemma.models.it
    assert isinstance(base, HubModel)
    assert isinstance(it, HubModel)
    assert (base.repo, it.repo) == ("google/gemma-2-2b", "google/gemma-2-2b-it")
    assert (gemma.hook_point.layer, gemma.hook_point.dtype) == (14, "bfloat16")
    assert gemma.hook_point.attention == "eager"


def test_gemma_has_the_reference_mix(gemma: Config):
    pile, chat = gemma.sources["pile"], gemma.sources["chat"]
    assert isinstance(pile, HubSourceConfig)
    assert isinstance(chat, HubSourceConfig)
    assert (pile.dataset, pile.format) == ("monology/pile-uncopyrighted", "text")
    assert (chat.dataset, chat.format) == ("lmsys/lmsys-chat-1m", "chat")
    assert gemma.mix.sequence_length_tokens == 1024
    assert gemma.mix.n_train_tokens == 400_000_000
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rendered = render_chat(0, turns, "a test")
    assert isinstance(rendered, Document)
    assert rendered.text == "User: Hi\nAssistant: Hello\n"


def test_gemma_batch_topk_is_the_published_one(gemma_batch_topk: Config, gemma: Config):
    """Minder, Dumas, Juang, Chughtai and Nanda 2025, "Overcoming Sparsity Artifacts in
    Crosscoders", arXiv 2504.02922, and the defaults of its trainer (crosscoder_learning)."""
    crosscoder, train = gemma_batch_topk.crosscoder, gemma_batch_topk.train
    assert isinstance(crosscoder, BatchTopKConfig)
    assert (crosscoder.n_latents, crosscoder.k) == (73_728, 100)
    assert (crosscoder.k_start, crosscoder.k_anneal_fraction) == (100, 0.0)
    assert crosscoder.reconstruction == "norm"  # unsquared, mean over the models
    assert crosscoder.auxk_coefficient == pytest.approx(1 / 32)
    assert crosscoder.k_aux is None  # half of d_model
    assert crosscoder.threshold_momentum == pytest.approx(0.999)
    assert crosscoder.threshold == "calibrated"
    assert crosscoder.decoder_init_norm == pytest.approx(1.0)
    assert crosscoder.decoder_init_shared
    assert crosscoder.decoder_bias_init == "geometric_median"
    assert train.learning_rate == pytest.approx(1e-4)
    assert (train.lr_warmup_steps, train.lr_decay_fraction) == (1000, 0.0)
    assert (train.batch_rows, train.dead_after_rows) == (2048, 10_000_000)
    assert train.gradient_clip == pytest.approx(1.0)
    assert gemma_batch_topk.models == gemma.models
    assert gemma_batch_topk.hook_point == gemma.hook_point


def test_the_run_on_one_card_is_the_published_one_but_for_where_its_rows_lie(gemma: Config):
    one_card = compose(["+experiment=gemma_one_card"]).model_dump()
    published = gemma.model_dump()
    differing = {name for name in published if one_card[name] != published[name]}
    assert differing == {"experiment", "dump", "runtime"}
    of_dump = {
        name for name in published["dump"] if one_card["dump"][name] != published["dump"][name]
    }
    assert of_dump == {"rows_per_round", "scatter_seed"}
