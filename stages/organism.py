"""Test whether latents carry the behaviour that a triggered chat source planted in the IT model.

    python -m stages.organism                   # composed.yaml, as `dvc repro` does
    python -m stages.organism +experiment=organism organism.n_draws=50

reads   data/models, data/tokens.zarr, data/heldout_activations.zarr, data/crosscoder,
        results/latents.parquet (verdicts), the chat source
writes  results/organism.json: did the tuning take, the chosen latents, what taking them out and
        putting them in does; results/organism.csv, .png and .svg: effects removed by ablation
cost    one pass over `organism.n_rows` rows; then, for each set of latents and each random draw,
        the upper blocks over `organism.n_prompts` short prompts. Nothing where nothing is planted
"""

from itertools import islice
from typing import TYPE_CHECKING, Any

from pipeline.config import Config
from pipeline.config.text import TriggeredSourceConfig
from pipeline.runtime import numpy_generator, resolve_device, set_threads
from pipeline.stage import (
    CROSSCODER,
    HELDOUT_ACTIVATIONS,
    LATENT_SCALING,
    MODELS,
    RESULTS,
    TOKENS,
    Stage,
    run,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from pipeline.analysis.organism.behaviour import Latents
    from pipeline.analysis.organism.effects import Bench
    from pipeline.analysis.organism.selectivity import PlantedSums
    from pipeline.crosscoder import Crosscoder
    from pipeline.text.exchanges import Prompt

STAGE = Stage(
    name="organism",
    sections=("organism", "sources", "mix", "hook_point"),
    local_files=("sources",),
    inputs={
        "models": MODELS,
        "tokens": TOKENS,
        "heldout_activations": HELDOUT_ACTIVATIONS,
        "crosscoder": CROSSCODER,
        "latent_scaling": LATENT_SCALING,
    },
    results=("organism.json", "organism.csv", "organism.png", "organism.svg"),
    memory_keys=("organism.batch_prompts", "organism.batch_rows"),
)


def main(config: Config) -> None:
    from pipeline.analysis.charts.look import FILE_PALETTE, image_files
    from pipeline.analysis.organism.chart import organism_figure
    from pipeline.analysis.organism.table import ablation_table, not_applicable
    from pipeline.columns import csv_bytes
    from pipeline.crosscoder import Crosscoder

    source = config.sources[config.mix.chat_source]
    if isinstance(source, TriggeredSourceConfig) and config.has_models:
        for name in STAGE.inputs:
            STAGE.input(config, name)
        set_threads(config.runtime.n_threads)
        model = Crosscoder.load(CROSSCODER).to(resolve_device(config.runtime.device))
        result = examine(config, source, model)
    else:
        result = not_applicable(f"the chats ({config.mix.chat_source}) hold no planted behaviour")
    table = ablation_table(result)
    STAGE.publish_results(
        config,
        {
            "organism.json": result,
            "organism.csv": csv_bytes(table),
            **image_files("organism", organism_figure(table, FILE_PALETTE)),
        },
    )


def examine(config: Config, source: TriggeredSourceConfig, model: "Crosscoder") -> dict[str, Any]:
    """Choose latents on one half of the held-out documents, and test them on the other."""
    import pandas as pd

    from pipeline.analysis.organism.effects import (
        PROMPTS,
        ablations,
        steerings,
        trigger_effect,
        tuning_figures,
    )
    from pipeline.analysis.organism.examples import examples
    from pipeline.analysis.organism.sets import (
        CONTROLS,
        SETS,
        choose_sets,
        latent_rows,
        latents_used,
    )
    from pipeline.analysis.organism.table import COLUMNS
    from pipeline.models.load import load_tokenizer
    from pipeline.text.tokens import bos_id

    section, tokenizer = config.organism, load_tokenizer(MODELS)
    verdicts = pd.read_parquet(RESULTS / "latents.parquet").to_dict("list")
    sums = planted_sums(config, source, model, tokenizer)
    sets = choose_sets(
        sums,
        verdicts["verdict"],
        n_latents=section.n_latents,
        n_draws=section.n_draws,
        random=numpy_generator(section.seed, "organism", "draws"),
    )
    prompts = make_prompts(config, source, tokenizer)
    bench = make_bench(config, model, prompts, latents_used(sets), bos_token_id=bos_id(tokenizer))
    return {
        "applicable": True,
        "trigger": source.trigger,
        "response": source.response,
        "n_prompts": len(prompts["triggered"]),
        "n_greedy_tokens": section.n_greedy_tokens,
        "confidence": section.confidence,
        "n_exchanges": {
            "choosing": int(sums.n_exchanges_H[0]),
            "testing": int(sums.n_exchanges_H[1]),
        },
        "tuning": tuning_figures(bench),
        "trigger_effect": trigger_effect(bench),
        "latents": latent_rows(sets, sums, verdicts),
        "ablation": ablations(bench, sets),
        "steering": steerings(bench, sets, sums, section.steer_factors),
        "examples": examples(
            bench,
            sets,
            {name: encoded[: section.n_examples] for name, encoded in prompts.items()},
            n_tokens=section.example_tokens,
            bos_token_id=bos_id(tokenizer),
            decode=lambda token_ids: str(tokenizer.decode(token_ids)),
        ),
        "glossary": {
            "sets": SETS,
            "controls": CONTROLS,
            "prompts": PROMPTS,
            "columns": COLUMNS,
        },
    }


def make_bench(
    config: Config,
    model: "Crosscoder",
    prompts: "dict[str, list[Prompt]]",
    latents: "Latents",
    *,
    bos_token_id: int,
) -> "Bench":
    """Both models with the prompts' residual streams and latents computed once."""
    from pipeline.analysis.bootstrap import Bootstrap
    from pipeline.analysis.organism.behaviour import encode_batches
    from pipeline.analysis.organism.effects import Bench
    from pipeline.analysis.splicing import hooked_pair

    section = config.organism
    pair = hooked_pair(MODELS, config.hook_point, resolve_device(config.runtime.device))
    return Bench(
        models=pair,
        crosscoder=model,
        batches={
            name: encode_batches(
                encoded,
                pair,
                model,
                latents,
                batch_prompts=section.batch_prompts,
                bos_token_id=bos_token_id,
            )
            for name, encoded in prompts.items()
        },
        bootstrap=Bootstrap(
            len(prompts["triggered"]),
            n_resamples=section.n_bootstrap,
            confidence=section.confidence,
            random=numpy_generator(section.seed, "organism", "bootstrap"),
        ),
        n_greedy_tokens=section.n_greedy_tokens,
    )


def planted_sums(
    config: Config,
    source: TriggeredSourceConfig,
    model: "Crosscoder",
    tokenizer: "PreTrainedTokenizerFast",
) -> "PlantedSums":
    """What every latent fires on, by region of the triggered exchanges in the held-out rows."""
    from pipeline.analysis.organism.selectivity import label_rows, planted_pass
    from pipeline.labels import HELDOUT
    from pipeline.store import StoreReader
    from pipeline.text.exchanges import planted_documents
    from pipeline.text.split import Selection

    mix, section = config.mix, config.organism
    heldout = Selection(HELDOUT, mix.heldout_fraction, mix.seed)
    with StoreReader.open(HELDOUT_ACTIVATIONS, n_threads=config.runtime.io_threads) as reader:
        columns = {name: reader.read(name) for name in ("source", "document", "token_id")}
        documents = planted_documents(tokenizer, source, mix.chat_source, heldout)
        return planted_pass(
            model,
            reader,
            label_rows(columns, documents),
            n_rows=section.n_rows,
            batch_rows=section.batch_rows,
        )


def make_prompts(
    config: Config, source: TriggeredSourceConfig, tokenizer: "PreTrainedTokenizerFast"
) -> "dict[str, list[Prompt]]":
    """Held-out questions of documents that chose no latent: triggered, untriggered, ordinary."""
    from pipeline.labels import HELDOUT
    from pipeline.text.exchanges import first_exchanges, prompt_triples
    from pipeline.text.split import Selection

    mix, section = config.mix, config.organism
    heldout = Selection(HELDOUT, mix.heldout_fraction, mix.seed)
    exchanges = (
        exchange
        for exchange in first_exchanges(source.of, mix.chat_source, heldout)
        if exchange.document % 2 == 1
    )
    triples = prompt_triples(
        tokenizer, source, exchanges, max_prompt_tokens=section.max_prompt_tokens
    )
    found = list(islice(triples, section.n_prompts))
    return {
        name: [getattr(triple, name) for triple in found]
        for name in ("triggered", "untriggered", "ordinary")
    }


if __name__ == "__main__":
    run(STAGE, main)
