"""Where latents fire, as shares of their firing."""

from collections.abc import Sequence

from pipeline.analysis.evaluation.result import EVALUATION, LATENTS, LatentColumns, source_rates
from pipeline.report.findings import Findings


def source_shares(latents: LatentColumns, sources: Sequence[str]) -> dict[str, list[float]]:
    """Source -> share of each latent's firing that is on it, were there as much of every source."""
    rates = source_rates(latents, sources)
    totals = [sum(of_latent) for of_latent in zip(*rates.values(), strict=True)]
    return {
        source: [rate / total if total else 0.0 for rate, total in zip(of_all, totals, strict=True)]
        for source, of_all in rates.items()
    }


def template_shares(findings: Findings) -> list[float]:
    """Share of the tokens each latent fires on that are template tokens."""
    groups, latents = findings.read(EVALUATION)["reconstruction"], findings.read(LATENTS)
    part = groups["template"]["n_tokens"] / (groups["all"]["n_tokens"] or 1)
    return [
        rate * part / everywhere if everywhere else 0.0
        for rate, everywhere in zip(latents["rate_template"], latents["rate_all"], strict=True)
    ]
