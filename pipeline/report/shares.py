"""Where a latent fires, as shares of its firing."""

from pipeline.report.results import Findings, Row


def chat_share(row: Row) -> float:
    """Share of a latent's firing that is on chat, were there as much text as chat."""
    total = row["rate_pile"] + row["rate_chat"]
    return row["rate_chat"] / total if total else 0.0


def template_share(findings: Findings, row: Row) -> float:
    """Share of the tokens a latent fires on that are template tokens."""
    groups = findings.evaluation["reconstruction"]
    fired = row["rate_all"] * groups["all"]["n_tokens"]
    return row["rate_template"] * groups["template"]["n_tokens"] / fired if fired else 0.0
