"""Measure the crosscoder on held-out data: sparsity, explained variance, CE and KL when spliced.

    python -m stages.evaluate                   # composed.yaml, as `dvc repro` does
    python -m stages.evaluate +experiment=tiny evaluate.n_sequences=80

reads   data/crosscoder, data/heldout_activations.zarr, data/models, data/tokens.zarr
writes  results/evaluation.json (all figures with intervals), results/evaluation_summary.json,
        results/latents.csv (one row per latent)
cost    one pass over `evaluate.n_rows` rows; for each of `evaluate.n_sequences` sequences, the
        lower blocks of each model once and the upper ones four times; memory: both models, logits
        of `batch_sequences`, three arrays of `batch_rows` x latents
"""

from typing import TYPE_CHECKING, Any

from pipeline.config import Config
from pipeline.runtime import numpy_generator, resolve_device, set_threads
from pipeline.stage import CROSSCODER, HELDOUT_ACTIVATIONS, MODELS, TOKENS, Stage, run

if TYPE_CHECKING:
    from pipeline.analysis.evaluation.rows_pass import HeldoutSums
    from pipeline.analysis.evaluation.splice import SpliceSums
    from pipeline.crosscoder import Crosscoder
    from pipeline.store import StoreReader

STAGE = Stage(
    name="evaluate",
    sections=("evaluate",),
    inputs={
        "models": MODELS,
        "tokens": TOKENS,
        "heldout_activations": HELDOUT_ACTIVATIONS,
        "crosscoder": CROSSCODER,
    },
    results=("evaluation.json", "evaluation_summary.json", "latents.csv"),
    memory_keys=("evaluate.batch_sequences", "evaluate.batch_rows"),
)


def main(config: Config) -> None:
    from pipeline.analysis.decoders.geometry import decoder_geometry
    from pipeline.analysis.evaluation.latent_table import DIGITS, latent_table
    from pipeline.analysis.evaluation.table import evaluation, summary
    from pipeline.columns import csv_bytes
    from pipeline.crosscoder import Crosscoder
    from pipeline.store import StoreReader

    for name in STAGE.inputs:
        STAGE.input(config, name)
    set_threads(config.runtime.n_threads)
    device = resolve_device(config.runtime.device)
    model = Crosscoder.load(CROSSCODER).to(device)
    geometry = decoder_geometry(model.W_dec.detach().cpu().numpy())
    sums, splice = over_rows(config, model), None
    table = latent_table(geometry, sums)
    if config.has_models:
        with StoreReader.open(TOKENS, n_threads=config.runtime.io_threads) as tokens:
            splice = over_sequences(config, model, sums, tokens)
    full = evaluation(
        sums,
        splice,
        bootstrap_of={
            "rows": bootstrap(config, "rows", sums.n_UC.shape[0]),
            "splice": bootstrap(config, "splice", splice.n_QC.shape[0] if splice else 1),
        },
        confidence=config.evaluate.confidence,
        models=config.models.model_dump(mode="json"),
        l0_training=STAGE.input(config, "crosscoder").facts["last"].get("l0"),
    )
    STAGE.publish_results(
        config,
        {
            "evaluation.json": full,
            "evaluation_summary.json": summary(full),
            "latents.csv": csv_bytes(table, digits=DIGITS),
        },
    )


def bootstrap(config: Config, name: str, n_units: int) -> Any:
    from pipeline.analysis.bootstrap import Bootstrap

    return Bootstrap(
        n_units,
        n_resamples=config.evaluate.n_bootstrap,
        confidence=config.evaluate.confidence,
        random=numpy_generator(config.evaluate.seed, "bootstrap", name),
    )


def over_rows(config: Config, model: "Crosscoder") -> "HeldoutSums":
    """The pass over held-out activations."""
    from pipeline.analysis.evaluation.rows_pass import heldout_pass
    from pipeline.store import StoreReader

    section = config.evaluate
    with StoreReader.open(HELDOUT_ACTIVATIONS, n_threads=config.runtime.io_threads) as reader:
        n_sequences = STAGE.input(config, "heldout_activations").counts["n_sequences"]
        return heldout_pass(
            model,
            reader,
            n_rows=section.n_rows,
            batch_rows=section.batch_rows,
            n_sequences=n_sequences,
        )


def over_sequences(
    config: Config, model: "Crosscoder", sums: "HeldoutSums", tokens: "StoreReader"
) -> "SpliceSums":
    """Both models on held-out sequences: clean, spliced, zero- and mean-ablated."""
    import torch

    from pipeline.analysis.evaluation.splice import merge, splice_batch
    from pipeline.analysis.groups import cells_of
    from pipeline.analysis.splicing import hooked_pair, sample_sequences
    from pipeline.models.load import load_tokenizer
    from pipeline.progress import Progress
    from pipeline.text.tokens import bos_id

    section, device = config.evaluate, resolve_device(config.runtime.device)
    counts = STAGE.input(config, "tokens").counts
    first, n_heldout = counts["n_train_sequences"], counts["n_heldout_sequences"]
    source = tokens.read("source", first, first + n_heldout)[:, -1]
    random = numpy_generator(config.evaluate.seed, "sequences")
    chosen = first + sample_sequences(source, section.n_sequences, random)
    arrays = {name: tokens.take(name, chosen) for name in ("token_id", "source", "token_class")}
    token_ids = torch.from_numpy(arrays["token_id"]).long()
    cells = torch.from_numpy(cells_of(arrays["source"], arrays["token_class"]))
    pair = hooked_pair(MODELS, config.hook_point, device)
    bos_token_id = bos_id(load_tokenizer(MODELS))
    mean_MD = torch.from_numpy(sums.mean_KD[:2])
    batches = []
    with Progress("evaluate", total=len(chosen), unit="sequences") as progress:
        for at in range(0, len(chosen), section.batch_sequences):
            batch = slice(at, at + section.batch_sequences)
            batches.append(
                splice_batch(
                    pair,
                    model,
                    token_ids[batch].to(device),
                    cells[batch].to(device),
                    mean_MD=mean_MD,
                    bos_token_id=bos_token_id,
                )
            )
            progress.advance(len(token_ids[batch]))
    return merge(iter(batches))


if __name__ == "__main__":
    run(STAGE, main)
