"""The causal test: sets of latents chosen by the verdicts, each moved on held-out chat sequences.

`causal_pass` takes any maker of replacements; the baselines bring their own.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.causal.patches import (
    GROUPS,
    Batch,
    CausalSums,
    LatentPatches,
    Replacements,
    causal_batch,
    merge,
)
from pipeline.analysis.causal.responses import NO_RESPONSE, response_positions
from pipeline.analysis.causal.sets import DESCRIPTIONS, MATCHED, Ints, latent_sets, random_sets
from pipeline.analysis.causal.table import UNITS, causal_table, controls
from pipeline.analysis.opening import Opened
from pipeline.errors import ArtifactError
from pipeline.models.template import read_template
from pipeline.progress import Progress
from pipeline.runtime import numpy_generator
from pipeline.stage import MODELS, TOKENS
from pipeline.store import StoreReader


def measure_sets(opened: Opened) -> dict[str, Any]:
    """What `results/causal.json` holds: every set of latents, beside random ones."""
    section = opened.config.causal
    table = opened.latents()
    latents = {name: table[name].to_numpy() for name in table.columns}
    sets = latent_sets(latents)
    draws = {}
    for name in MATCHED:
        if name in sets:
            random = numpy_generator(section.seed, "causal", "random", name)
            drawn = random_sets(sets[name], latents["n_active"], section.n_draws, random)
            draws[name] = {f"random_{name}_{i}": set_J for i, set_J in enumerate(drawn)}
    every = sets | {name: set_J for drawn in draws.values() for name, set_J in drawn.items()}
    sums = causal_pass(opened, LatentPatches(opened.crosscoder(), every), name="causal")
    patches = causal_table(
        sums,
        Bootstrap.of(section, len(sums.n_QG), "causal", "bootstrap"),
        draws={name: list(drawn) for name, drawn in draws.items()},
        n_latents={name: int(set_J.size) for name, set_J in sets.items()},
    )
    return {
        "units": UNITS,
        "sets": {name: DESCRIPTIONS[name] for name in sets},
        "confidence": section.confidence,
        "n_sequences": len(sums.n_QG),
        "n_first_tokens": section.n_first_tokens,
        "n_draws": section.n_draws,
        "controls": controls(patches),
        "patches": patches,
    }


def causal_pass(opened: Opened, replacements: Replacements, *, name: str) -> CausalSums:
    """Every patch on the chat sequences that `causal` of the configuration asks for. name: of the
    progress line and log"""
    batch_of = partial(chat_batch, opened, read_template(MODELS).openings)
    return over_sequences(opened, replacements, chat_sequences(opened), batch_of, name=name)


def over_sequences(
    opened: Opened,
    replacements: Replacements,
    chosen: Ints,
    batch_of: Callable[[StoreReader, Ints], Batch],
    *,
    name: str,
) -> CausalSums:
    """Every patch on these sequences, in batches, of which every process has its part and gets all
    sums. batch_of: token store and numbers of sequences in it -> the batch"""
    pair, unpatched = opened.hooked_models(), opened.unpatched
    step, parts = opened.config.causal.batch_sequences, []
    own = opened.ranks.part(-(-len(chosen) // step))
    sequences = chosen[own.start * step : own.stop * step]
    n_tokens = len(sequences) * opened.config.mix.sequence_length_tokens
    with (
        opened.reader(TOKENS) as tokens,
        Progress(name, total=n_tokens, unit="tokens") as progress,
    ):
        for at in range(0, len(sequences), step):
            batch = batch_of(tokens, sequences[at : at + step])
            parts.append(causal_batch(pair, replacements, batch, unpatched))
            progress.advance(batch.token_ids.numel())
    return merge(opened.ranks.everyones(parts))


def chat_sources(opened: Opened) -> list[str]:
    """Names of the sources of the mix that hold conversations, in order."""
    forms = opened.manifests["tokens"].facts["forms"]
    return [name for name, form in forms.items() if form == "chat"]


def chat_sequences(opened: Opened) -> Ints:
    """Numbers, ascending, of at most `causal.n_sequences` held-out sequences of chats."""
    section, held = opened.config.causal, opened.heldout_sequences
    with opened.reader(TOKENS) as tokens:
        source = tokens.read("source", held.start, held.stop)[:, -1]
        names = chat_sources(opened)
        codes = [tokens.layout.sources.index(name) for name in names]
    chats = held.start + np.flatnonzero(np.isin(source, codes))
    if chats.size == 0:
        raise ArtifactError(
            f"{TOKENS} holds no held-out sequence of chats ({', '.join(names)}), of {len(held)} "
            "held-out ones: raise mix.n_heldout_tokens and run `dvc repro`"
        )
    random = numpy_generator(section.seed, "causal", "sequences")
    return np.sort(random.permutation(chats)[: section.n_sequences])


def chat_batch(
    opened: Opened, openings: Sequence[str], tokens: StoreReader, numbers: Ints
) -> Batch:
    """Sequences of chats, with the group of every token. openings: of the template"""
    names = ("token_id", "source", "token_class", "document")
    columns = {name: tokens.take(name, numbers) for name in names}
    position = response_positions(
        columns["token_id"], columns["token_class"], columns["document"], opened.decode, openings
    )
    is_first = position < opened.config.causal.n_first_tokens
    group = np.where(is_first, GROUPS.index("first"), GROUPS.index("later"))
    group[position == NO_RESPONSE] = GROUPS.index("outside")
    return Batch.of(columns, group, opened.device)
