"""The causal test: sets of latents chosen by the verdicts, each moved on held-out chat sequences.

`causal_pass` takes any maker of replacements; the baselines bring their own.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

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
from pipeline.analysis.causal.sets import DESCRIPTIONS, MATCHED, latent_sets, random_sets
from pipeline.analysis.causal.table import UNITS, causal_table, controls
from pipeline.analysis.groups import cells_of
from pipeline.analysis.opening import Opened
from pipeline.errors import ArtifactError
from pipeline.labels import TEMPLATE
from pipeline.models.template import read_template
from pipeline.progress import Progress
from pipeline.runtime import numpy_generator
from pipeline.stage import MODELS, TOKENS


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
    """Every patch on the chat sequences that `causal` of the configuration asks for, in batches,
    of which every process has its part and gets all sums.

    name: of the progress line and log
    """
    pair, unpatched = opened.hooked_models(), opened.unpatched
    chosen, step = chat_sequences(opened), opened.config.causal.batch_sequences
    own = opened.ranks.part(-(-len(chosen) // step))
    sequences, parts = chosen[own.start * step : own.stop * step], []
    n_tokens = len(sequences) * opened.config.mix.sequence_length_tokens
    with Progress(name, total=n_tokens, unit="tokens") as progress:
        for batch in batches(opened, sequences):
            parts.append(causal_batch(pair, replacements, batch, unpatched))
            progress.advance(batch.token_ids.numel())
    return merge(opened.ranks.everyones(parts))


def chat_sources(opened: Opened) -> list[str]:
    """Names of the sources of the mix that hold conversations, in order."""
    forms = opened.manifests["tokens"].facts["forms"]
    return [name for name, form in forms.items() if form == "chat"]


def chat_sequences(opened: Opened) -> np.ndarray:
    """Numbers, ascending, of at most `causal.n_sequences` held-out sequences of chats."""
    section, counts = opened.config.causal, opened.manifests["tokens"].counts
    first, n_heldout = counts["n_train_sequences"], counts["n_heldout_sequences"]
    with opened.reader(TOKENS) as tokens:
        source = tokens.read("source", first, first + n_heldout)[:, -1]
        names = chat_sources(opened)
        codes = [tokens.layout.sources.index(name) for name in names]
    chats = first + np.flatnonzero(np.isin(source, codes))
    if chats.size == 0:
        raise ArtifactError(
            f"{TOKENS} holds no held-out sequence of chats ({', '.join(names)}), of {n_heldout} "
            "held-out ones: raise mix.n_heldout_tokens and run `dvc repro`"
        )
    random = numpy_generator(section.seed, "causal", "sequences")
    return np.sort(random.permutation(chats)[: section.n_sequences])


def batches(opened: Opened, sequences: np.ndarray) -> Iterator[Batch]:
    """The sequences in batches, with the group of every token."""
    section, device = opened.config.causal, opened.device
    names = ("token_id", "source", "token_class", "document")
    openings = read_template(MODELS).openings
    with opened.reader(TOKENS) as tokens:
        for at in range(0, len(sequences), section.batch_sequences):
            chosen = sequences[at : at + section.batch_sequences]
            arrays = {name: tokens.take(name, chosen) for name in names}
            position = response_positions(
                arrays["token_id"],
                arrays["token_class"],
                arrays["document"],
                opened.decode,
                openings,
            )
            is_first = position < section.n_first_tokens
            group = np.where(is_first, GROUPS.index("first"), GROUPS.index("later"))
            group[position == NO_RESPONSE] = GROUPS.index("outside")
            yield Batch(
                token_ids=torch.from_numpy(arrays["token_id"]).long().to(device),
                group=torch.from_numpy(group).to(device),
                is_template=torch.from_numpy(arrays["token_class"] == TEMPLATE).to(device),
                cells=torch.from_numpy(cells_of(arrays["source"], arrays["token_class"])).to(
                    device
                ),
            )
