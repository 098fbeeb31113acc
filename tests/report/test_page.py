import csv
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from markupsafe import escape

from benchmarks.page import measure
from pipeline.analysis.decoders.result import RELATIVE_NORM, RELATIVE_NORM_BINS
from pipeline.analysis.evaluation.result import LATENTS
from pipeline.analysis.verdicts.result import VERDICT_COUNTS, VERDICTS
from pipeline.artifacts import read_manifest, write_json
from pipeline.claims import ClaimsFile, read_claims
from pipeline.config.models import HubModel
from pipeline.errors import ArtifactError, MismatchError, MissingArtifactError
from pipeline.report.browser import Browser, browser_data
from pipeline.report.claims.changes import claim_of, outcome
from pipeline.report.claims.screen import EQUAL, claims_file, headline
from pipeline.report.claims.trust import cautions
from pipeline.report.findings import Findings
from pipeline.report.format import number, plain, share, tail, visible
from pipeline.report.grid import Grid
from pipeline.report.labels import KIND_NAMES
from pipeline.report.page import (
    page_charts,
    page_sections,
    render,
    script_json,
    script_text,
    sentences,
)
from pipeline.report.section import Shown
from pipeline.report.sections.changes import told as change_told
from pipeline.report.sections.configuration import lines
from pipeline.report.sections.training import thinned
from pipeline.report.sections.verdicts import reason
from pipeline.report.shares import source_shares, template_shares
from pipeline.run_records import RunRecord
from tests.report.change_lists import one_change, write_changes
from tests.report.results import PLAIN_TEXT, made_up_dashboards, made_up_findings

HOSTILE = (
    "<script>document.title='owned'</script></script><!-- \" onmouseover=document.title='owned' "
    "<img src=x onerror=\"document.title='owned'\"> {{7*7}} ]]> \u2028 javascript:alert(1)"
)
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SWITCHES = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


CONTRAST = (Path(__file__).parent / "contrast.js").read_text()


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return made_up_findings(tmp_path_factory.mktemp("results"))


def shown(findings: Findings) -> dict[str, Shown]:
    """What each section shows, without dashboards."""
    return {s.name: of for s, of in page_sections(findings, Browser({}, [], {}))}


def drawn(findings: Findings, text: str = PLAIN_TEXT) -> str:
    browser = browser_data(findings, made_up_dashboards(findings, text=text))
    return render(findings, page_sections(findings, browser), browser).decode()


@pytest.fixture(scope="module")
def page(findings: Findings) -> str:
    return drawn(findings)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page whose models, documents, tokens and promoted tokens are all hostile."""
    findings = made_up_findings(tmp_path_factory.mktemp("hostile"), proof=HOSTILE)
    model = HubModel.model_construct(kind="hub", repo=HOSTILE, revision=HOSTILE)
    models = findings.config.models.model_copy(update={"base": model, "it": model})
    config = findings.config.model_copy(update={"models": models})
    return drawn(replace(findings, config=config), text=HOSTILE)


def without_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_the_page_names_no_remote_address(page: str) -> None:
    assert page.startswith("<!doctype html>")
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", without_scripts(page))
    assert "@import" not in page.split("</style>")[0]
    assert "default-src &#39;none&#39;" in page


def test_the_page_is_the_same_bytes_every_time(findings: Findings, page: str) -> None:
    assert drawn(findings) == page


def test_the_page_shows_the_counts_under_every_criterion(findings: Findings, page: str) -> None:
    counts = findings.read(RELATIVE_NORM)
    for found in (counts["minder"], counts["anthropic"], counts["reference"]):
        assert f"<td>{found['it_only']:,}</td>" in page


def test_hostile_text_is_shown_as_text(hostile: str) -> None:
    body = without_scripts(hostile)
    assert "&lt;script&gt;" in body
    assert "<img" not in body
    assert "onerror=&#34;" in body
    assert "{{7*7}}" in body
    opened = hostile.count("<script")
    assert opened == hostile.count("</script>") == hostile.count('<script type="text/plain"') + 4


def test_a_run_without_models_leaves_out_what_needs_them(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path, spliced=False)
    browser = browser_data(findings, ())
    sections = page_sections(findings, browser)
    page = render(findings, sections, browser).decode()
    assert "recovered" not in page_charts(sections)
    assert "Spliced into" not in page
    assert "ΔCE base" not in page
    assert "FVE of the difference" in page


OPTIONAL = (
    "causal",
    "baselines",
    "recovery",
    "seeds",
    "organism",
    "steering",
    "explanations",
    "parting",
)


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_some_experiments_lack_is_shown_where_it_exists(
    hostile: str, page: str, name: str
) -> None:
    assert f'<section id="{name}">' in hostile
    assert f'href="#{name}"' in hostile
    assert f'<section id="{name}">' not in page
    assert f'href="#{name}"' not in page


def test_a_result_that_does_not_apply_is_left_out(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path, proof=PLAIN_TEXT)
    (tmp_path / "seeds.json").write_text('{"applicable": false, "reason": "one run"}')
    found = set(shown(findings))
    assert found & set(OPTIONAL) == set(OPTIONAL) - {"seeds"}


def texts(grid: Grid) -> list[list[str]]:
    """Every row as text, its name first."""
    return [[row.name, *(cell.text for cell in row.cells)] for row in grid.rows]


def test_the_rows_of_the_proof_are_those_of_the_results(tmp_path: Path) -> None:
    found = shown(made_up_findings(tmp_path, proof=PLAIN_TEXT))
    patches = found["causal"].tables["patches"]
    assert [row.name for row in patches.rows][:2] == [
        "base activation alone",
        "all latents",
    ]
    assert texts(patches)[1][2:4] == ["0.400", "0.60"]
    assert [row.kind for row in patches.rows if row.name.startswith("random")] == ["control"]
    assert [row[4] for row in texts(found["overview"].tables["rivals"])] == ["0.60"] * 4
    assert texts(found["recovery"].tables["criteria"])[0][0] == "latent scaling ν"
    assert texts(found["recovery"].tables["criteria"])[0][8] == "–"
    assert texts(found["recovery"].tables["kinds"])[0] == ["it only", "9", "8", "75%", "75%"]
    assert texts(found["seeds"].tables["pairs"])[0][6:] == ["0.61", "–"]
    (ablation,) = texts(found["organism"].tables["ablations"])
    assert ablation[2:9] == ["0.83", "0.83", "0.02", "0.17", "0.40", "0.40", "0.02"], "twin beside"
    assert texts(found["organism"].tables["twin"])[2][1:] == ["5.00", "0.01"]
    assert "#latent-41" in ablation[-1]
    assert texts(found["organism"].tables["steerings"])[0][1] == "IT"


def test_the_page_of_an_organism_without_a_twin_is_made(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path, proof=PLAIN_TEXT)
    document = json.loads((tmp_path / "organism.json").read_text())
    del document["twin"]
    (tmp_path / "organism.json").write_text(json.dumps(document))
    browser = Browser({}, [], {})
    page = render(findings, page_sections(findings, browser), browser).decode()
    assert "without the selective latents" in page


def test_every_chart_is_an_image_and_its_data(findings: Findings) -> None:
    chart = shown(findings)["decoders"].charts["relative_norm"]
    files = chart.files("relative_norm")
    assert files["relative_norm.png"].startswith(b"\x89PNG")
    (head, first, *_) = files["relative_norm.csv"].decode().splitlines()
    bins = findings.read(RELATIVE_NORM_BINS)
    assert head.split(",") == list(bins)
    assert float(first.split(",")[0]) == bins["relative_norm"][0]


def first_screen(page: str) -> str:
    """The page up to the bar of the verdicts."""
    return page[page.index("<h1>") : page.index('class="split"')]


def said(claims: ClaimsFile) -> list[str]:
    """Every sentence of the first screen besides the list."""
    screen = claims.get("first_screen")
    assert screen
    latents = [latent["why"] for latent in screen["exclusive"]["latents"]]
    assert len(latents) > 1
    assert len(screen["sentences"]) > 1
    told = [screen["lead"], screen["exclusive"]["says"], screen["base"], screen["it"]]
    return [*told, *latents, *screen["failings"], *screen["cautions"], *screen["sentences"]]


def test_the_first_screen_tells_the_largest_changes_in_words(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path)
    result = write_changes(tmp_path, 12, text=HOSTILE)
    browser = browser_data(findings, made_up_dashboards(findings))
    sections = page_sections(findings, browser)
    page = render(findings, sections, browser).decode()
    screen = first_screen(page)
    claims = claims_file(replace(findings, excerpts=browser.excerpts), sentences(sections))
    write_json(tmp_path / "findings.json", claims)
    assert read_claims(tmp_path / "findings.json") == claims
    assert not [claim for claim in claims["changes"][:10] if claim["says"] not in screen]
    assert not [sentence for sentence in said(claims) if str(escape(sentence)) not in page]
    assert f'<p class="lead">{outcome(result)}</p>' in screen
    assert screen.count("<li>") == findings.config.report.n_changes < 12
    for kind in ("new", "lost", "moved", "turned", "stronger", "weaker", "undecided"):
        assert f'<b class="kind {kind}">{KIND_NAMES[kind]}</b>' in screen
    assert "word2</mark>" in screen
    assert "<code>␣word2</code>&nbsp;60%" in screen.replace(" word2", "␣word2"), "what it acts on"
    assert "rare" not in screen, "a token with little of a change is not named"
    assert "90% of it lies in the source chat." in screen
    assert headline(findings) in screen, "what is exclusive comes after"
    assert HOSTILE not in without_scripts(page)
    assert set(re.findall(r'href="#(change-\d+)"', page)) == set(
        re.findall(r'id="(change-\d+)"', page)
    )


def test_a_latent_knows_its_change_and_a_change_both_decoders_of_its_latents(
    tmp_path: Path,
) -> None:
    findings = made_up_findings(tmp_path)
    write_changes(tmp_path, 3)
    browser = browser_data(findings, made_up_dashboards(findings))
    assert browser.index["columns"]["change"][3] == 1, "rank of the largest change it stands under"
    assert set(browser.index["columns"]["change"]) == {None, 1}
    assert browser.index["change_kinds"] == {1: "mean_shift", 2: "new", 3: "lost"}
    sections = {s.name: of for s, of in page_sections(findings, browser)}
    assert set(sections["latents"].facts["change_kinds"]) == {"mean_shift", "new", "lost"}
    entries = sections["changes"].facts["entries"]
    _, _, latents, _, examples, *_ = entries[1]
    row = latents.rows[0].cells
    assert len(row) == len(latents.columns) - 1
    assert all(cell.text.startswith("<code>") for cell in row[-2:]), "tokens of both decoders"
    assert [cell.text for cell in examples.rows[0].cells[:2]] == ["2", "2"]


def test_a_token_leads_to_its_changes_and_a_change_to_its_tokens(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path, proof=PLAIN_TEXT)
    write_changes(tmp_path, 3)
    page = drawn(findings)
    parting, changes = section_of(page, "parting"), section_of(page, "changes")
    places = set(re.findall(r'id="(token-\d+-\d+)"', parting))
    assert places == {"token-70-12", "token-70-40"}
    assert set(re.findall(r'href="#(token-\d+-\d+)"', changes)) == {"token-70-12"}
    assert changes.count("undoing this change in IT takes so many nats off") == 2
    for link in ("#change-1", "#change-2", "#latent-5", "#token-70-12"):
        assert f'href="{link}"' in parting
    assert "correlate at 0.98" in parting
    assert parting.count("correlate") == 1, "nothing is said of what cannot be told"
    assert "After no token the predictions differ" in parting
    assert "0.25 on chat, 0.25 on pile." in page, "on the first screen"


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"verdict": "turned", "in_both": True}, "different directions, cosine 0.30 (q = 0.01)"),
        ({"verdict": "stronger", "in_both": True}, "both models have it, IT 2.1 times as strongly"),
        ({"verdict": "shared", "in_both": True}, "alike: cosine 0.30, strength ratio 2.1"),
        ({"verdict": "moved", "in_both": True, "twin": 7}, "on other tokens, in latent 7"),
        ({"verdict": "it_only"}, "every test of its absence passes"),
        (
            {"verdict": "undecided", "in_both": True, "direction_cosine": 0.84},
            "cosine 0.84 ± 0.02 (limit 0.8) and strength ratio 2.1 (limit 1.5) do not say whether "
            "alike: about 3 times as much held-out text would decide",
        ),
        (
            {"verdict": "undecided", "in_both": True, "direction_cosine_error": None},
            "cannot be told from so few documents",
        ),
        ({"verdict": "undecided", "n_active": 3}, "it fires on 3 held-out rows of the 20"),
    ],
)
def test_a_verdict_has_a_reason_and_an_open_one_what_would_decide_it(
    findings: Findings, figures: dict[str, Any], said: str
) -> None:
    columns: Any = findings.read(VERDICTS)
    known = {name: list(values) for name, values in columns.items()}
    usual = {
        **dict.fromkeys(("q_exclusive", "q_turned", "q_stronger", "q_shared"), 0.01),
        **{"direction_cosine": 0.3, "strength_ratio": 2.1, "artefact": "", "in_both": False},
        **{"direction_cosine_error": 0.02, "log_strength_error": 0.05, "twin": -1},
    }
    for name, value in (usual | figures).items():
        known[name][0] = value
    files = {**findings._files, VERDICTS.name: known}
    assert said in reason(replace(findings, _files=files), 0)


def test_rivals_stand_at_the_top_with_their_figures_and_what_is_not_refuted_comes_first(
    tmp_path: Path,
) -> None:
    sections = shown(made_up_findings(tmp_path, proof="a text"))
    rivals = sections["overview"].tables["rivals"]
    assert [row.name for row in rivals.rows][-2:] == ["diff-SAE", "crosscoder"]
    assert "rivals" not in sections["baselines"].tables
    verdicts = [row.cells[0].text for row in sections["overview"].tables["first"].rows]
    assert verdicts == sorted(verdicts, key=lambda name: name not in ("IT-only", "base-only"))


def test_the_first_screen_says_that_nothing_changed_where_nothing_did(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path)
    write_changes(tmp_path, 0)
    screen = first_screen(drawn(findings))
    assert '<p class="lead">No change was found' in screen
    assert "<li>" not in screen


RUN = RunRecord(
    stage="train",
    command="python -m stages.train",
    began="2026-01-02T03:04:05+00:00",
    seconds=65.4,
    code="0.1.0, commit 1a2b3c",
    machine="a processor, 2 cores",
    device="the CPU",
    python="3.11.9",
)


def test_a_run_shows_in_the_date_and_in_the_provenance_alone(findings: Findings, page: str) -> None:
    dated = drawn(replace(findings, runs=[RUN]))
    for told in ("2026-01-02 03:04", "1 min 05 s", "commit 1a2b3c", "a processor", "3.11.9"):
        assert told in section_of(dated, "provenance")
    assert without_run(dated) == without_run(page)


def section_of(page: str, name: str) -> str:
    return page[page.index(f'<section id="{name}">') :].split("</section>")[0]


def without_run(page: str) -> str:
    page = page.replace(section_of(page, "provenance"), "")
    return re.sub(" · <time>2026-01-02</time>", "", page)


def test_results_of_other_settings_are_not_drawn(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path)
    path = tmp_path / "latent_scaling.manifest.json"
    rule = findings.config.latent_scaling.model_dump(mode="json") | {"min_active_rows": 7}
    lineage = {"latent_scaling": rule}
    path.write_bytes(replace(read_manifest(path), lineage=lineage).to_json())
    said = (
        r"latent_scaling\.manifest\.json was made with latent_scaling\.min_active_rows = 7, but .*"
    )
    with pytest.raises(MismatchError, match=said + "dvc repro latent_scaling"):
        shown(findings)


def test_results_whose_stage_did_not_finish_are_not_drawn(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path)
    (tmp_path / "evaluate.manifest.json").unlink()
    with pytest.raises(MissingArtifactError, match="unfinished: run `dvc repro evaluate`"):
        shown(findings)


def test_the_configuration_shows_no_path_of_its_authors_machine(findings: Findings) -> None:
    sources = {"pile": {"paths": ["/mnt/lab/users/me/texts/*.jsonl", "x"]}, "n": 3}
    assert lines(sources) == [(0, "pile", ""), (1, "paths", "…/texts/*.jsonl, x"), (0, "n", "3")]


def test_the_page_says_that_two_models_are_equal(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path, proof=PLAIN_TEXT)
    write_changes(tmp_path, 0)
    for name in ("evaluation.json", "causal.json"):
        document = json.loads((tmp_path / name).read_text())
        undefined = {"value": None, "low": None, "high": None}
        if name == "evaluation.json":
            for group in document["reconstruction"].values():
                group["fve_difference"] = undefined
        else:
            for patch in document["patches"].values():
                for figures in patch["tokens"].values():
                    figures["removed"] = undefined
        (tmp_path / name).write_text(json.dumps(document))
    found = shown(findings)
    assert found["overview"].facts["lead"] == EQUAL
    said = [
        *found["overview"].facts["cautions"],
        *(s for of in found.values() for s in of.sentences),
    ]
    assert not [sentence for sentence in said if "nan" in sentence or "–" in sentence]
    assert (
        found["causal"].charts["causal"].caption == "There is no KL between base and IT to remove"
    )


def test_a_change_of_one_token_is_shown_on_it_and_not_on_a_stronger_outlier() -> None:
    change = one_change(2, "turned", "a garden")
    (usual,) = change["examples"]
    change["examples"] = [{**usual, "token": " commits", "strength": 300.0}, usual]
    shown = change_told(2, claim_of(change, min_common=0.5))
    assert shown.where == "typical"
    assert shown.example
    assert " word2" in shown.example.text
    change["tokens"] = [(" word2", 0.4), ("a garden", 0.3)]
    shown = change_told(2, claim_of(change, min_common=0.5))
    assert shown.where == "strongest"
    assert shown.example
    assert " commits" in shown.example.text


def test_the_page_says_that_a_few_tokens_hold_most_of_the_difference(
    tmp_path: Path, findings: Findings
) -> None:
    assert not [one for one in cautions(findings) if "a few tokens hold" in one]
    loose = made_up_findings(tmp_path, proof=PLAIN_TEXT)
    document = json.loads((tmp_path / "evaluation.json").read_text())
    sizes = {"value": 0.173, "low": 0.057, "high": 0.32}
    document["reconstruction"]["all"]["difference_share"] |= sizes
    (tmp_path / "evaluation.json").write_text(json.dumps(document))
    (said,) = [one for one in cautions(loose) if "a few tokens hold" in one]
    assert "the difference has 6% to 32% of the variance" in said
    assert said.endswith("`dump.max_norm_ratio: 5` leaves outlier rows out.")


@pytest.mark.parametrize("n_changes", [0, 3])
def test_a_crosscoder_that_fails_takes_nothing_from_the_list_of_changes(
    tmp_path: Path, n_changes: int
) -> None:
    findings = made_up_findings(tmp_path, proof=PLAIN_TEXT)
    document = json.loads((tmp_path / "evaluation.json").read_text())
    everything = document["reconstruction"]["all"]
    everything["fve_difference"] = {"value": 0.01, "low": 0.0, "high": 0.02}
    (tmp_path / "evaluation.json").write_text(json.dumps(document))
    write_changes(tmp_path, n_changes)
    warning = first_screen(drawn(findings)).split('role="note"')[1].split("</div>")[0]
    assert "it explains 1% of the difference between the models" in warning
    assert ("the list of changes is made from the activations" in warning) == bool(n_changes)


def test_chats_without_a_reply_are_said_to_have_none(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path, proof=PLAIN_TEXT)
    document = json.loads((tmp_path / "causal.json").read_text())
    nothing = {"value": None, "low": None, "high": None}
    for patch in document["patches"].values():
        for group in ("first", "later"):
            patch["tokens"][group] |= {"n_predictions": 0, "kl": nothing, "removed": nothing}
            patch["tokens"][group].pop("over_random", None)
    (tmp_path / "causal.json").write_text(json.dumps(document))
    causal = shown(findings)["causal"]
    assert causal.charts["causal"].caption.startswith("No sequence of the test holds a reply")
    assert causal.sentences == [
        "No sequence of the test holds a reply of the assistant, so nothing was measured on one: "
        "raise causal.n_sequences, or name chats with replies."
    ]


def test_the_page_says_first_that_two_models_hardly_differ(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path, proof=PLAIN_TEXT)
    document = json.loads((tmp_path / "evaluation.json").read_text())
    everything = document["reconstruction"]["all"]
    everything["difference_share"] = {"value": 4e-7, "low": 3e-7, "high": 5e-7}
    everything["fve_difference"] = {"value": -536.8, "low": -800.0, "high": -300.0}
    (tmp_path / "evaluation.json").write_text(json.dumps(document))
    overview = shown(findings)["overview"].facts
    assert overview["lead"].startswith("The two models hardly differ at this hook point")
    assert "one part in 2,500,000 of the variance" in overview["lead"]
    assert "it explains less than 0% of the difference between the models" in overview["failings"]
    tiles = {name: found for name, found, _ in overview["tiles"]}
    assert tiles["FVE of the difference"] == "less than 0%"


def test_every_link_of_the_page_leads_into_it(page: str, findings: Findings) -> None:
    """So that the one file can be sent: the data of a chart are in its link."""
    links = re.findall(r'<a href="([^"]*)"', without_scripts(page))
    inside = [link for link in links if link.startswith("#")]
    data = [link for link in links if link.startswith("data:text/csv;base64,")]
    assert len(inside) + len(data) == len(links)
    assert len(data) == len(page_charts(page_sections(findings, Browser({}, [], {}))))
    for link in inside:
        assert link.startswith("#latent-") or f'id="{link[1:]}"' in page


def test_every_table_of_results_is_read_by_pandas(tmp_path: Path) -> None:
    import pandas as pd

    made_up_findings(tmp_path, proof='text, with "quotes",\nand lines')
    tables = sorted(tmp_path.glob("*.csv"))
    assert len(tables) == 7
    for path in tables:
        with path.open(newline="") as file:
            head, *rows = csv.reader(file)
        assert pd.read_csv(path).shape == (len(rows), len(head))


def test_the_measurement_of_the_page_gives_both_numbers() -> None:
    if BROWSER is None:
        pytest.skip("no chromium or google-chrome on the PATH: install one to test the page")
    found = measure(n_latents=300, n_dashboards=40, repeats=1)
    assert found["chromium"]
    (seen,) = found["visits"]
    assert found["open"] == seen["open"] > 0
    assert found["filter"] == max(seen["filters"].values()) > 0
    assert len(seen["filters"]) == 10
    assert found["latent"] > 0


def test_json_in_a_script_cannot_end_it() -> None:
    text = script_json({"a": HOSTILE})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"a": HOSTILE}


def test_a_script_cannot_end_its_own_tag() -> None:
    assert "</script" not in script_text("a = '</script>'")


def test_words_follow_the_numbers(findings: Findings) -> None:
    assert f"{findings.read(VERDICT_COUNTS)['it_only']:,} surely exist" in headline(findings)
    assert any("Complete Shrinkage" in caution for caution in cautions(findings))


def told(findings: Findings) -> str:
    return " ".join(sentence for of in shown(findings).values() for sentence in of.sentences)


def test_the_overview_tells_what_intervening_shows(tmp_path: Path, findings: Findings) -> None:
    text = told(made_up_findings(tmp_path, proof=PLAIN_TEXT))
    assert "all latents together cover 60%" in text
    assert "random latents that fire as often 60%" in text
    assert "So ν picks latents that matter more" in text  # 0.05 to 0.15 above random
    assert "(diff-SAE) 30%" in text
    assert "neither is ahead" in text
    assert "all latents together" not in told(findings)


def test_template_share_is_a_share_of_the_latents_own_firing(findings: Findings) -> None:
    shares = template_shares(findings)
    assert min(shares) >= 0
    assert max(shares) <= 1 + 1e-6


def test_ours_stands_first_beside_the_published_runs(findings: Findings) -> None:
    rows = texts(shown(findings)["evaluation"].tables["published"])
    assert rows[0][0] == "this run"
    assert (rows[1][2], *rows[1][5:]) == ("81", "225", "60")


@pytest.mark.parametrize(
    "name", ["evaluation.json", "latents.csv", "training.csv", "latents.parquet"]
)
def test_a_missing_result_names_the_stage_that_makes_it(tmp_path: Path, name: str) -> None:
    findings = made_up_findings(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(MissingArtifactError, match=rf"{name} not found: run `dvc repro \w+`"):
        shown(findings)


def test_a_damaged_result_names_its_file(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path)
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"evaluation\.json is no JSON"):
        shown(findings)


def test_a_result_of_another_version_names_the_place_that_differs(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path)
    path = tmp_path / "evaluation.json"
    document = json.loads(path.read_text())
    document["reconstruction"]["chat"]["fve"] = document["reconstruction"]["chat"].pop("fve_it")
    path.write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match=r"reconstruction\.chat\.fve_it.*dvc repro evaluate"):
        shown(findings)


def test_an_empty_training_curve_leaves_its_charts_out(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path)
    (tmp_path / "training.csv").write_text("step,n_rows,loss\n")
    page = drawn(findings)
    assert 'id="chart-relative_norm"' in page
    assert 'id="chart-loss"' not in page


def test_thinning_keeps_the_last_point() -> None:
    kept = thinned({"step": list(range(1001))}, 100)["step"]
    assert len(kept) <= 102
    assert (kept[0], kept[-1]) == (0, 1000)


@pytest.mark.parametrize("code", [0x061C, 0x200E, 0x200F, 0x202A, 0x202E, 0x2066, 0x2069])
def test_a_control_that_turns_the_direction_of_text_is_written_as_its_code(code: int) -> None:
    told = f"good{chr(code)}lave\n\t"
    assert plain(told) == f"good\\u{code:04x}lave\n\t"
    assert visible(told) == f"good\\u{code:04x}lave⏎⇥"


def test_numbers_are_written_for_reading() -> None:
    assert [number(v) for v in (None, 16384, 81.0, 0.12345, 123456.7)] == [
        "–",
        "16,384",
        "81",
        "0.123",
        "123,457",
    ]
    assert [share(v) for v in (None, 0.625, -0.001, -536.8)] == ["–", "62%", "0%", "less than 0%"]
    assert tail("abcdef", 3) == "…def"


class Visit:
    """A page open in a headless browser, with everything it logged and asked for."""

    def __init__(self, page: Any, file: Path, address: str) -> None:
        self.page, self.file = page, file
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(file.as_uri() + address)
        # Selectors, as the page's policy lets no polling script be evaluated.
        page.wait_for_selector("html[data-ready]", state="attached")

    def draw_charts(self) -> None:
        self.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        self.page.wait_for_selector(".plot:not(:has(svg))", state="detached")

    def opened(self, latent: int) -> None:
        self.page.wait_for_selector(f"#dashboard[data-latent='{latent}']")

    def matched(self) -> int:
        return int(self.page.inner_text("#found").split(" of ")[0].replace(",", ""))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if BROWSER is None:
        pytest.skip("no chromium or google-chrome on the PATH: install one to test the page")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=SWITCHES)
        yield browser
        browser.close()


Open = Callable[..., Visit]


@pytest.fixture
def visit(chromium: Any, tmp_path: Path) -> Iterator[Open]:
    contexts = []

    def visiting(page: str, width: int = 1280, scheme: str = "light", address: str = "") -> Visit:
        (tmp_path / "report.html").write_text(page)
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
        )
        contexts.append(context)
        return Visit(context.new_page(), tmp_path / "report.html", address)

    yield visiting
    for context in contexts:
        context.close()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_the_page_opens_clean_and_fits(visit: Open, page: str, width: int, scheme: str) -> None:
    seen = visit(page, width, scheme)
    seen.draw_charts()
    assert seen.said == []
    assert seen.asked == [seen.file.as_uri()]
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
    assert seen.page.locator(".plot svg").count() == 11


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with every section that there is, and a list of changes."""
    folder = tmp_path_factory.mktemp("full")
    findings = made_up_findings(folder, proof=PLAIN_TEXT)
    write_changes(folder, 12, text=PLAIN_TEXT)
    return drawn(replace(findings, runs=[RUN]))


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_everything_unfolded_fits_the_width(visit: Open, full: str, width: int) -> None:
    """Nothing makes the page scroll sideways, no word or legend of a chart leaves its picture, and
    the heads of the list stand over their columns."""
    seen = visit(full, width, address="#latent-5")
    seen.opened(5)
    seen.draw_charts()
    seen.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
    outside = """() => [...document.querySelectorAll('.plot svg')].flatMap((svg) => {
        const right = svg.getBoundingClientRect().right + 2;
        return [...svg.querySelectorAll('text')].filter((text) =>
            text.getBoundingClientRect().right > right).map((text) => text.textContent);
    })"""
    assert seen.page.evaluate(outside) == []
    ends = """(selector) => [...document.querySelector(selector).children]
        .filter((cell) => cell.offsetWidth).map((cell) => cell.getBoundingClientRect().right)"""
    heads = seen.page.evaluate(ends, ".columns")
    cells = seen.page.evaluate(ends, "#rows .line")
    assert len(heads) == len(cells) == (5 if width < 480 else 7)
    assert max(abs(a - b) for a, b in zip(heads, cells, strict=True)) < 4
    widest = """() => Math.max(...[...document.querySelectorAll('.scroll th:first-child')]
        .map((cell) => cell.getBoundingClientRect().width))"""
    assert width > 480 or seen.page.evaluate(widest) < width / 2


@pytest.mark.browser
def test_the_navigation_moves_along_with_the_page(visit: Open, page: str) -> None:
    seen = visit(page, 390)
    seen.page.evaluate("document.querySelector('#verdicts').scrollIntoView()")
    link = seen.page.locator("nav a[aria-current][href='#verdicts']")
    link.wait_for()
    strip, own = seen.page.locator("nav > div").bounding_box(), link.bounding_box()
    assert strip is not None
    assert own is not None
    assert strip["x"] <= own["x"]
    assert own["x"] + own["width"] <= strip["x"] + strip["width"]


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(visit: Open, page: str, scheme: str) -> None:
    """Contrast of at least 4.5 (WCAG AA) for every text that the page sets in a plain colour."""
    seen = visit(page, 1280, scheme, address="#latent-5")
    seen.opened(5)
    weak = seen.page.evaluate(CONTRAST)
    assert weak == []


@pytest.mark.browser
def test_every_control_has_a_name(visit: Open, page: str) -> None:
    nameless = visit(page).page.evaluate(
        """() => [...document.querySelectorAll('input, select, button, a, summary, [tabindex="0"]')]
        .filter((node) => !(node.labels?.length || node.textContent.trim()
            || node.getAttribute('aria-label') || node.getAttribute('aria-labelledby')
            || node.getAttribute('tabindex') === '0' && node.closest('[aria-label]')))
        .map((node) => node.outerHTML.slice(0, 120))"""
    )
    assert nameless == []


@pytest.mark.browser
def test_hostile_text_never_runs(visit: Open, hostile: str) -> None:
    seen = visit(hostile, address="#latent-5")
    seen.opened(5)
    seen.draw_charts()
    seen.page.locator(".reply summary").first.click()
    seen.page.locator("#dashboard .t.at").first.hover()
    seen.page.fill("#find", "<script>")
    assert seen.matched() > 0
    rows = seen.page.locator("#explanations tbody tr:visible")
    assert rows.count() == 3
    seen.page.fill("#find-words", "<SCRIPT>")
    assert rows.count() == 2
    assert HOSTILE[:20] in seen.page.inner_text("#dashboard .tokens")
    assert "<script>" in seen.page.inner_text(".readout")
    assert seen.page.title() == "Model diff: smoke"
    assert seen.said == []
    assert seen.asked == [seen.file.as_uri()]
    assert seen.page.locator("#browser script, #organism script, main img").count() == 0


@pytest.mark.browser
def test_no_script_but_the_pages_own_can_run(visit: Open, page: str) -> None:
    start, end = page.rsplit("</body>", 1)
    intruded = f"{start}<script>document.title = 'owned'</script></body>{end}"
    assert visit(intruded).page.title() == "Model diff: smoke"


@pytest.mark.browser
def test_a_latent_has_an_address_that_opens_it(visit: Open, page: str, findings: Findings) -> None:
    seen = visit(page, address="#latent-77")
    seen.opened(77)
    shown = seen.page.inner_text("#dashboard")
    assert "Latent 77" in shown
    assert "latent 77" in seen.page.inner_text(".examples")
    assert f"{findings.read(VERDICTS)['relative_norm'][77]:.3f}" in shown
    seen.page.evaluate("location.hash = '#latent-78'")
    seen.opened(78)
    seen.page.go_back()
    seen.opened(77)
    assert (
        seen.page.evaluate("document.querySelector('#dash-title').getBoundingClientRect().top") > 0
    )
    seen.page.evaluate("location.hash = '#latent-999999'")
    assert seen.page.get_attribute("#dashboard", "data-latent") == "77"
    assert seen.said == []


@pytest.mark.browser
def test_filters_and_sorting_do_what_pandas_would(
    visit: Open, page: str, findings: Findings
) -> None:
    seen = visit(page)
    tab, verdicts = seen.page, findings.read(VERDICTS)
    live = [v != "dead" for v in verdicts["verdict"]]
    assert seen.matched() == sum(live)
    tab.uncheck("[name=verdict-shared]")
    assert seen.matched() == sum(v not in ("shared", "dead") for v in verdicts["verdict"])
    for verdict in ("it_only", "base_only", "moved", "stronger", "weaker", "undecided"):
        tab.uncheck(f"[name=verdict-{verdict}]")
    assert seen.matched() == sum(v == "turned" for v in verdicts["verdict"]) > 0
    tab.click("#filter [type=reset]")
    tab.click("#more summary")
    low, high = tab.locator("[data-range=relative_norm] input").all()
    low.fill("0.4")
    high.fill("0.6")
    expected = [
        i for i, r in enumerate(verdicts["relative_norm"]) if live[i] and 0.4 <= round(r, 4) <= 0.6
    ]
    assert abs(seen.matched() - len(expected)) <= 1  # the index holds four digits
    tab.click("[data-sort=nu_eps]")
    top = int(tab.locator("#rows .id").first.inner_text())
    assert verdicts["nu_eps"][top] == max(verdicts["nu_eps"][i] or 0.0 for i in expected)
    with tab.expect_download() as saved:
        tab.click("#save-csv")
    rows = pd.read_csv(saved.value.path())
    assert saved.value.suggested_filename == "latents.csv"
    assert rows["latent"].iloc[0] == top, "in the order of the list"
    assert len(rows) == seen.matched()
    assert len({*rows["latent"]} ^ {*expected}) <= 1
    assert rows["verdict"].tolist() == [verdicts["verdict"][i] for i in rows["latent"]]
    assert rows["nu_eps"].is_monotonic_decreasing
    assert seen.said == []
    tab.click("#filter [type=reset]")
    tab.fill("#find", "latent 141")
    assert seen.matched() == 1
    tab.fill("#find", "nothing says this")
    assert tab.is_visible("#empty")
    tab.fill("#find", "")
    tab.select_option("[name=source]", "share_chat")
    chat = [
        share >= 0.5 for share in source_shares(findings.read(LATENTS), findings.sources)["chat"]
    ]
    assert seen.matched() == sum(a and b for a, b in zip(live, chat, strict=True))


@pytest.mark.browser
def test_a_bar_of_the_histogram_filters_the_list(
    visit: Open, page: str, findings: Findings
) -> None:
    seen = visit(page)
    seen.draw_charts()
    bars = findings.read(RELATIVE_NORM_BINS)
    tallest = max(range(len(bars["low"])), key=lambda i: bars["n_live"][i])
    selector = (
        f"#chart-relative_norm .mark-rect path[aria-label*='from: {bars['low'][tallest]:.3f}']"
    )
    seen.page.locator(selector).first.click()
    assert abs(seen.matched() - bars["n_live"][tallest]) <= 1
    assert float(seen.page.locator("[data-range=relative_norm] input").first.input_value()) == (
        pytest.approx(bars["low"][tallest], abs=1e-5)
    )


@pytest.mark.browser
def test_a_dot_of_the_scatter_opens_its_latent(visit: Open, page: str) -> None:
    seen = visit(page)
    seen.draw_charts()
    seen.page.locator("#chart-scaling .mark-symbol path").first.dispatch_event("click")
    seen.page.wait_for_url(re.compile("#latent-"))
    latent = int(seen.page.evaluate("location.hash.slice(8)"))
    seen.opened(latent)
    assert f"Latent {latent}" in seen.page.locator("#dashboard").inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_list_works_from_the_keyboard(visit: Open, page: str, width: int) -> None:
    seen = visit(page, width)
    tab = seen.page
    tab.locator("#rows a").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "PageDown", "End"):
        tab.keyboard.press(key)
    at = int(tab.evaluate("document.activeElement.dataset.at"))
    assert at == seen.matched() - 1
    latent = int(tab.evaluate("document.activeElement.hash.slice(8)"))
    tab.keyboard.press("Enter")
    seen.opened(latent)
    assert tab.locator("#dashboard .text").first.is_visible()
    assert tab.locator("#rows a").count() < 60, "only the rows in view are in the document"


@pytest.mark.browser
def test_the_shading_follows_the_side(visit: Open, page: str, findings: Findings) -> None:
    latent = findings.read(LATENTS)["bin"].index("it_only")  # its base side is faint
    seen = visit(page, address=f"#latent-{latent}")
    seen.opened(latent)
    ground = "getComputedStyle(document.querySelector('#dashboard .t.at')).backgroundColor"
    shades = []
    for side in ("f", "base", "it"):
        seen.page.check(f"[name=shade][value={side}]")
        shades.append(seen.page.evaluate(ground))
    assert len(set(shades)) == 3
    alpha = [float(re.split(r"[ /)]+", shade)[-2]) for shade in shades[1:]]
    assert alpha[0] < alpha[1]


@pytest.mark.browser
def test_the_theme_can_be_changed_and_text_selected(visit: Open, page: str) -> None:
    tab = visit(page, address="#latent-5").page
    paper = "getComputedStyle(document.body).backgroundColor"
    before = tab.evaluate(paper)
    tab.focus("#theme")
    tab.keyboard.press("Enter")
    assert tab.evaluate(paper) != before
    tab.wait_for_selector("#dashboard .text")
    tab.evaluate("getSelection().selectAllChildren(document.querySelector('#dashboard .text'))")
    assert "latent 5" in tab.evaluate("getSelection().toString()")


def test_a_page_without_losses_or_exclusive_latents_is_drawn(tmp_path: Path) -> None:
    findings = made_up_findings(tmp_path)
    pair = json.loads((tmp_path / "models.json").read_text())
    del pair["loss_change_nats"]
    (tmp_path / "models.json").write_text(json.dumps(pair))
    columns = findings.read(VERDICTS)
    columns["verdict"][:] = columns["norm_bin"][:] = ["shared"] * len(columns["latent"])
    page = drawn(findings)
    assert "Held-out loss of the two models" not in page
    assert "Latents that look exclusive" not in page
