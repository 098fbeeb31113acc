"""Where latents fire, as shares of their firing."""

from pipeline.analysis.evaluation.result import EVALUATION, LATENTS, LatentColumns
from pipeline.report.findings import Findings


def chat_shares(latents: LatentColumns) -> list[float]:
    """Share of each latent's firing that is on chat, were there as much text as chat."""
    return [
        chat / (text + chat) if text + chat else 0.0
        for text, chat in zip(latents["rate_pile"], latents["rate_chat"], strict=True)
    ]


def template_shares(findings: Findings) -> list[float]:
    """Share of the tokens each latent fires on that are template tokens."""
    groups, latents = findings.read(EVALUATION)["reconstruction"], findings.read(LATENTS)
    part = groups["template"]["n_tokens"] / (groups["all"]["n_tokens"] or 1)
    return [
        rate * part / everywhere if everywhere else 0.0
        for rate, everywhere in zip(latents["rate_template"], latents["rate_all"], strict=True)
    ]
