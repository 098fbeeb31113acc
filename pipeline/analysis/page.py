"""The offline page: one HTML file with everything in it.

Text from models and data sets is hostile until proven otherwise: the template escapes every value,
data reach the page's script as JSON that cannot close its tag, and a content security policy lets
only the scripts written here run, by their hash, and lets nothing be fetched.
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.analysis import figures, overview, tables
from pipeline.analysis.findings import Findings, Row, Table, thinned
from pipeline.analysis.scatter import scaling_points
from pipeline.config.analysis import ReportConfig

ASSETS = Path(__file__).parent / "assets"
N_SHOWN_LATENTS = 3_000
"""Dots in the scatter of latents; every exclusive latent is among them."""
NU_COLUMNS = ("nu_eps", "nu_eps_low", "nu_eps_high", "nu_r", "nu_r_low", "nu_r_high", "q_present")
PALETTE = figures.PAGE_PALETTE

GLOSSARY = {
    "base, IT": "the model before and after instruction tuning",
    "crosscoder": "a sparse dictionary trained on both models’ activations at once: one set of "
    "latents, and for each latent one decoder vector per model",
    "latent": "one entry of the dictionary; on a token it is off (0) or on with some strength",
    "hook point": "the place in the models where activations are read: the residual stream that "
    "enters this layer",
    "relative norm r": "length of a latent’s IT decoder over the sum of both lengths, in the "
    "normalised space the crosscoder was trained in: 0 base only, 0.5 shared, 1 IT only",
    "Δ (Delta)": "½(1 + (‖d_IT‖ − ‖d_base‖) / the longer of the two): another scale for r",
    "decoder cosine": "angle between a latent’s two decoders: 1 means the same direction in both "
    "models",
    "dead": "never on in the stated number of held-out tokens",
    "latent scaling, ν": "how strongly a latent’s own direction is present in the other model, as "
    "a share of its own model: ν of the error looks in what the crosscoder missed, ν of the "
    "reconstruction in what its other latents put there. Both small: truly exclusive",
    "Complete Shrinkage": "the norms call a latent exclusive, but the other model carries its "
    "direction too: the penalty shrank the weaker decoder to nothing",
    "Latent Decoupling": "the norms call a latent exclusive, but other latents write the same "
    "direction in the other model: one concept was split in two",
    "L0": "latents on per token, on average",
    "FVE": "fraction of variance explained: 1 − Σ‖x − x̂‖² / Σ‖x − mean‖², the mean taken over "
    "all held-out tokens",
    "per-token EV": "the reference’s form: the mean over tokens of 1 − ‖x − x̂‖² / ‖x − mean‖²",
    "spliced": "the model runs on with its activations replaced by the crosscoder’s "
    "reconstruction, the BOS position left as it is",
    "CE, ΔCE": "cross entropy of the next token, in nats; Δ is its rise over the clean model",
    "KL": "divergence of the patched model’s next-token distribution from the clean one’s, in nats",
    "recovered": "1 − (CE spliced − CE clean) / (CE ablated − CE clean): 1 when splicing costs "
    "nothing, 0 when it costs as much as the ablation",
    "template tokens": "the “User:” and “Assistant:” that the chat template puts around turns",
    "text, chat": "the two halves of the mix: plain documents, and conversations in the template",
}


def render(findings: Findings, config: ReportConfig) -> bytes:
    """The page as UTF-8 HTML."""
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= tables.FILTERS
    charts = page_charts(findings, config)
    scripts = {name: Markup(text) for name, text in page_scripts().items()}
    page = environment.get_template("page.html.j2").render(
        findings=findings,
        headline=overview.headline(findings),
        paragraphs=overview.paragraphs(findings),
        cautions=overview.cautions(findings),
        tables=tables,
        exclusive=exclusive_latents(findings, config.n_latents),
        charts={name: chart["caption"] for name, chart in charts.items()},
        chart_json=script_json({name: chart["spec"] for name, chart in charts.items()}),
        style=Markup((ASSETS / "page.css").read_text()),
        scripts=scripts,
        policy=security_policy(scripts.values()),
        glossary=GLOSSARY,
    )
    return page.lstrip().encode()


@cache
def page_scripts() -> dict[str, str]:
    """The scripts of the page: the bundled chart library, and the page's own."""
    bundle: str = vl_convert.javascript_bundle()  # pyright: ignore[reportCallIssue]
    return {
        "charts": script_text(bundle),
        "page": script_text((ASSETS / "page.js").read_text()),
    }


def script_text(source: str) -> str:
    """A script that cannot close its own tag."""
    return source.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def script_json(value: Any) -> Markup:
    """JSON for a `<script type="application/json">`: no character that could end the tag."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def security_policy(scripts: Iterable[str]) -> str:
    """Only these scripts run, nothing is fetched from anywhere."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def page_charts(findings: Findings, config: ReportConfig) -> dict[str, dict[str, Any]]:
    """Chart name -> its Vega-Lite spec and its caption."""
    norm = figures.relative_norm_figure(findings.relative_norm_bins, PALETTE)
    cosine = figures.decoder_cosine_figure(findings.decoder_cosine_bins, PALETTE)
    scatter = figures.latent_figure(shown_latents(findings.latents), PALETTE)
    scaling = figures.scaling_figure(scaling_points(findings.verdicts), PALETTE)
    charts = {
        "relative_norm": (norm, 280, "Live latents by relative norm; the scale is logarithmic"),
        "latents": (scatter, 300, "Each dot is a latent: whose it is, and where it fires"),
        "decoder_cosine": (cosine, 240, "Shared latents by the angle between their decoders"),
        "scaling": (scaling, 320, "Live latents by latent scaling; exclusive is bottom left"),
        "fve": (_fve_chart(findings), 220, "Variance explained, by group of tokens"),
        "recovered": (_recovered_chart(findings), 220, "Cross entropy recovered when spliced in"),
        **training_charts(thinned(findings.training, config.n_curve_points)),
    }
    return {
        name: {
            "spec": figures.spec(chart, PALETTE, width="container", height=height),
            "caption": caption,
        }
        for name, (chart, height, caption) in charts.items()
    }


def training_charts(table: Table) -> dict[str, tuple[Any, int, str]]:
    """Curves of the training run: loss, sparsity, explained variance, dead latents."""
    wanted = {
        "loss": ({"loss": "loss"}, "loss", True, "Training loss"),
        "l0": ({"l0": "L0"}, "latents on per token", False, "Sparsity (L0) of each logged batch"),
        "training_fve": (
            {"fve_it": "IT", "fve_base": "base"},
            "variance explained",
            False,
            "Variance explained in each logged batch",
        ),
        "dead": ({"n_dead": "dead"}, "dead latents", False, "Dead latents during training"),
        "gradient": ({"gradient_norm": "norm"}, "gradient norm", True, "Norm of the gradient"),
    }
    return {
        name: (figures.curve_figure(table, columns, PALETTE, title=title, log=log), 180, caption)
        for name, (columns, title, log, caption) in wanted.items()
        if table.get("n_rows") and all(column in table for column in columns)
    }


def shown_latents(latents: list[Row]) -> Table:
    """Columns of the scatter: the exclusive latents and an even sample of the other live ones."""
    live = [row for row in latents if row["bin"] != "dead"]
    exclusive = [row for row in live if row["bin"] in ("base_only", "it_only")]
    others = [row for row in live if row["bin"] not in ("base_only", "it_only")]
    step = max(1, -(-len(others) // N_SHOWN_LATENTS))
    rows = exclusive + others[::step]
    kept = ("latent", "relative_norm", "decoder_cosine", "rate_pile", "rate_chat")
    columns: Table = {name: [row[name] for row in rows] for name in kept}
    columns["chat_share"] = [round(overview.chat_share(row), 5) for row in rows]
    columns["cluster"] = [figures.cluster_of(row["relative_norm"]) for row in rows]
    return columns


def exclusive_latents(findings: Findings, n_each: int) -> dict[str, list[Row]]:
    """For IT-only and base-only: the latents that fire most, with what the page shows of each."""
    verdicts = findings.verdicts
    return {
        side: [
            {
                **row,
                "chat_share": overview.chat_share(row),
                "template_share": overview.template_share(findings, row),
                "verdict": verdicts["verdict"][row["latent"]],
                "artefact": verdicts["artefact"][row["latent"]],
                "nu": {name: verdicts[name][row["latent"]] for name in NU_COLUMNS},
                "contexts": findings.contexts.get(str(row["latent"]), []),
            }
            for row in sorted(findings.latents, key=lambda row: -row["rate_all"])
            if row["bin"] == side
        ][:n_each]
        for side in ("it_only", "base_only")
    }


def _fve_chart(findings: Findings) -> Any:
    table: Table = {"group": [], "series": [], "value": [], "low": [], "high": []}
    for group, group_name in tables.GROUP_NAMES.items():
        row = findings.evaluation["reconstruction"][group]
        for series, name in {"base": "base", "it": "IT", "difference": "IT − base"}.items():
            _add(table, group_name, name, row[f"fve_{series}"])
    roles = {"base": "base", "IT": "it", "IT − base": "shared"}
    return figures.interval_figure(
        table, PALETTE, title="fraction of variance explained", series=roles
    )


def _recovered_chart(findings: Findings) -> Any:
    table: Table = {"group": [], "series": [], "value": [], "low": [], "high": []}
    for model, name in {"base": "base", "it": "IT"}.items():
        for group, group_name in tables.GROUP_NAMES.items():
            row = findings.evaluation["splice"][model][group]
            _add(table, group_name, name, row["ce_recovered_zero"])
    return figures.interval_figure(
        table,
        PALETTE,
        title="recovered, against zero ablation",
        series={"base": "base", "IT": "it"},
    )


def _add(table: Table, group: str, series: str, estimate: dict[str, float | None]) -> None:
    if estimate["value"] is not None:
        table["group"].append(group)
        table["series"].append(series)
        for name in ("value", "low", "high"):
            table[name].append(estimate[name])
