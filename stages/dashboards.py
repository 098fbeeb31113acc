"""Show what each latent fires on and what it writes in each model.

    python -m stages.dashboards                 # composed.yaml, as `dvc repro` does
    python -m stages.dashboards +experiment=tiny dashboards.n_latents=100

reads   data/crosscoder, data/heldout_activations.zarr, data/tokens.zarr, data/models,
        results/latents.parquet
writes  results/dashboards/dashboards.jsonl.gz: one JSON object per latent, explained in
        pipeline.analysis.dashboard_file; pandas.read_json(..., lines=True) reads it
cost    one pass over `dashboards.n_rows` rows, encoding the chosen latents alone; for each of
        these one unembedding per model. Memory: see pipeline.analysis.examples.example_pass, and
        the embedding of both models in float32 with at most 400 MiB of logits
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.config import Config
from pipeline.config.models import ModelName
from pipeline.runtime import generator, resolve_device, set_threads
from pipeline.stage import (
    CROSSCODER,
    DASHBOARDS,
    HELDOUT_ACTIVATIONS,
    LATENT_SCALING,
    MODELS,
    RESULTS,
    TOKENS,
    Stage,
    run,
)

if TYPE_CHECKING:
    from pipeline.analysis.dashboards.example_pass import Kept
    from pipeline.analysis.dashboards.records import Ints
    from pipeline.analysis.lens import TokenList
    from pipeline.crosscoder import Crosscoder

STAGE = Stage(
    name="dashboards",
    sections=("dashboards",),
    inputs={
        "models": MODELS,
        "tokens": TOKENS,
        "heldout_activations": HELDOUT_ACTIVATIONS,
        "crosscoder": CROSSCODER,
        "latent_scaling": LATENT_SCALING,
    },
    outputs={"dashboards": DASHBOARDS},
    memory_keys=("dashboards.batch_rows",),
)


NO_TEXT = {"applicable": False, "reason": "the experiment has no models and no text"}


def main(config: Config) -> None:
    import pandas as pd

    from pipeline.analysis.dashboards.file import DASHBOARDS, FIELDS, write_dashboards
    from pipeline.analysis.dashboards.nearest import nearest_latents
    from pipeline.analysis.dashboards.records import Records, choose
    from pipeline.analysis.dashboards.token_text import Pieces
    from pipeline.crosscoder import Crosscoder
    from pipeline.models.load import load_tokenizer

    set_threads(config.runtime.n_threads)
    section = config.dashboards
    with STAGE.build(config, "dashboards") as build:
        if not config.has_models:
            build.publish(counts={}, facts=NO_TEXT)
            return
        model = Crosscoder.load(CROSSCODER).to(resolve_device(config.runtime.device))
        table = pd.read_parquet(RESULTS / "latents.parquet")
        latents = choose(table.to_dict("list"), section.n_latents)
        pieces = Pieces(load_tokenizer(MODELS))
        kept = examples(config, model, latents)
        records = Records(
            latents,
            kept,
            norms_JM=model.decoder_norms().detach().cpu().numpy()[latents],
            lens=lens(config, model, latents),
            nearest=nearest_latents(model.W_dec.detach(), latents, section.n_nearest),
            text_of=pieces.of,
            name_of=pieces.single,
            n_bands=section.n_bands,
            n_per_band=section.n_per_band,
        )
        n = write_dashboards(build.work / DASHBOARDS, iter(records))
        counts = {"n_latents": n, "n_tokens": int(kept.activity.n_C.sum())}
        build.publish(counts=counts, facts={"fields": FIELDS})


def examples(config: Config, model: "Crosscoder", latents: "Ints") -> "Kept":
    """The pass over held-out rows."""
    from pipeline.analysis.dashboards.example_pass import SPARE, WindowShape, example_pass
    from pipeline.store import StoreReader

    section, n_threads = config.dashboards, config.runtime.io_threads
    with (
        StoreReader.open(HELDOUT_ACTIVATIONS, n_threads=n_threads) as activations,
        StoreReader.open(TOKENS, n_threads=n_threads) as tokens,
    ):
        return example_pass(
            model,
            activations,
            tokens,
            latents,
            shape=WindowShape(
                before=section.tokens_before,
                after=section.tokens_after,
                n_top=section.n_top,
                n_sampled=SPARE * section.n_bands * section.n_per_band,
            ),
            n_rows=section.n_rows,
            batch_rows=section.batch_rows,
            random=generator(section.seed, "dashboards", "examples"),
        )


def lens(config: Config, model: "Crosscoder", latents: "Ints") -> "dict[str, TokenList]":
    """The logit lens of the chosen latents' decoders, through each model's own head."""
    from pipeline.analysis.lens import logit_lens
    from pipeline.models.load import load_tokenizer

    decoders = model.denormalise(model.W_dec.detach()[latents])
    return logit_lens(
        (head(config, "base"), head(config, "it")),
        decoders,
        n_tokens=config.dashboards.n_lens_tokens,
        n_vocab=len(load_tokenizer(MODELS)),
    )


def head(config: Config, name: ModelName) -> Any:
    """Final norm, unembedding and soft-cap of a model, in float32; of its blocks one is loaded."""
    from pipeline.models.hook import head_logits
    from pipeline.models.load import load_model

    model = load_model(
        MODELS,
        name,
        dtype="float32",
        attention=config.hook_point.attention,
        device=resolve_device(config.runtime.device),
        n_layers=1,
    )
    return partial(head_logits, model)


if __name__ == "__main__":
    run(STAGE, main)
