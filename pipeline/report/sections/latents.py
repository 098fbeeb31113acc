"""The section that lists every latent, with filters, and opens its dashboard."""

import json

from pipeline.report.findings import Findings
from pipeline.report.labels import VERDICT_NAMES
from pipeline.report.section import Section, Shown

RANGES = (
    ("relative_norm", "r", 1, 0.01),
    ("decoder_cosine", "cosine", 1, 0.01),
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
    facts = {
        "limits": json.dumps(limits),
        "ranges": [*RANGES, *shares],
        "sources": findings.sources,
        "verdict_names": VERDICT_NAMES,
    }
    return Shown(facts=facts)


SECTION = Section("latents", "Latents", show)
