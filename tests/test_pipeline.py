"""The whole graph from nothing at the `smoke` size, in a fresh copy of the repository."""

import ast
import csv
import gzip
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline.analysis.dashboards.file import DASHBOARDS as FILE
from pipeline.report.summary import FIGURES
from pipeline.stage import DASHBOARDS
from tests.checkout import ALWAYS_RUN, ROOT, STAGES, Checkout
from tests.forks import Forks, forks
from tests.store.numbered import bytes_below

# Python runs `sitecustomize` at its start. This one has processes tell what they loaded.
TELL_WHAT_WAS_LOADED = """
import atexit, os, pathlib, sys

def tell():
    name = getattr(sys.modules["__main__"].__spec__, "name", "")
    if name.startswith("stages."):
        files = {getattr(module, "__file__", None) or "" for module in sys.modules.values()}
        path = pathlib.Path(__file__).with_name(name.removeprefix("stages."))
        path.write_text("\\n".join(os.path.relpath(file) for file in files if file))

atexit.register(tell)
"""


@pytest.fixture(scope="module")
def loaded(module_path: Path) -> Path:
    """A folder in which every stage that ran lists the files of the modules it loaded."""
    folder = module_path / "loaded"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(TELL_WHAT_WAS_LOADED)
    return folder


@pytest.fixture(scope="module")
def checkout(module_path: Path, loaded: Path, programs: str) -> Checkout:
    copy = Checkout.fresh(module_path / "clone", programs)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(loaded))
        assert copy.repro() == [name for name in STAGES if name not in ALWAYS_RUN]
    return copy


def test_no_stage_loads_a_file_that_it_does_not_depend_on(checkout: Checkout, loaded: Path) -> None:
    for stage in STAGES:
        files = set((loaded / stage).read_text().splitlines())
        known = set(json.loads((checkout.path / f"data/code/{stage}.json").read_text()))
        assert f"stages/{stage}.py" in files
        assert {file for file in files if file.startswith(("pipeline/", "stages/"))} <= known


def test_the_artifacts_name_each_other(checkout: Checkout) -> None:
    from pipeline.artifacts import manifest_digest, read_manifest

    data = checkout.path / "data"
    chain = ["models", "tokens.zarr", "activations.zarr", "shuffled.zarr", "crosscoder"]
    for before, after in itertools.pairwise(chain):
        assert manifest_digest(data / before) in read_manifest(data / after).inputs.values()


def test_every_row_of_the_tokens_reaches_the_crosscoder(checkout: Checkout) -> None:
    from pipeline.artifacts import read_manifest

    data = checkout.path / "data"
    dumped = read_manifest(data / "activations.zarr").counts
    shuffled = read_manifest(data / "shuffled.zarr").counts
    assert dumped["n_rows"] == shuffled["n_rows"] > 0


def test_every_analysis_computes_where_its_tensors_lie(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device that stands in for a card, and refuses what a card refuses. It follows no
    gradient, which `parting` asks for."""
    from benchmarks.gpu_check import graph
    from tests.standin import card

    looked_at = tuple(stage for stage in graph.ANALYSES if stage != "parting")
    monkeypatch.setattr(graph, "ANALYSES", looked_at)
    fewer = (
        *("organism.n_prompts=4", "organism.example_tokens=1", "organism.n_greedy_tokens=1"),
        *("causal.n_sequences=2", "causal.n_draws=1", "evaluate.n_sequences=4"),
        *("baselines.n_train_rows=1024", "steering.n_tokens=1"),
    )
    with card() as device:
        overrides = ("+experiment=smoke", *fewer)
        found = list(graph.analyses_agree(device, tmp_path, checkout.path, overrides))
    assert len(found) == len(looked_at)
    assert [finding.line for finding in found if "raised" in finding.figures] == []


def test_every_csv_of_the_results_reads_back_with_its_header(checkout: Checkout) -> None:
    files = sorted((checkout.path / "results").rglob("*.csv"))
    assert len(files) > 5
    for file in files:
        with file.open(newline="") as text:
            header, *rows = csv.reader(text)
        assert len(header) > 1
        assert {len(row) for row in rows} <= {len(header)}, file


def test_the_report_is_one_offline_page(checkout: Checkout) -> None:
    page = (checkout.path / "results/report.html").read_text()
    assert "<html" in page
    assert 'src="http' not in page
    assert 'href="http' not in page.split("<body")[0]


def test_a_second_repro_runs_nothing_and_status_is_clean(checkout: Checkout) -> None:
    assert checkout.repro() == []
    assert checkout.status() == {}


def test_metrics_and_plots_are_shown(checkout: Checkout) -> None:
    header, figures = checkout.run("dvc", "metrics", "show").stdout.splitlines()
    assert header.split() == ["Path", *sorted(FIGURES)]
    assert figures.split()[0] == "results/summary.json"
    assert max(len(header), len(figures)) <= 120
    checkout.run("dvc", "plots", "show", "-o", "plots")
    page = (checkout.path / "plots/index.html").read_text()
    assert all(
        f'"title": "{axis}"' in page for axis in ("l0", "n_dead", "relative_norm", "decoder_cosine")
    )
    shutil.rmtree(checkout.path / "plots")


@pytest.fixture(scope="module")
def job_of_two(checkout: Checkout, module_path: Path) -> Iterator[tuple[Path, Forks]]:
    """A copy of what the graph made, and what runs stages in it."""
    copy = module_path / "two"
    for name in ("data", "results", "conf"):
        shutil.copytree(checkout.path / name, copy / name, symlinks=True)
    shutil.copy(checkout.path / "composed.yaml", copy)
    with forks("tests.stage_runs", module_path) as runs:
        yield copy, runs


@pytest.mark.parametrize("stage", ["evaluate", "latent_scaling", "changes", "causal", "dashboards"])
def test_two_processes_find_what_one_finds(
    checkout: Checkout, job_of_two: tuple[Path, Forks], stage: str
) -> None:
    """Latent scaling before what reads its table, so that differences would add up."""
    copy, runs = job_of_two
    for made in ("data/changes", "results/dashboards"):
        if Path(made).name == stage:
            shutil.rmtree(copy / made)
    runs.finish(str(copy), stage, n_processes=2)
    declared = import_module(f"stages.{stage}").STAGE
    dashboards = [str(DASHBOARDS / FILE)] if stage == "dashboards" else []
    for name in [*(f"results/{name}" for name in declared.results), *dashboards]:
        if name.endswith((".json", ".parquet", ".gz")):
            assert_alike(table_at(checkout.path / name), table_at(copy / name), name)


def table_at(path: Path) -> Any:
    """A file of results as plain data."""
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path)
        return {name: [np.asarray(v).tolist() for v in frame[name]] for name in frame}
    if path.suffix == ".gz":
        return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    return json.loads(path.read_text())


def assert_alike(one: Any, two: Any, where: str) -> None:
    """Counts and words are equal, figures within 1e-6."""
    if isinstance(one, float):
        assert two == pytest.approx(one, rel=1e-6, abs=1e-6, nan_ok=True), where
    elif isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            assert_alike(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(two), where
        for at, pair in enumerate(zip(one, two, strict=True)):
            assert_alike(*pair, f"{where}[{at}]")
    else:
        assert one == two, where


def test_the_graph_is_drawn(checkout: Checkout) -> None:
    drawn = checkout.run("dvc", "dag").stdout
    assert all(name in drawn for name in STAGES)


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("runtime.io_threads=1", []),
        ("report.n_curve_points=50", ["report"]),
        # What follows `train`: the crosscoder of the reference layout, below.
        ("train.learning_rate=2.0e-3", ["train"]),
    ],
)
def test_only_what_depends_on_a_changed_key_runs_again(
    checkout: Checkout, override: str, changed: list[str]
) -> None:
    checkout.override(override)
    targets = ["train"] if changed == ["train"] else []
    assert checkout.repro(*targets) == ["compose", *changed]
    checkout.override("")
    assert set(checkout.repro()) <= {"compose"}, "going back must come from the cache"


def test_an_edit_in_conf_is_never_ignored(checkout: Checkout) -> None:
    file = checkout.path / "conf/decoder_cosine/default.yaml"
    before = file.read_text()
    file.write_text(before.replace("n_bins: 100", "n_bins: 99"))
    assert file.read_text() != before
    assert checkout.repro("decoder_cosine") == ["compose", "decoder_cosine"]
    file.write_text(before)
    checkout.repro()


def test_an_edit_of_code_reruns_the_stages_that_load_it(checkout: Checkout) -> None:
    edited = [
        checkout.path / name for name in ("pipeline/artifacts.py", "stages/decoder_cosine.py")
    ]
    before = [file.read_text() for file in edited]
    new = checkout.path / "pipeline/new.py"
    edited[0].write_text(before[0].replace('"""', '"""Said better: ', 1) + "# A comment.\n")
    new.write_text("VALUE = 1\n")
    assert checkout.repro() == ["code"], "a better sentence, and a file that no stage loads"
    edited[1].write_text(before[1].replace("\ndef main", "\nimport pipeline.new\n\n\ndef main", 1))
    assert checkout.repro() == ["code", "decoder_cosine"]
    new.write_text("VALUE = 2\n")
    assert set(checkout.status()) == {"code"}, "the rest is known when `code` has run"
    assert checkout.repro() == ["code", "decoder_cosine"]
    for file, text in zip(edited, before, strict=True):
        file.write_text(text)
    new.unlink()
    assert set(checkout.repro()) <= {"code"}, "going back must come from the cache"


def test_the_notebook_example_of_the_readme_runs(checkout: Checkout) -> None:
    """The code block under "In a notebook", word for word."""
    section = (ROOT / "README.md").read_text().split("### In a notebook")[1]
    code = section.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) < 10
    check = "\nassert f.shape == (len(tokens), 64) and bool((f > 0).any())\n"
    example = checkout.path / "example.py"
    example.write_text(code + check)
    printed = checkout.run("python", "-m", "example").stdout.splitlines()
    example.unlink()
    tokens = "".join(ast.literal_eval(line.rsplit(" [", 1)[0]) for line in printed)
    assert tokens == "User: Where is the museum?\nAssistant: "


def test_a_crosscoder_of_the_reference_layout_goes_through_every_analysis(
    checkout: Checkout,
) -> None:
    """The trained one, written as the reference publishes its own (weights without factors), gives
    what the trained one gave."""
    from pipeline.crosscoder import Crosscoder

    files = ["latents.csv", "relative_norm.csv", "decoder_cosine.csv", "latents.parquet"]

    def results() -> dict[str, bytes]:
        return {name: (checkout.path / "results" / name).read_bytes() for name in files}

    before = results()
    folder = checkout.path / "external/blocks.1.hook_resid_pre"
    Crosscoder.load(checkout.path / "data/crosscoder").save(folder, layout="reference")
    config = json.loads((folder / "cfg.json").read_text())
    del config["activation_scale"]
    (folder / "cfg.json").write_text(json.dumps(config))
    checkout.override(f"crosscoder=pretrained crosscoder.path={folder.relative_to(checkout.path)}")
    assert checkout.repro("train") == ["compose", "train"]
    crosscoder_replaced_in_place(checkout, folder)
    checkout.run_stages(*STAGES[STAGES.index("train") :])
    assert results() == before
    checkout.override("")
    # `layers` goes on with the rows that it finds, so DVC has it run instead.
    ran = set(checkout.repro())
    assert ran <= {"compose", "layers"}, "what was written past DVC comes from its cache"


def crosscoder_replaced_in_place(checkout: Checkout, folder: Path) -> None:
    """DVC knows nothing of a folder that the configuration names; `local_files` looks at it."""
    weights = folder / "cc_weights.pt"
    whole = weights.read_bytes()
    weights.touch()
    assert checkout.repro("train") == [], "another time is no other file"
    weights.write_bytes(whole[::-1])
    done = checkout.run("dvc", "repro", "train", check=False)
    assert done.returncode != 0
    assert "Running stage 'local_files'" in done.stdout
    assert "Running stage 'train'" not in done.stdout
    assert "cc_weights.pt" in done.stderr
    weights.write_bytes(whole)
    checkout.repro("local_files")


def test_the_same_config_gives_the_same_bytes(checkout: Checkout) -> None:
    """Also where one process runs all stages. What the page tells of the first runs stays."""
    before = outputs(checkout)
    for path in checkout.path.glob("data/[!.]*"):
        shutil.rmtree(path)
    shutil.rmtree(checkout.path / "results")
    checkout.repro("compose", "local_files")
    checkout.run_stages(*STAGES[STAGES.index("models") :])
    after = outputs(checkout)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []
    assert checkout.repro() == [], "DVC finds what it knows"


def outputs(checkout: Checkout) -> dict[str, bytes]:
    """Every output of every stage but compose, as DVC lists them."""
    files: dict[str, bytes] = {}
    for entry in yaml.safe_load((checkout.path / "dvc.lock").read_text())["stages"].values():
        for out in (checkout.path / out["path"] for out in entry["outs"]):
            below = bytes_below(out) if out.is_dir() else {"": out.read_bytes()}
            files |= {f"{out}/{name}": data for name, data in below.items()}
    return files


def test_pushed_and_pulled_every_byte_comes_back_without_a_second_copy(
    checkout: Checkout, tmp_path: Path
) -> None:
    before = outputs(checkout)
    checkout.run("dvc", "remote", "add", "--default", "shelf", str(tmp_path / "shelf"))
    checkout.run("dvc", "push")
    for folder in ("data", "results", ".dvc/cache"):
        shutil.rmtree(checkout.path / folder)
    checkout.run("dvc", "pull")
    checkout.run("dvc", "remote", "remove", "shelf")
    assert outputs(checkout) == before
    assert checkout.repro() == []
    chunk = checkout.path / "data/shuffled.zarr/activations/c/0/0/0"
    clone = checkout.path / "data/clone"
    reflink = subprocess.run(["cp", "--reflink=always", chunk, clone], capture_output=True)
    clone.unlink(missing_ok=True)
    assert chunk.stat().st_nlink > 1 or reflink.returncode == 0, "a hard link or a reflink"


def test_a_stage_that_writes_anew_leaves_the_cache_as_it_was(checkout: Checkout) -> None:
    """Files in data/ may be links to DVC's; they are replaced, never written through."""
    again = ("-m", "stages.shuffle", "+experiment=smoke", "shuffle.seed=7")
    checkout.run("python", *again)
    assert "data/shuffled.zarr" in checkout.run("dvc", "status", "shuffle").stdout
    objects = [p for p in (checkout.path / ".dvc/cache/files/md5").glob("??/*") if p.is_file()]
    assert len(objects) > 50
    for path in objects:
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        assert digest == path.parent.name + path.name.removesuffix(".dir"), path


def test_dvc_brings_back_what_was_deleted(checkout: Checkout) -> None:
    before = (checkout.path / "results/report.html").read_bytes()
    shutil.rmtree(checkout.path / "data")
    shutil.rmtree(checkout.path / "results")
    checkout.run("dvc", "checkout")
    assert (checkout.path / "results/report.html").read_bytes() == before
    assert checkout.repro() == []


def test_gemma_without_a_store_says_what_is_missing(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "stages.train", "+experiment=gemma"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 2
    assert "data/shuffled.zarr is missing or unfinished: run `dvc repro shuffle`" in done.stderr
    assert "Traceback" not in done.stderr
