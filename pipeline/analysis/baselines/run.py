"""The baselines beside the crosscoder: what each explains of held-out rows, and what it carries."""

from typing import Any

import numpy as np
import torch

from pipeline.analysis.baselines.difference import (
    UNITS,
    CellMeans,
    cell_means,
    difference_pass,
    difference_table,
    mean_table,
)
from pipeline.analysis.baselines.patches import BaselinePatches
from pipeline.analysis.baselines.position_lens import mean_lens, position_lens
from pipeline.analysis.baselines.positions import PositionMeans, document_starts, position_means
from pipeline.analysis.baselines.result import ExplainedOn, Positions
from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.causal.run import causal_pass, chat_sources
from pipeline.analysis.causal.table import UNITS as CAUSAL_UNITS
from pipeline.analysis.causal.table import causal_table
from pipeline.analysis.heldout import Window
from pipeline.analysis.opening import Opened
from pipeline.config.text import TriggeredSourceConfig, form_of
from pipeline.crosscoder import Crosscoder
from pipeline.results import NotApplicable, not_applicable
from pipeline.rounds.opening import training_rows
from pipeline.runtime import generator
from pipeline.stage import TOKENS
from pipeline.text.exchanges import planted_words
from pipeline.text.pieces import Pieces


def mean_rows(opened: Opened) -> CellMeans:
    """Mean activations over training rows, by source and token class."""
    section = opened.config.baselines
    with training_rows(opened.config, n_threads=opened.config.runtime.io_threads) as rows:
        return cell_means(Window(rows.sample, section.n_rows, section.batch_rows), opened.device)


def compared(
    opened: Opened,
    means: CellMeans,
    diff_sae: Crosscoder,
    positions: PositionMeans | None,
    *,
    k: int,
) -> dict[str, Any]:
    """What `results/baselines.json` holds. k: that the diff-SAE was trained with."""
    config, crosscoder = opened.config, opened.crosscoder()
    explained = _explained(opened, crosscoder, diff_sae, means)
    causal = lens = not_applicable("the experiment has no models to go on in")
    if config.has_models:
        causal = not_applicable("no source of the mix holds conversations")
        if chat_sources(opened):
            causal = _on_sequences(opened, crosscoder, diff_sae, means)
        lens = mean_lens(
            means,
            opened.head("it"),
            lambda token: opened.decode([token]),
            n_tokens=config.baselines.n_lens_tokens,
            n_vocab=len(opened.tokenizer),
        )
    return {
        "units": UNITS,
        "confidence": config.causal.confidence,
        "diff_sae": {"n_latents": diff_sae.n_latents, "k": k},
        "mean_difference": mean_table(means),
        "mean_difference_lens": lens,
        "positions": _positions(opened, positions),
        "explained": explained,
        "causal": causal,
    }


def _explained(
    opened: Opened, crosscoder: Crosscoder, diff_sae: Crosscoder, means: CellMeans
) -> dict[str, ExplainedOn]:
    n_sequences = opened.manifests["heldout_activations"].counts["n_sequences"]
    with opened.heldout(opened.config.baselines) as window:
        sums = difference_pass(crosscoder, diff_sae, means, window, n_sequences=n_sequences)
    bootstrap = Bootstrap.of(opened.config.causal, len(sums.n_UC), "baselines", "rows")
    return difference_table(sums, bootstrap)


def _on_sequences(
    opened: Opened, crosscoder: Crosscoder, diff_sae: Crosscoder, means: CellMeans
) -> dict[str, Any]:
    """The causal test's figures for each baseline, on the causal test's own sequences and with its
    own resamples, so that the two tables can be read side by side."""
    of_cell = np.stack([means.difference([cell]) for cell in range(means.cells.n)])
    mean_D, mean_CD = (
        torch.from_numpy(values).float().to(opened.device)
        for values in (means.difference(means.cells.groups["all"]), of_cell)
    )
    replacements = BaselinePatches(crosscoder, diff_sae, mean_D, mean_CD)
    sums = causal_pass(opened, replacements, name="baselines_causal")
    bootstrap = Bootstrap.of(opened.config.causal, len(sums.n_QG), "causal", "bootstrap")
    sizes = {"full": crosscoder.n_latents, "diff_sae": diff_sae.n_latents}
    patches = causal_table(sums, bootstrap, draws={}, n_latents=sizes)
    return {"units": CAUSAL_UNITS, "n_sequences": len(sums.n_QG), "patches": patches}


def first_positions(opened: Opened) -> PositionMeans | None:
    """The mean difference at the first positions of the mix's text; None where there is no text, or
    no model to read it."""
    config, section = opened.config, opened.config.baselines.positions
    names = [name for name in config.source_names if form_of(config.sources[name]) == "text"]
    if not config.has_models or not names:
        return None
    held, start_id = opened.heldout_sequences, opened.start_id
    step = max(1, opened.config.baselines.batch_rows // config.mix.sequence_length_tokens)
    splits = (held, range(held.start))
    blocks = [(at, min(at + step, s.stop)) for s in splits for at in range(s.start, s.stop, step)]
    # Without a start token the first one stands in its place and gives no row.
    n_tokens = section.n_positions + (start_id is None)
    with opened.reader(TOKENS) as tokens:
        codes = [tokens.layout.sources.index(name) for name in names]
        found = document_starts(
            tokens, blocks, codes, n_tokens=n_tokens, n_documents=section.n_documents
        )
    if not len(found):
        return None
    return position_means(
        opened.hooked_models(),
        found,
        start_id=start_id,
        n_draws=section.n_draws,
        batch_documents=max(1, config.baselines.batch_rows // (n_tokens + 1)),
        random=generator(section.seed, "baselines", "positions"),
        device=opened.device,
    )


def _positions(opened: Opened, means: PositionMeans | None) -> Positions | NotApplicable:
    """What is read at each position; planted words where a source of the mix plants some."""
    if means is None:
        return not_applicable("there is no model, or no text in the mix, to read positions of")
    source = opened.config.sources.get(opened.config.planted_source or "")
    planted = set[int]()
    if isinstance(source, TriggeredSourceConfig):
        planted = planted_words(opened.tokenizer, source)
    return position_lens(
        means,
        (opened.head("base"), opened.head("it")),
        planted,
        Pieces(opened.tokenizer).single,
        n_tokens=opened.config.baselines.n_lens_tokens,
        n_vocab=len(opened.tokenizer),
    )
