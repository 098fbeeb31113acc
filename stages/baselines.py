"""Set simple explanations of the difference beside the crosscoder: its mean, and an SAE on it.

    python -m stages.baselines                  # composed.yaml, as `dvc repro` does
    python -m stages.baselines +experiment=tiny baselines.match_l0=false baselines.diff_sae.k=16

reads   data/shuffled.zarr, data/heldout_activations.zarr, data/crosscoder, data/models,
        data/tokens.zarr, results/evaluation.json (the L0 to match)
writes  data/diff_sae/ (a BatchTopK dictionary on h_it - h_base, by the crosscoder's trainer);
        results/baselines.json (mean differences with their logit lens, variance explained, KL
        removed), results/baselines_summary.json
cost    training on `baselines.n_train_rows` rows of half the crosscoder's width, resumable; one
        pass over `baselines.n_rows` training rows and one over as many held-out rows; the causal
        test's pass with five patches. Memory: both dictionaries and their [rows, latents]
"""

from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Build
from pipeline.config import Config
from pipeline.config.crosscoder import BatchTopKConfig, TrainConfig
from pipeline.runtime import numpy_generator, resolve_device, set_threads
from pipeline.stage import (
    CROSSCODER,
    DIFF_SAE,
    EVALUATION,
    HELDOUT_ACTIVATIONS,
    MODELS,
    SHUFFLED,
    TOKENS,
    Stage,
    read_results,
    run,
)

if TYPE_CHECKING:
    from pipeline.analysis.baselines.difference import CellMeans
    from pipeline.crosscoder import Crosscoder

STAGE = Stage(
    name="baselines",
    sections=("baselines", "causal", "train", "hook_point"),
    inputs={
        "models": MODELS,
        "tokens": TOKENS,
        "shuffled": SHUFFLED,
        "heldout_activations": HELDOUT_ACTIVATIONS,
        "crosscoder": CROSSCODER,
        "evaluation": EVALUATION,
    },
    outputs={"diff_sae": DIFF_SAE},
    results=("baselines.json", "baselines_summary.json"),
    resumes=True,
    memory_keys=("baselines.batch_rows", "causal.batch_sequences"),
)
NO_MODELS: dict[str, Any] = {
    "applicable": False,
    "reason": "the experiment has no models to go on in",
}


def main(config: Config) -> None:
    from pipeline.analysis.baselines.difference import UNITS, headline, mean_table
    from pipeline.crosscoder import Crosscoder
    from pipeline.training.training import is_finished, read_outcome

    set_threads(config.runtime.n_threads)
    with STAGE.build(config, "diff_sae") as build:
        if not build.complete:
            if not is_finished(build.work):
                train_diff_sae(config, build)
            outcome = read_outcome(build.work)
            build.publish(counts=outcome.counts, facts=outcome.facts)
    device = resolve_device(config.runtime.device)
    model, diff_sae = (Crosscoder.load(path).to(device) for path in (CROSSCODER, DIFF_SAE))
    means, explained = over_rows(config, model, diff_sae)
    causal = lens = NO_MODELS
    if config.has_models:
        causal = over_sequences(config, model, diff_sae, means)
        lens = lens_of(config, means)
    result = {
        "units": UNITS,
        "confidence": config.causal.confidence,
        "diff_sae": {"n_latents": diff_sae.n_latents, "k": matched(config).k},
        "mean_difference": mean_table(means),
        "mean_difference_lens": lens,
        "explained": explained,
        "causal": causal,
    }
    short = headline(explained, causal.get("patches"))
    STAGE.publish_results(config, {"baselines.json": result, "baselines_summary.json": short})


def matched(config: Config) -> BatchTopKConfig:
    """The diff-SAE's configuration, with the crosscoder's held-out L0 as its k."""
    section = config.baselines.diff_sae
    if not config.baselines.match_l0:
        return section
    l0 = read_results("evaluation.json")["reconstruction"]["all"]["l0"]["value"]
    k = min(max(1, round(l0)), section.n_latents)
    return section.model_copy(update={"k": k, "k_start": k, "k_anneal_fraction": 0.0})


def trained_as(config: Config) -> TrainConfig:
    """The crosscoder's own training section, with the baseline's rows and learning rate."""
    n_rows = config.baselines.n_train_rows or config.train.n_rows
    update = {"n_rows": n_rows, "learning_rate": config.baselines.learning_rate}
    return config.train.model_copy(update=update)


def train_diff_sae(config: Config, build: Build) -> None:
    """Train in `build.work`, going on from its last checkpoint."""
    from pipeline.progress import Progress
    from pipeline.store import StoreReader
    from pipeline.training.difference import DifferenceRows
    from pipeline.training.training import Training

    with StoreReader.open(SHUFFLED) as source, StoreReader.open(HELDOUT_ACTIVATIONS) as heldout:
        training = Training(
            crosscoder=matched(config),
            train=trained_as(config),
            source=DifferenceRows(source),
            heldout=DifferenceRows(heldout),
            folder=build.work,
            device=resolve_device(config.runtime.device),
        )
        job = training.start()
        with Progress("diff_sae", total=training.n_rows, unit="rows", start=job.n_rows) as progress:
            job.train(progress.advance)
        training.write(job, provenance=build.manifest.lineage)


def over_rows(
    config: Config, model: "Crosscoder", diff_sae: "Crosscoder"
) -> "tuple[CellMeans, dict[str, Any]]":
    """The mean difference over training rows, and what each explains of the held-out ones."""
    from pipeline.analysis.baselines.difference import cell_means, difference_pass, difference_table
    from pipeline.analysis.bootstrap import Bootstrap
    from pipeline.store import StoreReader

    section, n_threads = config.baselines, config.runtime.io_threads
    window = {"n_rows": section.n_rows, "batch_rows": section.batch_rows}
    with StoreReader.open(SHUFFLED, n_threads=n_threads) as reader:
        means = cell_means(reader, device=model.W_dec.device, **window)
    n_sequences = STAGE.input(config, "heldout_activations").counts["n_sequences"]
    with StoreReader.open(HELDOUT_ACTIVATIONS, n_threads=n_threads) as reader:
        sums = difference_pass(model, diff_sae, means, reader, n_sequences=n_sequences, **window)
    bootstrap = Bootstrap(
        len(sums.n_UC),
        n_resamples=config.causal.n_bootstrap,
        confidence=config.causal.confidence,
        random=numpy_generator(config.causal.seed, "baselines", "rows"),
    )
    return means, difference_table(sums, bootstrap)


def over_sequences(
    config: Config, model: "Crosscoder", diff_sae: "Crosscoder", means: "CellMeans"
) -> dict[str, Any]:
    """The causal test's figures for each baseline, on the causal test's own sequences."""
    import numpy as np
    import torch

    from pipeline.analysis.baselines.patches import BaselinePatches
    from pipeline.analysis.bootstrap import Bootstrap
    from pipeline.analysis.causal.run import causal_pass
    from pipeline.analysis.causal.table import UNITS, causal_table
    from pipeline.analysis.groups import GROUPS, N_CELLS
    from pipeline.models.load import load_tokenizer
    from pipeline.text.tokens import bos_id

    device = model.W_dec.device
    of_cell = np.stack([means.difference([cell]) for cell in range(N_CELLS)])
    mean_D, mean_CD = (
        torch.from_numpy(values).float().to(device)
        for values in (means.difference(GROUPS["all"]), of_cell)
    )
    sums = causal_pass(
        config,
        BaselinePatches(model, diff_sae, mean_D, mean_CD),
        name="baselines_causal",
        bos_token_id=bos_id(load_tokenizer(MODELS)),
    )
    bootstrap = Bootstrap(
        len(sums.n_QG),
        n_resamples=config.causal.n_bootstrap,
        confidence=config.causal.confidence,
        random=numpy_generator(config.causal.seed, "causal", "bootstrap"),
    )
    sizes = {"full": model.n_latents, "diff_sae": diff_sae.n_latents}
    patches = causal_table(sums, bootstrap, draws={}, n_latents=sizes)
    return {"units": UNITS, "n_sequences": len(sums.n_QG), "patches": patches}


def lens_of(config: Config, means: "CellMeans") -> dict[str, Any]:
    """Group -> the tokens that the mean difference promotes and suppresses, as text and logit."""
    from functools import partial

    from pipeline.analysis.baselines.mean_lens import mean_lens
    from pipeline.models.hook import head_logits
    from pipeline.models.load import load_model, load_tokenizer

    tokenizer = load_tokenizer(MODELS)
    model = load_model(
        MODELS,
        "it",
        dtype="float32",
        attention=config.hook_point.attention,
        device=resolve_device(config.runtime.device),
        n_layers=1,
    )
    found = mean_lens(
        means,
        partial(head_logits, model),
        n_tokens=config.baselines.n_lens_tokens,
        n_vocab=len(tokenizer),
    )
    return {
        group: {
            name: [(str(tokenizer.decode([token])), logit) for token, logit in tokens]
            for name, tokens in lists.items()
        }
        for group, lists in found.items()
    }


if __name__ == "__main__":
    run(STAGE, main)
