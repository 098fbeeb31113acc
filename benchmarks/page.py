"""How fast the page opens and how fast its list follows a filter, in headless Chromium.

    python -m benchmarks.page --json OUT [--latents 16384] [--dashboards 500] [--repeats 5]

Draws the page of a made-up run of that size and opens it from disk, nothing cached. Milliseconds:

open      from the start of the navigation until the list is filtered and drawn and the first
          dashboard can be opened
filter    from a change of a filter until the list is painted, the slowest of all controls
latent    from following a latent's address until its dashboard is painted, median of 20
bytes     of the page
"""

import argparse
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.report.browser import browser_data
from pipeline.report.page import page_sections, render
from tests.report.results import made_up_dashboards, made_up_findings

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PAINTED = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
FILTER = f"""async () => {{
  const form = document.getElementById('filter'), took = {{}};
  const time = async (name, change, event) => {{
    const began = performance.now();
    change();
    form.dispatchEvent(new Event(event, {{ bubbles: true }}));
    await {PAINTED};
    took[name] = performance.now() - began;
  }};
  const field = (name) => form.elements[name];
  const [low, high] = form.querySelectorAll('[data-range=relative_norm] input');
  for (const [name, change] of [
    ['text', () => {{ field('find').value = 'latent 1'; }}],
    ['no text', () => {{ field('find').value = ''; }}],
    ['verdict', () => {{ field('verdict-shared').checked = false; }}],
    ['all verdicts', () => {{ field('verdict-shared').checked = true; }}],
    ['source', () => {{ field('source').value = 'chat'; }}],
    ['any source', () => {{ field('source').value = 'any'; }}],
    ['sort', () => {{ field('sort').value = 'nu_eps'; }}],
    ['sort by number', () => {{ field('sort').value = 'latent'; }}],
    ['range', () => {{ low.value = 0.3; high.value = 0.7; }}],
    ['no range', () => {{ low.value = high.value = ''; }}],
  ]) await time(name, change, 'input');
  return took;
}}"""
OPEN = f"""async (latents) => {{
  const took = [], panel = document.getElementById('dashboard');
  for (const latent of latents) {{
    const began = performance.now();
    const shown = new Promise((done) => {{
      const watch = new MutationObserver(() => {{
        if (+panel.dataset.latent === latent) {{ watch.disconnect(); done(); }}
      }});
      watch.observe(panel, {{ attributes: true }});
    }});
    location.hash = 'latent-' + latent;
    await shown;
    await {PAINTED};
    took.push(performance.now() - began);
  }}
  return took;
}}"""


@dataclass(frozen=True)
class Visit:
    """One opening of the page, in milliseconds."""

    open: float
    filters: dict[str, float]
    latent: float


def made_up_page(folder: Path, n_latents: int, n_dashboards: int) -> Path:
    """The page of a made-up run, written as `report.html`."""
    findings = made_up_findings(folder / "results", n_latents=n_latents)
    browser = browser_data(findings, made_up_dashboards(findings, n_latents=n_dashboards))
    file = folder / "report.html"
    file.write_bytes(render(findings, page_sections(findings, browser), browser))
    return file


def visit(browser: Any, file: Path, latents: list[int]) -> Visit:
    """Open the page in a fresh context, use every filter, open latents that are packed apart."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, offline=True)
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    opened = float(page.get_attribute("html", "data-ready"))
    filters = page.evaluate(FILTER)
    shown = page.evaluate(OPEN, latents)
    context.close()
    return Visit(opened, filters, median(shown))


def measure(n_latents: int, n_dashboards: int, repeats: int) -> dict[str, Any]:
    """Medians over the visits, and each visit."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = made_up_page(Path(folder), n_latents, n_dashboards)
        browser = playwright.chromium.launch(executable_path=program, args=SWITCHES)
        step = max(1, n_dashboards // 20)
        # Every ninth made-up latent is dead and without a dashboard.
        latents = [at for at in range(1, n_dashboards, step) if at % 9][:20]
        visits = [visit(browser, file, latents) for _ in range(repeats)]
        version, n_bytes = browser.version, file.stat().st_size
        browser.close()
    return {
        "chromium": version,
        "latents": n_latents,
        "dashboards": n_dashboards,
        "bytes": n_bytes,
        "open": median(v.open for v in visits),
        "filter": median(max(v.filters.values()) for v in visits),
        "latent": median(v.latent for v in visits),
        "visits": [asdict(v) for v in visits],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--latents", type=int, default=16_384)
    parser.add_argument("--dashboards", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    found = measure(options.latents, options.dashboards, options.repeats)
    print(
        f"{found['latents']:,} latents, {found['dashboards']:,} dashboards, "
        f"{found['bytes'] / 1e6:.1f} MB: opens in {found['open']:.0f} ms (wanted 3,000), "
        f"filters in {found['filter']:.0f} ms (wanted 100), "
        f"shows a latent in {found['latent']:.0f} ms"
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
