"""The section that lists every latent, with filters, and opens its dashboard."""

import json

from pipeline.analysis.changes.result import CHANGES
from pipeline.report.findings import Findings
from pipeline.report.labels import KIND_NAMES, VERDICT_NAMES
from pipeline.report.section import Section, Shown

RANGES = (
    ("relative_norm", "r", 1, 0.01),
    ("decoder_cosine", "cosine", 1, 0.01),
    ("direction_cosine", "cosine of what they write", 1, 0.01),
    ("strength_ratio", "strength, IT over base", 1, 0.01),
    ("nu_eps", "ν error", 1, 0.01),
    ("nu_r", "ν reconstruction", 1, 0.01),
    ("rate_all", "fires on, %", 100, 0.001),
)
"""Ranges that the browser filters by, beside the share of firing on each source: column, title,
factor from column to input, step."""


def show(findings: Findings) -> Shown:
    rule = findings.config.latent_scaling
    limits = {"nu_eps": rule.max_nu_error, "nu_r": rule.max_nu_reconstruction}
    shares = [(f"share_{source}", f"on {source}, %", 100, 1) for source in findings.sources]
    changes = findings.find(CHANGES)
    listed = changes["changes"] if changes else []
    under = {change["kind"] for change in listed if change["latents"]}
    facts = {
        "limits": json.dumps(limits),
        "ranges": [*RANGES, *shares],
        "sources": findings.sources,
        "verdict_names": VERDICT_NAMES,
        "change_kinds": {kind: name for kind, name in KIND_NAMES.items() if kind in under},
    }
    return Shown(facts=facts)


SECTION = Section("latents", "Latents", show)
