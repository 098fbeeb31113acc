import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.analysis import overview
from pipeline.analysis.findings import Findings, read_csv, read_findings, thinned
from pipeline.analysis.page import render, script_json, script_text
from pipeline.analysis.tables import number, published_rows, tail
from pipeline.config import compose
from pipeline.config.analysis import ReportConfig
from pipeline.errors import ArtifactError, MissingArtifactError
from tests.analysis.results import made_up_findings

HOSTILE = (
    "<script>document.title='owned'</script></script><!-- \" onmouseover=document.title='owned' "
    "<img src=x onerror=\"document.title='owned'\"> {{7*7}} ]]> \u2028 javascript:alert(1)"
)
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SWITCHES = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def config() -> ReportConfig:
    return compose(["+experiment=smoke"]).report


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return made_up_findings(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def page(findings: Findings, config: ReportConfig) -> str:
    return render(findings, config).decode()


def without_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_the_page_names_no_remote_address(page: str) -> None:
    assert page.startswith("<!doctype html>")
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", without_scripts(page))
    assert "@import" not in page.split("</style>")[0]
    assert "default-src &#39;none&#39;" in page


def test_the_page_is_the_same_bytes_every_time(findings: Findings, config: ReportConfig) -> None:
    assert render(findings, config) == render(findings, config)


def test_the_page_shows_the_counts_under_every_criterion(findings: Findings, page: str) -> None:
    for name in ("minder", "anthropic", "reference"):
        assert f"<td>{findings.relative_norm[name]['it_only']:,}</td>" in page


def test_hostile_text_is_shown_as_text(tmp_path: Path, config: ReportConfig) -> None:
    page = render(made_up_findings(tmp_path, text=HOSTILE), config).decode()
    body = without_scripts(page)
    assert "&lt;script&gt;" in body
    assert "<img" not in body
    assert "onerror=&#34;" in body
    assert "{{7*7}}" in body
    assert page.count("<script") == 3 + page.count("&lt;script") - body.count("&lt;script")


def test_json_in_a_script_cannot_end_it() -> None:
    text = script_json({"a": HOSTILE})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"a": HOSTILE}


def test_a_script_cannot_end_its_own_tag() -> None:
    assert "</script" not in script_text("a = '</script>'")


def test_words_follow_the_numbers(findings: Findings) -> None:
    minder = findings.relative_norm["minder"]
    assert f"{minder['it_only']:,} look added" in overview.headline(findings)
    assert any("Complete Shrinkage" in caution for caution in overview.cautions(findings))


def test_template_share_is_a_share_of_the_latents_own_firing(findings: Findings) -> None:
    shares = [overview.template_share(findings, row) for row in findings.latents]
    assert min(shares) >= 0
    assert max(shares) <= 1 + 1e-6


def test_ours_stands_first_beside_the_published_runs(findings: Findings) -> None:
    rows = published_rows(findings)
    assert rows[0]["name"] == "this run"
    assert (rows[1]["it_only"], rows[1]["base_only"], rows[1]["l0"]) == (225, 60, 81.0)


@pytest.mark.parametrize(
    "name", ["evaluation.json", "latents.csv", "training.csv", "latents.parquet"]
)
def test_a_missing_result_names_the_stage_that_makes_it(
    tmp_path: Path, findings: Findings, name: str
) -> None:
    made_up_findings(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(MissingArtifactError, match=rf"{name} not found: run `dvc repro \w+`"):
        read_findings(tmp_path, {}, findings.config)


def test_a_damaged_result_names_its_file(tmp_path: Path, findings: Findings) -> None:
    made_up_findings(tmp_path)
    (tmp_path / "contexts.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"contexts\.json is no JSON"):
        read_findings(tmp_path, {}, findings.config)


def test_an_empty_training_curve_leaves_its_charts_out(
    tmp_path: Path, config: ReportConfig
) -> None:
    made_up_findings(tmp_path)
    (tmp_path / "training.csv").write_text("step,n_rows,loss\n")
    manifests, plain = {}, compose(["+experiment=smoke"]).model_dump(mode="json")
    page = render(read_findings(tmp_path, manifests, plain), config).decode()
    assert 'id="chart-relative_norm"' in page
    assert 'id="chart-loss"' not in page


def test_csv_cells_become_numbers_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,c\n1,2.5,dead\n-3,,x\n")
    assert read_csv(tmp_path / "t.csv", "train") == {
        "a": [1, -3],
        "b": [2.5, None],
        "c": ["dead", "x"],
    }


def test_thinning_keeps_the_last_point() -> None:
    kept = thinned({"step": list(range(1001))}, 100)["step"]
    assert len(kept) <= 102
    assert (kept[0], kept[-1]) == (0, 1000)


def test_numbers_are_written_for_reading() -> None:
    assert [number(v) for v in (None, 16384, 81.0, 0.12345, 123456.7)] == [
        "–",
        "16,384",
        "81",
        "0.123",
        "123,457",
    ]
    assert tail("abcdef", 3) == "…def"


class Visit:
    """A page open in a headless browser, with everything it logged and asked for."""

    def __init__(self, page: Any, file: Path) -> None:
        self.page, self.file = page, file
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(file.as_uri())
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        page.wait_for_function(
            "[...document.querySelectorAll('.plot')].every((p) => p.querySelector('svg'))"
        )


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if BROWSER is None:
        pytest.skip("no chromium or google-chrome on the PATH: install one to test the page")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=SWITCHES)
        yield browser
        browser.close()


def visit(chromium: Any, file: Path, page: str, width: int, scheme: str = "light") -> Visit:
    file.write_text(page)
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    return Visit(context.new_page(), file)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_the_page_opens_clean_and_fits(
    chromium: Any, tmp_path: Path, page: str, width: int, scheme: str
) -> None:
    seen = visit(chromium, tmp_path / "report.html", page, width, scheme)
    assert seen.said == []
    assert seen.asked == [seen.file.as_uri()]
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
    assert seen.page.locator(".plot svg").count() == 11


@pytest.mark.browser
def test_hostile_text_never_runs(chromium: Any, tmp_path: Path, config: ReportConfig) -> None:
    page = render(made_up_findings(tmp_path, text=HOSTILE), config).decode()
    seen = visit(chromium, tmp_path / "report.html", page, 1280)
    seen.page.locator(".latent summary").first.click()
    seen.page.locator(".latent mark").nth(1).hover()
    assert seen.page.title() == "Model diff: smoke"
    assert seen.said == []
    assert seen.page.locator(".examples script, .examples img").count() == 0


@pytest.mark.browser
def test_no_script_but_the_pages_own_can_run(chromium: Any, tmp_path: Path, page: str) -> None:
    start, end = page.rsplit("</body>", 1)
    intruded = f"{start}<script>document.title = 'owned'</script></body>{end}"
    tab = visit(chromium, tmp_path / "report.html", intruded, 1280).page
    assert tab.title() == "Model diff: smoke"


@pytest.mark.browser
def test_find_sort_and_theme_work(chromium: Any, tmp_path: Path, page: str) -> None:
    tab = visit(chromium, tmp_path / "report.html", page, 1280).page
    tab.fill("#find", "in order of cost. 41")
    assert tab.locator(".latent:visible").count() == 1
    tab.fill("#find", "")
    tab.select_option("#sort", "r")
    first = tab.locator(".latents").first.locator(".latent").first
    largest = tab.evaluate(
        "Math.max(...[...document.querySelectorAll('.latent')].map((l) => +l.dataset.r))"
    )
    assert float(first.get_attribute("data-r")) == largest
    paper = "getComputedStyle(document.body).backgroundColor"
    before = tab.evaluate(paper)
    tab.focus("#theme")
    tab.keyboard.press("Enter")
    assert tab.evaluate(paper) != before


@pytest.mark.browser
def test_a_latent_opens_from_the_keyboard(chromium: Any, tmp_path: Path, page: str) -> None:
    tab = visit(chromium, tmp_path / "report.html", page, 390).page
    summary = tab.locator(".latent summary").first
    summary.focus()
    tab.keyboard.press("Enter")
    assert tab.locator(".latent[open] .examples li").first.is_visible()
