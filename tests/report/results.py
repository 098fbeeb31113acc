"""A made-up run's results, to draw the page from: three clusters, and text of our choosing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.dashboards.file import Record
from pipeline.analysis.decoders.geometry import CHANGED, CRITERIA, Geometry, decoder_geometry
from pipeline.analysis.decoders.summaries import (
    Latents,
    decoder_cosine_summary,
    decoder_cosine_table,
    relative_norm_summary,
    relative_norm_table,
)
from pipeline.analysis.evaluation.result import LATENTS
from pipeline.analysis.evaluation.rows_pass import HeldoutSums
from pipeline.analysis.evaluation.splice import SpliceSums
from pipeline.analysis.evaluation.table import DIGITS, evaluation, latent_table
from pipeline.analysis.groups import Cells
from pipeline.analysis.lens import LISTS
from pipeline.analysis.verdicts.columns import COLUMNS
from pipeline.analysis.verdicts.table import summary
from pipeline.artifacts import Manifest, write_bytes, write_json
from pipeline.columns import Table, csv_bytes
from pipeline.config import compose
from pipeline.report.findings import Findings
from pipeline.results import table
from tests.report.proof_results import write_proof

STAGES = (
    *("models", "train", "evaluate", "latent_scaling", "relative_norm", "decoder_cosine"),
    *(
        "changes",
        "causal",
        "baselines",
        "recovery",
        "seeds",
        "organism",
        "steering",
        "explain",
        "parting",
    ),
)
"""Those whose results the page shows."""
CELLS = Cells(("pile", "chat"))
SHARES = "{pile: 0.5, chat: 0.5, triggered: null}"

PLAIN_TEXT = "Sure! Here is a short list of things to try next, in order of cost."


def made_up_findings(
    results: Path,
    *,
    n_latents: int = 600,
    experiment: str = "smoke",
    spliced: bool = True,
    proof: str | None = None,
) -> Findings:
    """Write a run's results below `results` and read them back.

    spliced: whether there were models to splice into
    proof: a text to put into the results that only some experiments have; None: without these
    """
    random = np.random.default_rng(0)
    geometry = decoder_geometry(_decoders(random, n_latents))
    sums, splice = _heldout(random, n_latents), _splice(random)
    live = sums.n_fired_CL.sum(axis=0) > 0
    latents = latent_table(geometry, sums)
    bootstraps = {
        name: Bootstrap(n, n_resamples=100, confidence=0.95, random=random)
        for name, n in (("rows", len(sums.n_UC)), ("splice", len(splice.n_QC)))
    }
    overrides = (f"++mix.shares={SHARES}", "models.twin=null")
    config = compose([f"+experiment={experiment}", *overrides])
    drawn = Latents(geometry.relative_norm, geometry.cosine, live)
    norm_bins = relative_norm_table(drawn, 60)
    cosine_bins = decoder_cosine_table(drawn, low=0.3, high=0.7, n_bins=60)
    documents: dict[str, Any] = {
        "models.json": _models(),
        "relative_norm.json": relative_norm_summary(drawn, window_tokens=65_536),
        "decoder_cosine.json": decoder_cosine_summary(drawn, low=0.3, high=0.7),
        "evaluation.json": evaluation(
            sums,
            splice if spliced else None,
            bootstrap_of=bootstraps,
            confidence=0.95,
            models=config.models.model_dump(mode="json"),
        ),
    }
    for name, document in documents.items():
        write_json(results / name, document)
    write_bytes(results / "relative_norm.csv", csv_bytes(norm_bins))
    write_bytes(results / "decoder_cosine.csv", csv_bytes(cosine_bins))
    write_bytes(results / "latents.csv", csv_bytes(latents, digits=DIGITS))
    verdicts = _verdicts(random, geometry, latents)
    verdicts.to_parquet(results / "latents.parquet", index=False)
    write_json(
        results / "latent_scaling.json",
        summary(verdicts, config.latent_scaling, window_tokens=65_536),
    )
    write_bytes(results / "training.csv", csv_bytes(_training()))
    if proof is not None:
        write_proof(results, proof)
    for stage in STAGES:
        made = Manifest(stage, 1, "", {}, {}, {}, {}, {}, {}, {})
        write_bytes(results / f"{stage}.manifest.json", made.to_json())
    return Findings(results, config, _manifests())


def _decoders(random: np.random.Generator, n_latents: int) -> np.ndarray:
    """[L, 2, 24]: mostly shared, a tenth IT-only, a few base-only."""
    W = np.repeat(random.normal(size=(n_latents, 1, 24)), 2, axis=1)
    W += 0.35 * random.normal(size=W.shape) * random.uniform(size=(n_latents, 1, 1))
    W[:, 1] *= np.exp(0.25 * random.normal(size=(n_latents, 1)))
    n_it, n_base = n_latents // 10, n_latents // 40
    W[:n_it, 0] *= 0.15 * random.uniform(size=(n_it, 1))
    W[n_it : n_it + n_base, 1] *= 0.15 * random.uniform(size=(n_base, 1))
    return W


def _verdicts(random: np.random.Generator, geometry: Geometry, table: Any) -> Any:
    """Most norms are right; a third of the IT-only ones are Complete Shrinkage. Of what both models
    have a tenth is altered, in every way in turn."""
    import pandas as pd

    n = geometry.cosine.size
    norm_bin = table["bin"].to_numpy()
    exclusive = np.isin(norm_bin, ("base_only", "it_only"))
    shrunk = exclusive & (np.arange(n) % 3 == 0)
    nu = np.where(exclusive & ~shrunk, 0.05, 0.95) + 0.04 * random.normal(size=(2, n))
    live = norm_bin != "dead"
    nu[:, ~live] = np.nan
    verdict = np.where(live, np.where(exclusive & ~shrunk, norm_bin, "shared"), "dead")
    verdict = verdict.astype("<U9")
    in_both = verdict == "shared"
    altered = np.flatnonzero(in_both & ~exclusive)[::10]
    verdict[altered] = np.resize(np.array([*CHANGED, "undecided"], verdict.dtype), altered.size)
    filled = {name: np.zeros(n) for name in COLUMNS}
    filled |= {
        "anchor": np.where(geometry.relative_norm >= 0.5, "it", "base"),
        **{f"by_{criterion.name}": norm_bin for criterion in CRITERIA},
        "n_active": np.where(live, 500, 0),
        "n_effective": np.full(n, 20.0),
        "twin": np.full(n, -1),
        "latent": np.arange(n),
        "verdict": verdict,
        "in_both": in_both,
        "direction_cosine": np.where(verdict == "turned", 0.3, 0.97),
        "direction_cosine_error": np.full(n, 0.02),
        "strength_ratio": np.where(verdict == "stronger", 2.1, 1.02),
        "log_strength_error": np.full(n, 0.05),
        "norm_bin": norm_bin,
    }
    for name, values in zip(("nu_eps", "nu_r"), nu, strict=True):
        filled |= {name: values, f"{name}_low": values - 0.05, f"{name}_high": values + 0.05}
    filled["artefact"] = np.where(shrunk & live, "complete_shrinkage", "")
    filled["relative_norm"] = geometry.relative_norm
    filled["decoder_cosine"] = geometry.cosine
    return pd.DataFrame(filled)


def _heldout(random: np.random.Generator, n_latents: int) -> HeldoutSums:
    n_UC = np.tile([1000.0, 24.0, 900.0, 124.0], (32, 1))
    noise = 1 + 0.05 * random.normal(size=(32, CELLS.n, 3))
    total = n_UC[..., None] * np.array([3000.0, 3600.0, 500.0]) * noise
    rate = random.lognormal(-6, 1.5, size=(CELLS.n, n_latents)).clip(0, 0.5)
    rate[:, ::9] = 0
    rate[:2, : n_latents // 10] *= 0.05
    fired = np.round(rate * n_UC.sum(axis=0)[:, None]).astype(np.int64)
    return HeldoutSums(
        n_UC=n_UC,
        n_active_UC=n_UC * 40 * (1 + 0.1 * random.normal(size=n_UC.shape)),
        error_UCK=total * np.array([0.2, 0.23, 0.52]) * (1 + 0.1 * random.normal(size=total.shape)),
        total_UCK=total,
        reference_ev_UCM=0.75 * n_UC[..., None] * noise[..., :2],
        reference_ev_UC=0.74 * n_UC * noise[..., 0],
        n_fired_CL=fired,
        sum_fired_CL=fired * 1.5,
        max_L=random.uniform(1, 9, size=n_latents),
        mean_KD=np.zeros((3, 24)),
        activation_scale_M=np.array([0.3, 0.25]),
        cells=CELLS,
    )


def _splice(random: np.random.Generator) -> SpliceSums:
    n_QC = np.zeros((40, CELLS.n))
    n_QC[:20, :2] = 240, 14
    n_QC[20:, 2:] = 215, 39
    ce = np.array([3.1, 3.3, 9.8, 7.9, 3.4, 10.2]) * (
        1 + 0.05 * random.normal(size=(2, 40, CELLS.n, 1))
    )
    kl = np.array([0.0, 0.18, 6.4, 4.9, 0.3, 6.7]) * (
        1 + 0.1 * random.normal(size=(2, 40, CELLS.n, 1))
    )
    return SpliceSums(n_QC, ce * n_QC[..., None], kl * n_QC[..., None], CELLS)


def _training() -> Table:
    step = np.arange(0, 4000, 20)
    fade = np.exp(-step / 500)
    return {
        "step": step.tolist(),
        "n_rows": (step * 1024).tolist(),
        "loss": (120 + 700 * fade).tolist(),
        "l0": (45 + 300 * fade).tolist(),
        "fve_base": (0.8 - 0.9 * fade).tolist(),
        "fve_it": (0.77 - 0.9 * fade).tolist(),
        "gradient_norm": (5 + 60 * fade).tolist(),
        "n_dead": (60 * (1 - fade)).round().astype(int).tolist(),
    }


def _models() -> dict[str, Any]:
    shape = {"d_model": 24, "n_layers": 2, "vocab_size": 512, "n_bytes": 10_000}
    return {
        "base": {
            **shape,
            "heldout_loss_nats": {"pile": 3.21, "chat": 3.9},
            "initial_heldout_loss_nats": {"pile": 8.3, "chat": 8.3},
        },
        "it": {
            **shape,
            "heldout_loss_nats": {"pile": 3.3, "chat": 2.6},
            "initial_heldout_loss_nats": {"pile": 3.21, "chat": 3.9},
        },
        "start": {"token": "<bos>", "id": 1, "why": "both vocabularies name it"},
        "warnings": [],
        "loss_change_nats": {"pile": 0.09, "chat": -1.3},
    }


def made_up_dashboards(
    findings: Findings, *, text: str = PLAIN_TEXT, n_latents: int | None = None
) -> Iterator[Record]:
    """Dashboards of live latents, `text` among the tokens of each and among those it promotes."""
    columns = table(findings.read(LATENTS))
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    live = [row for row in rows if row["bin"] != "dead"]
    for row in live[:n_latents]:
        yield _dashboard(row, text)


def _dashboard(row: dict[str, Any], text: str) -> Record:
    latent, largest = row["latent"], row["max_active"]

    def example(at: int) -> Record:
        values = [round(largest * (0.9**at) * (i % 7 == 3), 3) for i in range(36)]
        tokens = [f" w{(latent * 31 + at * 7 + i) % 997}" for i in range(36)]
        return {
            "sequence": at,
            "position": 24,
            "source": "chat" if at % 2 else "pile",
            "token_class": "template" if at % 3 == 0 else "other",
            "value": values[24],
            "at": 24,
            "tokens": [*tokens[:23], f" latent {latent} ", text, *tokens[25:]],
            "values": [None, *values[1:]],
        }

    cells = {"pile": {"other": 40, "template": 0}, "chat": {"other": 60, "template": 9}}
    words = [{"token": text, "logit": 3.5}]
    words += [{"token": f" p{i}", "logit": 3.0 - i / 5} for i in range(9)]
    return {
        "latent": latent,
        "norm_base": row["norm_base"],
        "norm_it": row["norm_it"],
        "n_active": cells,
        "n_tokens": {s: {c: 1000 * bool(n) for c, n in of.items()} for s, of in cells.items()},
        "histogram": {
            "width": 0.25,
            "counts": {"pile": [9, 4, 2, 0, 1], "chat": [3, 8, 5, 2, 2]},
        },
        "top": [example(at) for at in range(8)],
        "bands": [
            {"from": b / 5, "to": (b + 1) / 5, "low": b, "high": b + 1, "examples": [example(b)]}
            for b in (4, 3, 2, 1, 0)
        ],
        "lens": dict.fromkeys(LISTS, words),
        "nearest": [{"latent": (latent + i) % 600, "cosine": 0.9 - i / 10} for i in range(1, 8)],
    }


def _manifests() -> dict[str, Manifest]:
    counts = {
        "tokens": {"n_train_sequences": 4096, "n_heldout_sequences": 256, "n_dropped_empty": 3},
        "activations": {"n_rows": 1_048_320},
    }
    return {
        name: Manifest(name, 1, "", {}, {}, {}, numbers, {}, {}, {})
        for name, numbers in counts.items()
    }
