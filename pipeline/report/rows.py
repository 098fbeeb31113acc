"""The page's tables as rows of text, and how its numbers are written."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.analysis.decoders.geometry import CRITERIA, EXCLUSIVE_BINS
from pipeline.report.browser import Browser
from pipeline.report.results import Findings

GROUP_NAMES = {
    "all": "all tokens",
    "pile": "text",
    "chat": "chat",
    "other": "not template",
    "template": "template",
}
MODEL_NAMES = {"base": "base", "it": "IT"}


RECONSTRUCTION_COLUMNS = {
    "l0": ("L0", 1),
    "fve_base": ("FVE base", 3),
    "fve_it": ("FVE IT", 3),
    "fve_difference": ("FVE of IT − base", 3),
    "reference_ev_both": ("per-token EV", 3),
}
SPLICE_COLUMNS = {
    "ce_clean": ("CE clean", 3),
    "ce_spliced": ("CE spliced", 3),
    "ce_zero": ("CE zero-ablated", 3),
    "ce_mean": ("CE mean-ablated", 3),
    "delta_ce_spliced": ("ΔCE spliced", 3),
    "ce_recovered_zero": ("recovered (zero)", 3),
    "ce_recovered_mean": ("recovered (mean)", 3),
    "kl_spliced": ("KL spliced", 3),
}

CRITERION_NAMES = {
    "minder": "Minder et al. 2025: r < 1/6, r > 5/6",
    "anthropic": "Anthropic 2025: r < 0.05, r > 0.95",
    "reference": "Kissane et al. 2024, shared: 0.3 < r < 0.7",
}


def criterion_rows(findings: Findings) -> list[dict[str, Any]]:
    """One row per published criterion: its name, source and our counts under it."""
    return [
        {
            "name": CRITERION_NAMES[criterion.name],
            "source": criterion.source,
            **{"shared": None, **findings.relative_norm[criterion.name]},
        }
        for criterion in CRITERIA
    ]


OPTIONAL_NAMES = {
    "causal": "Causal test",
    "baselines": "Baselines",
    "recovery": "Planted truth",
    "seeds": "Seeds",
    "organism": "Organism",
}
"""Results that only some experiments have -> the title of their section, in the page's order."""

RANGES = (
    ("relative_norm", "r", 1, 0.01),
    ("decoder_cosine", "cosine", 1, 0.01),
    ("nu_eps", "ν error", 1, 0.01),
    ("nu_r", "ν reconstruction", 1, 0.01),
    ("rate_all", "fires on, %", 100, 0.001),
    ("chat_share", "on chat, %", 100, 1),
)
"""Ranges that the browser filters by: column, title, factor from column to input, step."""

VERDICT_NAMES = {
    "base_only": "base-only",
    "shared": "shared",
    "it_only": "IT-only",
    "undecided": "undecided",
}
NORM_BIN_NAMES = {
    "base_only": "base-only (r < 1/6)",
    "shared": "shared (0.3 < r < 0.7)",
    "between": "between",
    "it_only": "IT-only (r > 5/6)",
}
ARTEFACT_NAMES = {
    "complete_shrinkage": "Complete Shrinkage",
    "latent_decoupling": "Latent Decoupling",
    "both": "Complete Shrinkage and Latent Decoupling",
}


def first_rows(findings: Findings, browser: Browser, n_rows: int = 8) -> list[dict[str, Any]]:
    """Latents to look at first: those whose verdict is exclusive, then those the norms call so,
    the ones that fire most first; with their strongest example where there is a dashboard."""
    shown = browser.index["dashboards"]
    place = {latent: at for at, latent in enumerate(shown["latent"])}
    verdicts, rows = findings.verdicts, []
    for row in sorted(findings.latents, key=lambda row: -row["rate_all"]):
        latent = row["latent"]
        sure = verdicts["verdict"][latent] in EXCLUSIVE_BINS
        if sure or verdicts["norm_bin"][latent] in EXCLUSIVE_BINS:
            at = place.get(latent)
            before, token, after = ("", "", "") if at is None else shown["snippet"][at]
            rows.append(
                {
                    **row,
                    **{name: verdicts[name][latent] for name in ("verdict", "nu_eps")},
                    **{"before": before, "token": token, "after": after},
                    "writes": [] if at is None else shown["writes"][at][:3],
                    "sure": sure,
                }
            )
    return sorted(rows, key=lambda row: not row["sure"])[:n_rows]


def nu_limits(findings: Findings) -> str:
    """What nu must lie below for an exclusive verdict, as JSON."""
    section = findings.config["latent_scaling"]
    limits = {"nu_eps": section["max_nu_error"], "nu_r": section["max_nu_reconstruction"]}
    return json.dumps(limits)


def verdict_rows(findings: Findings) -> list[dict[str, Any]]:
    """What the norms say (rows) against the verdict (columns): counts of live latents."""
    pairs = Counter(zip(findings.verdicts["norm_bin"], findings.verdicts["verdict"], strict=True))
    return [
        {"name": name, **{verdict: pairs[norm_bin, verdict] for verdict in VERDICT_NAMES}}
        for norm_bin, name in NORM_BIN_NAMES.items()
    ]


def published_rows(findings: Findings) -> list[dict[str, Any]]:
    """Ours first, then the published runs; a figure that a source does not give is None."""
    everything = findings.evaluation["reconstruction"]["all"]
    ours = {
        "name": "this run",
        "n_latents": findings.evaluation["n_latents"],
        "l0": everything["l0"]["value"],
        "fve": everything["fve_both"]["value"],
        "explained_variance_per_token": everything["reference_ev_both"]["value"],
        "it_only": findings.relative_norm["minder"]["it_only"],
        "base_only": findings.relative_norm["minder"]["base_only"],
    }
    names = list(ours)
    rows = [ours, *findings.evaluation["published"]["rows"]]
    return [{name: row.get(name) for name in names} for row in rows]


def model_name(spec: dict[str, Any]) -> str:
    """What a reader calls a model of the section `models`."""
    match spec["kind"]:
        case "hub":
            return f"{spec['repo']}"
        case "local":
            return Path(spec["path"]).name
        case "trained":
            return f"{spec['architecture']} trained here"
        case "none":
            return "planted rows, no model"
        case _:
            return f"{spec['of']} model, tuned here"


def count_rows(findings: Findings) -> list[tuple[str, str, int]]:
    """(artifact, count, value) of every manifest, in the order of the pipeline."""
    return [
        (artifact, name.removeprefix("n_").replace("_", " "), value)
        for artifact, manifest in findings.manifests.items()
        for name, value in sorted(manifest.counts.items())
    ]


def config_lines(section: Any, depth: int = 0) -> list[tuple[int, str, str]]:
    """(depth, key, value) of a configuration section, nested ones below their key."""
    lines: list[tuple[int, str, str]] = []
    for key, value in section.items():
        if isinstance(value, dict):
            lines.append((depth, key, ""))
            lines += config_lines(value, depth + 1)
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            lines.append((depth, key, "null" if value is None else shown))
    return lines


def model_losses(findings: Findings) -> list[dict[str, Any]]:
    """Held-out loss of each model by source, in nats per token, before and after its training."""
    rows = []
    for model, name in MODEL_NAMES.items():
        figures = findings.models.get(model, {})
        after = figures.get("heldout_loss_nats", {})
        before = figures.get("initial_heldout_loss_nats", {})
        rows += [
            {"model": name, "source": source, "before": before.get(source), "after": loss}
            for source, loss in after.items()
        ]
    return rows


Row = dict[str, Any]


Result = Mapping[str, Any]


NO_ESTIMATE: dict[str, float | None] = {"value": None, "low": None, "high": None}
