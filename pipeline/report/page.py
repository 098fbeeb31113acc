"""The offline page: one HTML file with everything in it.

Text from models and data sets is hostile until proven otherwise: the template escapes every value,
data reach the page's script as JSON that cannot close its tag, and a content security policy lets
only the scripts written here run, by their hash, and lets nothing be fetched.
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.report.browser import Browser
from pipeline.report.findings import Findings
from pipeline.report.format import FILTERS
from pipeline.report.section import Chart, Section, Shown
from pipeline.report.sections.order import SECTIONS

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("page.js", "dashboard.js", "browser.js")


def page_sections(findings: Findings, browser: Browser) -> list[tuple[Section, Shown]]:
    """The sections that this run has something for, in the page's order."""
    known = replace(findings, excerpts=browser.excerpts)
    found = [(section, section.show(known)) for section in SECTIONS]
    return [(section, shown) for section, shown in found if shown is not None]


def sentences(sections: Iterable[tuple[Section, Shown]]) -> list[str]:
    """What the sections say on the first screen, one sentence after another."""
    return [sentence for _, shown in sections for sentence in shown.sentences]


def page_charts(sections: Iterable[tuple[Section, Shown]]) -> dict[str, Chart]:
    """Every chart of the page by its name."""
    return {name: chart for _, shown in sections for name, chart in shown.charts.items()}


def render(findings: Findings, sections: list[tuple[Section, Shown]], browser: Browser) -> bytes:
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
    charts = page_charts(sections)
    page = environment.get_template("page.html.j2").render(
        experiment=findings.config.experiment,
        sections=sections,
        sentences=sentences(sections),
        charts=charts,
        chart_json=script_json(
            {name: {"spec": chart.spec(), "opens": chart.opens} for name, chart in charts.items()}
        ),
        browser_json=script_json(browser.index),
        packs=[Markup(pack) for pack in browser.packs],
        style=Markup((ASSETS / "page.css").read_text()),
        scripts=scripts,
        policy=security_policy(scripts.values()),
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
