"""The test of a planted behaviour: latents chosen on one half of the held-out documents, taken out
and put in on prompts of the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.heldout import Rows
from pipeline.analysis.opening import Opened
from pipeline.analysis.organism.behaviour import (
    BASE,
    IT,
    Batch,
    encode_batches,
    nothing,
    read_batches,
)
from pipeline.analysis.organism.chart import COLUMNS
from pipeline.analysis.organism.effects import (
    PROMPTS,
    Bench,
    ablations,
    steerings,
    trigger_effect,
    tuning_figures,
)
from pipeline.analysis.organism.examples import examples
from pipeline.analysis.organism.result import ChosenLatent, Example, Twin
from pipeline.analysis.organism.selectivity import (
    CHOOSING,
    TESTING,
    PlantedSums,
    RowLabels,
    label_rows,
    places_in_documents,
    planted_pass,
)
from pipeline.analysis.organism.sets import (
    CONTROLS,
    SETS,
    Chosen,
    choose_sets,
    latent_rows,
    latents_used,
)
from pipeline.analysis.splicing import HookedModel
from pipeline.config.text import TriggeredSourceConfig
from pipeline.crosscoder import Crosscoder
from pipeline.errors import ConfigError
from pipeline.labels import HELDOUT
from pipeline.labels import MODELS as NAMES
from pipeline.runtime import numpy_generator
from pipeline.stage import HELDOUT_ACTIVATIONS, TOKENS
from pipeline.store import StoreReader
from pipeline.text.exchanges import Prompt, first_exchanges, planted_documents, prompt_triples
from pipeline.text.split import Selection

Prompts = Mapping[str, Sequence[Prompt]]
"""Name in effects.PROMPTS -> the same questions, in order."""
GLOSSARY = {"sets": SETS, "controls": CONTROLS, "prompts": PROMPTS, "columns": COLUMNS}
COLUMNS_READ = ("source", "document", "token_id", "sequence", "position")


def examine(opened: Opened, name: str) -> dict[str, Any]:
    """What `results/organism.json` holds. name: of the source with the planted behaviour."""
    source = opened.config.sources[name]
    assert isinstance(source, TriggeredSourceConfig)
    section, crosscoder = opened.config.organism, opened.crosscoder()
    verdicts = opened.latents().to_dict("list")
    labels = row_labels(opened, name, source)
    sums = planted_sums(opened, crosscoder, labels)
    sets = choose_sets(
        sums,
        verdicts["verdict"],
        n_latents=section.n_latents,
        n_draws=section.n_draws,
        random=numpy_generator(section.seed, "organism", "draws"),
    )
    prompts = make_prompts(opened, name, source)
    bench = make_bench(opened, crosscoder, prompts, sets, opened.hooked_models())
    told: dict[str, Any] = {
        "applicable": True,
        "trigger": source.trigger,
        "response": source.response,
        "n_prompts": len(prompts["triggered"]),
        "n_greedy_tokens": section.n_greedy_tokens,
        "confidence": section.confidence,
        "n_exchanges": exchanges_looked_at(sums),
        "tuning": tuning_figures(bench),
        "trigger_effect": trigger_effect(bench),
        "latents": latent_rows(sets, sums, verdicts),
        "ablation": ablations(bench, sets),
        "steering": steerings(bench, sets, sums, section.steer_factors),
        "examples": write_examples(opened, bench, sets, prompts),
        "glossary": GLOSSARY,
    }
    if opened.config.models.twin is None:
        return told
    twin = opened.hooked_model("twin")
    seen = planted_sums(opened, crosscoder, labels, twin)
    beside = make_bench(opened, crosscoder, prompts, sets, (bench.models[BASE], twin))
    found = twin_figures(
        replace(beside, whole={name: bench.measure(name, nothing) for name in PROMPTS}),
        sets,
        (sums, seen),
        verdicts,
        factors=section.steer_factors,
        examples=write_examples(opened, beside, sets, prompts),
    )
    return told | {"twin": found}


def exchanges_looked_at(sums: PlantedSums) -> dict[str, int]:
    """Triggered exchanges on each half of the documents."""
    halves = {"choosing": CHOOSING, "testing": TESTING}
    return {name: int(sums.n_exchanges_H[half]) for name, half in halves.items()}


def twin_figures(
    bench: Bench,
    sets: Mapping[str, Chosen],
    sums: tuple[PlantedSums, PlantedSums],
    verdicts: Mapping[str, Sequence[Any]],
    *,
    factors: Sequence[float],
    examples: list[Example],
) -> Twin:
    """The figures with the twin in the IT model's place. sums: of the organism's rows, by which
    latents are put in, and of the twin's"""
    return {
        "tuning": tuning_figures(bench)[NAMES[IT]],
        "trigger_effect": trigger_effect(bench)[NAMES[IT]],
        "latents": cast(list[ChosenLatent], latent_rows(sets, sums[1], verdicts)),
        "ablation": ablations(bench, sets),
        "steering": steerings(bench, sets, sums[0], factors, models=(IT,)),
        "examples": examples,
    }


def write_examples(
    opened: Opened, bench: Bench, sets: Mapping[str, Chosen], prompts: Prompts
) -> list[Example]:
    """Replies written out at the first prompts."""
    section = opened.config.organism
    return examples(
        bench,
        sets,
        {name: encoded[: section.n_examples] for name, encoded in prompts.items()},
        n_tokens=section.example_tokens,
        start_id=prompt_start(opened),
        unpatched=opened.unpatched,
        decode=opened.decode,
    )


def row_labels(opened: Opened, name: str, source: TriggeredSourceConfig) -> RowLabels:
    """Where the held-out rows lie in triggered exchanges."""
    with opened.reader(HELDOUT_ACTIVATIONS) as reader:
        columns = {column: reader.read(column) for column in COLUMNS_READ}
        columns["place"] = row_places(opened, columns)
        documents = planted_documents(opened.tokenizer, source, name, _heldout(opened))
        return label_rows(columns, reader.layout.sources.index(name), documents)


def planted_sums(
    opened: Opened, crosscoder: Crosscoder, labels: RowLabels, twin: HookedModel | None = None
) -> PlantedSums:
    """What every latent fires on, by region of the triggered exchanges in the held-out rows. twin:
    the model whose rows stand in the place of the IT model's"""
    with opened.heldout(opened.config.organism) as window, opened.reader(TOKENS) as tokens:
        if twin is None:
            return planted_pass(crosscoder, window.batches(opened.device, "organism"), labels)
        batches = window.batches(opened.device, "organism_twin", "sequence", "position")
        replaced = (with_twin(rows, tokens, twin) for rows in batches)
        return planted_pass(crosscoder, replaced, labels)


def with_twin(rows: Rows, tokens: StoreReader, twin: HookedModel) -> Rows:
    """The rows with the twin's own, rounded as a store keeps them, in the IT model's place."""
    sequences, of_B = np.unique(rows.columns["sequence"], return_inverse=True)
    token_id_QS = torch.from_numpy(tokens.take("token_id", sequences.astype(np.int64))).long()
    hidden_QSD = twin.residual(token_id_QS.to(rows.x.device))
    place_B = (of_B, rows.columns["position"].astype(np.int64))
    own_BD = hidden_QSD[tuple(torch.from_numpy(at).to(hidden_QSD.device) for at in place_B)]
    own_BD = own_BD.bfloat16().float().to(rows.x.device)
    return replace(rows, x=torch.stack([rows.x[:, BASE], own_BD], dim=1))


def row_places(opened: Opened, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """[N] the place of each held-out row's token in its document."""
    held = opened.heldout_sequences
    with opened.reader(TOKENS) as tokens:
        token_id_QS, source_QS, document_QS = (
            tokens.read(name, held.start, held.stop) for name in ("token_id", "source", "document")
        )
    starts_QS = opened.unpatched.starts(torch.from_numpy(token_id_QS)).numpy()
    place_QS = places_in_documents(source_QS, document_QS, ~starts_QS)
    return place_QS[columns["sequence"] - held.start, columns["position"]]


def make_prompts(opened: Opened, name: str, source: TriggeredSourceConfig) -> Prompts:
    """Held-out questions of documents that chose no latent: triggered, untriggered, ordinary."""
    section = opened.config.organism
    exchanges = (
        exchange
        for exchange in first_exchanges(source.of, name, _heldout(opened))
        if exchange.document % 2 == TESTING
    )
    triples = prompt_triples(
        opened.tokenizer, source, exchanges, max_prompt_tokens=section.max_prompt_tokens
    )
    found = list(islice(triples, section.n_prompts))
    return {name: [getattr(triple, name) for triple in found] for name in PROMPTS}


def _heldout(opened: Opened) -> Selection:
    mix = opened.config.mix
    return Selection(HELDOUT, mix.heldout_fraction, mix.seed)


def make_bench(
    opened: Opened,
    crosscoder: Crosscoder,
    prompts: Prompts,
    sets: Mapping[str, Chosen],
    pair: tuple[HookedModel, HookedModel],
) -> Bench:
    """Both models with the prompts' residual streams and latents computed once."""
    section = opened.config.organism
    return Bench(
        models=pair,
        crosscoder=crosscoder,
        batches={
            name: encode_batches(
                read_prompts(opened, encoded, pair), crosscoder, latents_used(sets)
            )
            for name, encoded in prompts.items()
        },
        bootstrap=Bootstrap.of(section, len(prompts["triggered"]), "organism", "bootstrap"),
        n_greedy_tokens=section.n_greedy_tokens,
    )


def read_prompts(
    opened: Opened, prompts: Sequence[Prompt], pair: tuple[HookedModel, HookedModel]
) -> Iterator[Batch]:
    """The prompts in order, run through both models up to the hook point."""
    return read_batches(
        prompts,
        pair,
        batch_prompts=opened.config.organism.batch_prompts,
        start_id=prompt_start(opened),
        unpatched=opened.unpatched,
        device=opened.device,
    )


def prompt_start(opened: Opened) -> int:
    """The token that begins every prompt, as it begins every sequence of the mix."""
    start_id = opened.start_id
    if start_id is None:
        raise ConfigError(
            "mix.start is none, expected a token, because the organism's prompts begin with it: "
            "set mix.start and models.start to bos, eos or a token"
        )
    return start_id
