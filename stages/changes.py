"""List what fine-tuning changed: directions of the difference, ranked, tested, each with its kind.

    python -m stages.changes                    # composed.yaml, as `dvc repro` does
    python -m stages.changes +experiment=tiny changes.min_share=0.005

reads   data/shuffled.zarr (changes are found on training rows), data/heldout_activations.zarr
        (and measured on others), data/crosscoder, results/latents.parquet, data/models,
        data/tokens.zarr
writes  data/changes/: the directions, to read any rows by; results/changes.json (the list, each
        figure explained under `fields`), changes.parquet (the same as a table, with directions),
        changes_summary.json
cost    `changes.n_find_rows` rows in memory, 4 * d_model bytes each; per direction found n_starts *
        n_iterations products of these rows with one vector; two passes over `changes.n_rows`
        held-out rows; upper blocks of the IT model on `causal.n_sequences` sequences 2 +
        causal.n_draws times per weighed change
"""

import io
from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.runtime import generator, numpy_generator, resolve_device, set_threads
from pipeline.stage import (
    CHANGES,
    CROSSCODER,
    HELDOUT_ACTIVATIONS,
    LATENT_SCALING,
    MODELS,
    RESULTS,
    SHUFFLED,
    TOKENS,
    Stage,
    run,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.analysis.changes.causal import Weight
    from pipeline.analysis.changes.latents import Rests
    from pipeline.analysis.changes.measure import Changes
    from pipeline.analysis.changes.records import Surroundings
    from pipeline.crosscoder import Crosscoder

STAGE = Stage(
    name="changes",
    sections=("changes", "causal", "hook_point"),
    inputs={
        "models": MODELS,
        "tokens": TOKENS,
        "shuffled": SHUFFLED,
        "heldout_activations": HELDOUT_ACTIVATIONS,
        "crosscoder": CROSSCODER,
        "latent_scaling": LATENT_SCALING,
    },
    outputs={"changes": CHANGES},
    results=("changes.json", "changes.parquet", "changes_summary.json"),
    memory_keys=("changes.batch_rows",),
    format_version=3,
)


def main(config: Config) -> None:
    from pipeline.analysis.changes.judge import judge
    from pipeline.analysis.changes.lines import Lines
    from pipeline.analysis.changes.measure import Changes, measure
    from pipeline.analysis.changes.table import entry, frame, order, summary
    from pipeline.store import StoreReader

    set_threads(config.runtime.n_threads)
    with STAGE.build(config, "changes") as build:
        if not build.complete:
            build.publish(counts=find(config, build.work), facts={})
    section, device = config.changes, resolve_device(config.runtime.device)
    changes = Changes(Lines.load(CHANGES).to(device))
    with StoreReader.open(HELDOUT_ACTIVATIONS, n_threads=config.runtime.io_threads) as reader:
        sums = measure(changes, reader, section)
    judgement = judge(sums, section)
    listed = order(judgement)
    n_active_J = sums.n_active_GJ.sum(axis=0)
    seen = surroundings(config, changes, listed, n_active_J)
    entries = [
        entry(rank, change, judgement, sums, seen[change], section)
        for rank, change in enumerate(listed, start=1)
    ]
    result = summary(entries, judgement, sums, section)
    table = io.BytesIO()
    frame(entries, changes, sums).to_parquet(table, index=False)
    STAGE.publish_results(
        config,
        {
            "changes.json": result,
            "changes.parquet": table.getvalue(),
            "changes_summary.json": {n: result[n] for n in result.keys() - {"fields", "changes"}},
        },
    )


def find(config: Config, folder: "Path") -> dict[str, int]:
    """Find the directions on training rows and write them; counts of the manifest."""
    from pipeline.analysis.changes.lines import find_lines
    from pipeline.analysis.heldout import spread_rows
    from pipeline.rounds.opening import training_rows

    section, device = config.changes, resolve_device(config.runtime.device)
    with training_rows(config, n_threads=config.runtime.io_threads) as rows:
        x_TMD = spread_rows(rows.sample, section.n_find_rows, section.batch_rows, device)
    lines = find_lines(x_TMD, section, generator(section.seed, "changes", "starts"))
    lines.save(folder)
    return {"n_rows": len(x_TMD), "n_lines": len(lines.change_L), "n_changes": lines.n_changes}


def surroundings(
    config: Config, changes: "Changes", listed: list[int], n_active_J: "NDArray"
) -> "dict[int, Surroundings]":
    """What stands beside the figures of each listed change: latents, tokens, text, causal weight.
    Shifts of mean and scale act on every row, and have none of these."""
    import pandas as pd

    from pipeline.analysis.changes.latents import rests_on
    from pipeline.analysis.changes.records import NOTHING, Surroundings
    from pipeline.analysis.changes.table import latents_under
    from pipeline.crosscoder import Crosscoder
    from pipeline.store import StoreReader

    section = config.changes
    lined = [change for change in listed if change < changes.n]
    found = dict.fromkeys(listed, NOTHING)
    if not lined:
        return found
    model = Crosscoder.load(CROSSCODER).to(resolve_device(config.runtime.device))
    latents = pd.read_parquet(RESULTS / "latents.parquet")
    with StoreReader.open(HELDOUT_ACTIVATIONS, n_threads=config.runtime.io_threads) as reader:
        rests = rests_on(changes, model, reader, section)
    verdicts = latents["verdict"].tolist()
    under = {change: latents_under(rests, change, verdicts, section) for change in lined}
    if not config.has_models:
        return found | {c: Surroundings(latents=under[c]) for c in lined}
    text = read_text(config, changes, rests, lined)
    n_active_L = latents["n_active"].to_numpy()
    weighed = weigh_changes(config, changes, model, lined, n_active_J, n_active_L)
    return found | {
        change: Surroundings(under[change], weighed.get(change), *text[change]) for change in lined
    }


def read_text(
    config: Config, changes: "Changes", rests: "Rests", lined: list[int]
) -> "dict[int, tuple]":
    """Change -> its logit lens and its examples."""
    from functools import partial

    from pipeline.analysis.changes.reading import examples, lenses
    from pipeline.analysis.dashboards.token_text import Pieces
    from pipeline.labels import MODELS as NAMES
    from pipeline.models.hook import head_logits
    from pipeline.models.load import load_model, load_tokenizer
    from pipeline.store import StoreReader

    section, tokenizer = config.changes, load_tokenizer(MODELS)
    pieces = Pieces(tokenizer)
    base, it = (
        load_model(
            MODELS,
            name,
            dtype="float32",
            attention=config.hook_point.attention,
            device=resolve_device(config.runtime.device),
            n_layers=1,
        )
        for name in NAMES
    )
    lens = lenses(
        (partial(head_logits, base), partial(head_logits, it)),
        changes.direction_JD[lined],
        pieces,
        n_tokens=section.n_lens_tokens,
        n_vocab=len(tokenizer),
    )
    with StoreReader.open(TOKENS, n_threads=config.runtime.io_threads) as tokens:
        return {
            change: (
                of_change,
                examples(rests.shown[change], tokens, pieces, n_context=section.n_context_tokens),
            )
            for change, of_change in zip(lined, lens, strict=True)
        }


def weigh_changes(
    config: Config,
    changes: "Changes",
    model: "Crosscoder",
    lined: list[int],
    n_active_J: "NDArray",
    n_active_L: "NDArray",
) -> "dict[int, Weight]":
    """Causal weights of the first `n_causal` changes."""
    from pipeline.analysis.bootstrap import Bootstrap
    from pipeline.analysis.changes.causal import (
        ChangePatches,
        heldout_batches,
        random_latents,
        weigh,
        weights,
    )
    from pipeline.analysis.splicing import hooked_pair
    from pipeline.models.start import read_start
    from pipeline.store import StoreReader

    section, causal, device = config.changes, config.causal, model.W_dec.device
    random = numpy_generator(section.seed, "changes", "random_latents")
    drawn = {
        change: random_latents(float(n_active_J[change]), n_active_L, causal.n_draws, random)
        for change in lined[: section.n_causal]
    }
    if not drawn:
        return {}
    counts = STAGE.input(config, "tokens").counts
    first = counts["n_train_sequences"]
    with StoreReader.open(TOKENS, n_threads=config.runtime.io_threads) as tokens:
        n_sequences, batches = heldout_batches(
            tokens,
            first,
            first + counts["n_heldout_sequences"],
            causal,
            numpy_generator(section.seed, "changes", "sequences"),
            device,
        )
        sums = weigh(
            hooked_pair(MODELS, config.hook_point, device),
            ChangePatches(changes, model, drawn, section),
            batches,
            n_tokens=n_sequences * config.mix.sequence_length_tokens,
            start_id=read_start(MODELS).id,
        )
    bootstrap = Bootstrap(
        n_sequences,
        n_resamples=causal.n_bootstrap,
        confidence=causal.confidence,
        random=numpy_generator(section.seed, "changes", "bootstrap"),
    )
    return weights(sums, drawn, bootstrap)


if __name__ == "__main__":
    run(STAGE, main)
