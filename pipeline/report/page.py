"""The offline page: one HTML file with everything in it.

Text from models and data sets is hostile until proven otherwise: the template escapes every value,
data reach the page's script as JSON that cannot close its tag, and a content security policy lets
only the scripts written here run, by their hash, and lets nothing be fetched.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.report import rows
from pipeline.report.browser import Browser
from pipeline.report.chart import Chart
from pipeline.report.format import FILTERS
from pipeline.report.prose import cautions, headline, paragraphs
from pipeline.report.results import Findings
from pipeline.report.rows import first_rows, nu_limits
from pipeline.report.sections import baselines, causal, organism, recovery, seeds

ASSETS = Path(__file__).parent / "assets"
SECTIONS = {
    "causal": causal,
    "baselines": baselines,
    "recovery": recovery,
    "seeds": seeds,
    "organism": organism,
}
"""Name of an optional result -> the module of its section."""
SCRIPTS = ("page.js", "dashboard.js", "browser.js")

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
    "share elsewhere": "on how many of its rows, whether or not the latent fires there, the other "
    "model has the direction of a latent that looks exclusive, over those of its own model, as a "
    "linear readout tells: one concept on other rows",
    "twin": "another latent that writes, in the other model, the direction of this one and fires "
    "about as often",
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


def render(findings: Findings, charts: Mapping[str, Chart], browser: Browser) -> bytes:
    """The page as UTF-8 HTML."""
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    scripts = {name: Markup(text) for name, text in page_scripts().items()}
    page = environment.get_template("page.html.j2").render(
        findings=findings,
        headline=headline(findings),
        paragraphs=paragraphs(findings),
        cautions=cautions(findings),
        rows=rows,
        sections=SECTIONS,
        charts={name: chart.caption for name, chart in charts.items()},
        chart_json=script_json(
            {name: {"spec": chart.spec(), "opens": chart.opens} for name, chart in charts.items()}
        ),
        first=first_rows(findings, browser),
        limits=nu_limits(findings),
        browser_json=script_json(browser.index),
        packs=[Markup(pack) for pack in browser.packs],
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
    own = "\n".join((ASSETS / name).read_text() for name in SCRIPTS)
    # A scope of its own: the bundle has globals with short names.
    page = f'"use strict";\n(() => {{\n{own}}})();\n'
    return {"charts": script_text(bundle), "page": script_text(page)}


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
