"""The section on the causal test."""

from typing import Any

from pipeline.analysis.causal.chart import causal_figure
from pipeline.report.chart import Chart
from pipeline.report.format import percent
from pipeline.report.results import Findings, Table
from pipeline.report.rows import NO_ESTIMATE, Result, Row

CAUSAL_NAMES = {
    "none": "nothing: base activation alone",
    "all": "every latent",
    "full": "every latent and the decoder biases",
    "bias": "decoder biases only",
    "nu_low": "half with the lowest ν",
    "random_nu_low": "random, as often active",
    "nu_high": "half with the highest ν",
    "delta_high": "half with the highest Δ",
    "random_delta_high": "random, as often active",
    "delta_low": "half with the lowest Δ",
    "norm_exclusive": "exclusive by norm",
    "random_norm_exclusive": "random, as often active",
    "verdict_exclusive": "exclusive by verdict",
    "random_verdict_exclusive": "random, as often active",
    "template": "every latent, template tokens only",
    "error": "error term only",
    "reconstruction": "IT reconstruction in full",
    "everything": "reconstruction and error: the IT model",
}


def causal_rows(result: Result) -> list[Row]:
    """One row per patch: latents in it, and by group of tokens what it removes of the KL."""
    return [
        {
            "name": name,
            "n_latents": result["patches"][patch]["n_latents"],
            "is_random": patch.startswith("random_"),
            **{
                f"{figure}_{group}": result["patches"][patch]["tokens"][group].get(
                    figure, NO_ESTIMATE
                )
                for group in ("first", "later")
                for figure in ("kl", "removed", "over_random")
            },
        }
        for patch, name in CAUSAL_NAMES.items()
        if patch in result["patches"]
    ]


def causal_chart(result: dict[str, Any], table: Table) -> Chart:
    names = {"all": "All latents remove", "nu_low": "the half with the lowest ν"}
    names |= {"random_nu_low": "random ones that fire as often"}
    shares = {
        patch: result["patches"][patch]["tokens"]["first"]["removed"]["value"]
        for patch in names
        if patch in result["patches"]
    }
    return Chart(
        ", ".join(f"{names[patch]} {percent(share, 0)}" for patch, share in shares.items())
        + " of the KL between base and IT on the first tokens of a response",
        80 + 24 * len(result["patches"]),
        table,
        causal_figure,
    )


def causal_sentence(findings: Findings) -> list[str]:
    """What intervening shows: all latents, those the other model has least of, and random ones."""
    result = findings.optional.get("causal")
    if result is None:
        return []
    removed = {
        name: patch["tokens"]["first"]["removed"]["value"]
        for name, patch in result["patches"].items()
    }
    halves = ("nu_low", "random_nu_low")
    beside = (
        f"; the half with the lowest ν covers {removed['nu_low']:.0%}, random latents that fire "
        f"as often {removed['random_nu_low']:.0%}"
        if all(name in removed for name in halves)
        else ""
    )
    return [
        f"Put into the base model’s activations, all latents together cover {removed['all']:.0%} "
        f"of the distance (KL) to the IT model on the first {result['n_first_tokens']} tokens of "
        f"a response{beside}."
    ]
