"""The figures of `results/models.json`: shapes, and held-out losses before and after training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.config.models import ModelName, TrainedModel, TunedModel
from pipeline.labels import MODELS
from pipeline.models.fitting import heldout_loss
from pipeline.models.load import read_tokenizer
from pipeline.models.materialise import Model, Workshop, read_for_fitting, starting_point
from pipeline.models.records import ModelRecord
from pipeline.models.result import Losses, ModelFigures, PairFigures
from pipeline.models.sequences import Sequences, heldout_sequences
from pipeline.models.start import read_start
from pipeline.models.template import read_template

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def pair_figures(shop: Workshop, found: Mapping[ModelName, Model]) -> PairFigures:
    """Shape of each model, the start, warnings; losses in nats by source where one was made here.

    `heldout_loss_nats` is of the finished model, `initial_heldout_loss_nats` of what its training
    started from, `loss_change_nats` is IT minus base. Documents are held out from every training
    here and from the mix.
    """
    start = read_start(shop.work)
    figures: PairFigures = {
        "base": shape_figures(found["base"].record),
        "it": shape_figures(found["it"].record),
        "start": {"token": start.token, "id": start.id, "why": start.why},
        "warnings": [model.warning for model in found.values() if model.warning],
    }
    if not any(isinstance(shop.spec(name), TrainedModel | TunedModel) for name in MODELS):
        return figures
    sequences = _heldout(shop, found)
    after = {
        name: _losses(shop, read_for_fitting(found[name], shop.device), sequences)
        for name in MODELS
    }
    for name in MODELS:
        figures[name]["heldout_loss_nats"] = after[name]
        match shop.spec(name):
            case TunedModel(of=of):
                figures[name]["initial_heldout_loss_nats"] = after[of]
            case TrainedModel() as spec:
                tokenizer = read_tokenizer(found[name].folder)
                model = starting_point(shop, spec, tokenizer, found)
                figures[name]["initial_heldout_loss_nats"] = _losses(shop, model, sequences)
            case _:
                pass
    figures["loss_change_nats"] = {
        label: after["it"][label] - after["base"][label] for label in sequences
    }
    return figures


def shape_figures(record: ModelRecord) -> ModelFigures:
    """Width, depth, vocabulary and bytes on disk of one model."""
    return {
        "d_model": record.d_model,
        "n_layers": record.n_layers,
        "vocab_size": record.vocab_size,
        "n_bytes": record.n_bytes,
    }


def _heldout(shop: Workshop, found: Mapping[ModelName, Model]) -> dict[str, Sequences]:
    tokenizer = read_tokenizer(found["base"].folder)
    heldout, start_id = shop.models.heldout, read_start(shop.work).id
    template = read_template(shop.work).template(tokenizer)
    return {
        source: heldout_sequences(tokenizer, shop.sources, source, heldout, start_id, template)
        for source in (*heldout.sources, *heldout.more_sources)
    }


def _losses(shop: Workshop, model: PreTrainedModel, sequences: Mapping[str, Sequences]) -> Losses:
    precisions = [getattr(shop.spec(name), "precision", "fp32") for name in MODELS]
    precision = "bf16" if "bf16" in precisions else "fp32"
    return {
        label: heldout_loss(model, rows, precision, batch_sequences=4)
        for label, rows in sequences.items()
    }
