"""docs/experiments.md, typed as it stands in a fresh clone whose stages are stubs.

The graph is a part of that of dvc.yaml, with other commands, so that a run takes seconds.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import GRAPH, ROOT, Checkout

DOC = ROOT / "docs/experiments.md"
PART = ("code", "compose", "local_files", "models", "train", "causal", "report")
"""Those that the document names, or that make what it compares."""
WIDTH = 120
# Writes every output of the stage that is named. `summary.json` holds figures that follow from the
# learning rate; the other files hold the sections on which their stage depends.
STUB = """
import json, sys, yaml
from pathlib import Path

name = sys.argv[1]
stages = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
stage = stages[name]
config = yaml.safe_load(Path("composed.yaml").read_text())
sections = [key for entry in stage.get("params", []) for key in entry["composed.yaml"]]
rate = config["train"]["learning_rate"]
for out in map(Path, [*stage["outs"], *stage.get("metrics", [])]):
    out.parent.mkdir(parents=True, exist_ok=True)
    if name in ("code", "local_files"):
        out.mkdir(exist_ok=True)
        for reader in ("sources", "crosscoder", *stages):
            (out / f"{reader}.json").write_text("{}")
    elif out.name == "summary.json":
        figures = dict.fromkeys(FIGURES, 0.1234)
        out.write_text(json.dumps(figures | {"l0": 100 * rate, "it_only": 16384}))
    else:
        made_of = {key: config[key] for key in sections}
        out.write_text(json.dumps({"out": str(out), "rate": rate, "made_of": made_of}))
"""


@pytest.fixture(scope="module")
def clone(module_path: Path, programs: str) -> Checkout:
    """Every stage has run, but none of what it made is committed."""
    from pipeline.report.summary import FIGURES

    copy = Checkout.fresh(module_path / "clone", programs)
    (copy.path / "stub.py").write_text(STUB.replace("FIGURES", repr(list(FIGURES))))
    (copy.path / "dvc.yaml").write_text(yaml.safe_dump({"stages": part()}, sort_keys=False))
    (copy.path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    copy.run("git", "commit", "-qam", "the committed experiment, with stubs")
    copy.run("git", "add", "stub.py")
    copy.run("dvc", "repro")
    return copy


def part() -> dict[str, Any]:
    """The stages of PART as stubs, without what the other stages give them."""
    missing = {
        out if isinstance(out, str) else next(iter(out))
        for name in GRAPH.keys() - set(PART)
        for out in GRAPH[name]["outs"]
    }
    stages = {name: dict(GRAPH[name]) for name in PART}
    for name, stage in stages.items():
        stage["deps"] = [dep for dep in stage["deps"] if dep not in missing]
        if name != "compose":
            stage["cmd"] = f"python stub.py {name}"
    return stages


def typed(heading: str) -> list[str]:
    """The commands below a heading of the document."""
    section = DOC.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    lines = "".join(blocks).splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip()]


def test_a_run_is_committed_compared_undone_restored_and_removed_as_documented(
    clone: Checkout,
) -> None:
    def shell(line: str) -> str:
        return clone.run("bash", "-c", f"export COLUMNS={WIDTH}; {line}").stdout

    def clean() -> bool:
        return shell("git status --short") == ""

    assert shell("git status --short") == "A  stub.py\n?? dvc.lock\n"
    for line in typed("Commit a run"):
        shell(line)
    assert clean()
    before = (clone.path / "results/summary.json").read_bytes()

    for line in typed("Run another one, under a name"):
        shell(line)
    shown = {line: shell(line) for line in typed("Compare")}
    for line, text in shown.items():
        assert max(map(len, text.splitlines()), default=0) <= WIDTH, line
        assert len(text.splitlines()) < 20, line
    metrics, params, named, table = list(shown.values())[:4]
    assert re.search(r"results/summary.json +l0 ", metrics)
    assert "train.learning_rate" in params
    assert named.split() == metrics.replace("workspace", "faster").split()
    assert {"faster", "train.learning_rate", "l0"} <= set(re.split(r"[^\w.]+", table))

    undo, restore = typed("Undo, and restore")[:4], typed("Undo, and restore")[4:]
    *_, repeated = (shell(line) for line in undo)
    assert clean()
    assert re.findall(r"Running stage '(.*?)'", repeated) == ["local_files"]
    assert (clone.path / "results/summary.json").read_bytes() == before
    shell(restore[0])
    assert (clone.path / "results/summary.json").read_bytes() != before
    shell(restore[1])
    assert clean()

    listed, *_ = (shell(line) for line in typed("Remove, and free disk"))
    assert "faster" in listed
    assert "faster" not in shell("dvc exp list --all-commits")
