"""The experiment `smoke` on a device and on the CPU: rows, crosscoder, what each analysis found.

The CPU makes models and tokens for both. The device dumps and trains by itself, and analyses the
rows and the crosscoder of the CPU, so that a difference is the analysis's own.
"""

import csv
import gzip
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from pyarrow import parquet

from benchmarks.gpu_check.checks import ERRORS, Finding, raised, within
from benchmarks.gpu_check.steps import difference
from pipeline.artifacts import MANIFEST
from pipeline.config import compose
from pipeline.config.compose import CONF
from pipeline.crosscoder import Crosscoder
from pipeline.stage import (
    ACTIVATIONS,
    CROSSCODER,
    HELDOUT_ACTIVATIONS,
    MODELS,
    PLANT,
    RESULTS,
    SEEDS,
    SHUFFLED,
    TOKENS,
    seed_folder,
    use_runtime,
)
from pipeline.store import StoreReader
from pipeline.workspace import Workspace

SMOKE = (
    "+experiment=smoke",
    "crosscoder=batch_topk_k12",
    "crosscoder.n_latents=64",
    # In longer trainings rounding grows until a latent is kept on one device and not on the other.
    "train.n_rows=8000",
    "baselines.n_train_rows=4000",
    # Planted, so that verdicts can be scored and some latents look exclusive.
    "plant=on_activations",
    "plant.feature={rate_low: 0.01, rate_high: 0.1, strength: 6.0}",
    "plant.groups.moved.it_contexts=triggered",
    "plant.groups.moved_06.it_contexts=triggered",
    "changes.n_causal=2",
    "explain/writer=local",
    "explain.n_changes=3",
    "explain.n_latents=2",
    # One request, of whose answer the first token is taken: the words need not agree.
    "explain.max_requests=1",
    "explain.max_answer_tokens=1",
)
MADE_ONCE = ("models", "mix")
MADE_BY_BOTH = ("dump", "shuffle", "train", "seed_runs")
GIVEN = (
    MODELS,
    TOKENS,
    ACTIVATIONS,
    HELDOUT_ACTIVATIONS,
    PLANT,
    SHUFFLED,
    CROSSCODER,
    SEEDS,
)
ANALYSES = (
    "evaluate",
    "latent_scaling",
    "relative_norm",
    "decoder_cosine",
    "causal",
    "changes",
    "parting",
    "baselines",
    "organism",
    "steering",
    "explain",
    "dashboards",
    "seeds",
    "recovery",
)
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
ROWS_LIMIT, WEIGHTS_LIMIT = 1e-3, 2e-2
"""Largest norm of rows and of decoders minus the CPU's, over the norm of these."""
RELATIVE, ABSOLUTE, AGREEING_SHARE = 1e-2, 1e-5, 0.9
"""A number agrees within 1 % or 1e-5. Of the numbers of one name in a file, nine in ten must: a
latent whose preactivation is nearly 0 fires on one device and not on the other."""


def agree(device: torch.device, folder: Path) -> Iterator[Finding]:
    """Rows, weights, and the files of every analysis; `folder` is filled with both runs."""
    on_cpu, writer = folder / "cpu", (folder / "writer").absolute()
    overrides = (*SMOKE, f"explain.writer.path={writer}")
    Workspace(on_cpu, {}).run(MADE_ONCE, (*overrides, "runtime.device=cpu"))
    shutil.copytree(on_cpu / MODELS / "it", writer, dirs_exist_ok=True)
    (writer / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    Workspace(on_cpu, {}).run((*MADE_BY_BOTH, *ANALYSES), (*overrides, "runtime.device=cpu"))
    run_here(folder / "made", on_cpu, (MODELS, TOKENS), MADE_BY_BOTH, overrides, device)
    yield rows_agree(folder / "made", on_cpu)
    yield weights_agree(folder / "made", on_cpu)
    yield from analyses_agree(device, folder / "analysed", on_cpu, overrides)


def analyses_agree(
    device: torch.device, folder: Path, on_cpu: Path, overrides: Sequence[str]
) -> Iterator[Finding]:
    """Every analysis run in `folder` on what the folder `on_cpu` holds, against the results there.
    One that fails keeps none of the others from being looked at."""
    for stage in ANALYSES:
        try:
            run_here(folder, on_cpu, GIVEN, (stage,), overrides, device)
            yield results_agree(stage, folder, on_cpu)
        except ERRORS as error:
            yield raised(f"analysis {stage}", error)


def run_here(
    folder: Path,
    origin: Path,
    given: Sequence[Path],
    stages: Sequence[str],
    overrides: Sequence[str],
    device: torch.device,
) -> None:
    """Run stages in `folder`, on artifacts of the folder `origin`: in this process, but for one
    that limits the memory of its process, which computes on no device."""
    for path, target in [(CONF, CONF), *((path, origin / path) for path in given)]:
        link = folder / path
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(target.absolute())
    for stage in stages:
        module = import_module(f"stages.{stage}")
        if module.STAGE.limits_memory:
            Workspace(folder, {}).run([stage], overrides)
            continue
        with chdir(folder):
            config = compose([*overrides, f"runtime.device={device.type}"])
            use_runtime(config)
            module.main(config)


def rows_agree(found: Path, expected: Path) -> Finding:
    apart = {}
    for store in (ACTIVATIONS, HELDOUT_ACTIVATIONS):
        rows = []
        for folder in (found, expected):
            with StoreReader.open(folder / store) as reader:
                activations = torch.from_numpy(reader.read("activations"))
                rows.append(activations.view(torch.bfloat16))
        apart[store.name] = difference(*rows)
    return within("rows of smoke", apart, dict.fromkeys(apart, ROWS_LIMIT))


def weights_agree(found: Path, expected: Path) -> Finding:
    apart = {}
    for trained in (CROSSCODER, seed_folder(SEEDS, 1)):
        ours, theirs = (Crosscoder.load(folder / trained) for folder in (found, expected))
        apart[trained.name] = difference(ours.W_dec, theirs.W_dec)
    return within("crosscoders of smoke", apart, dict.fromkeys(apart, WEIGHTS_LIMIT))


def results_agree(stage: str, found: Path, expected: Path) -> Finding:
    """Compare the files with values that a stage has written in both folders."""
    names = written(stage, expected)
    apart: dict[str, float] = {}
    for name in names:
        ours, theirs = (numbers(folder / name) for folder in (found, expected))
        shares = disagreeing(ours, theirs)
        apart |= {f"{name} {field}": share for field, share in shares.items()}
    beyond = {name: share for name, share in apart.items() if share > 1 - AGREEING_SHARE}
    worst = max(apart, key=lambda name: apart[name], default="nothing")
    return Finding(
        f"analysis {stage}",
        not beyond,
        {
            "files": len(names),
            "fields": len(apart),
            "beyond": sorted(beyond)[:5],
            "worst": worst,
            "share_apart": apart.get(worst, 0.0),
        },
    )


def written(stage: str, folder: Path) -> list[Path]:
    """Paths from `folder` of the files with values among a stage's results and in its outputs."""
    declared = import_module(f"stages.{stage}").STAGE
    paths = [RESULTS / name for name in declared.results]
    for output in declared.outputs.values():
        paths += [path.relative_to(folder) for path in (folder / output).rglob("*.*")]
    return [path for path in paths if path.suffix in READERS and path.name != MANIFEST]


Fields = Mapping[str, list[Any]]


def numbers(file: Path) -> Fields:
    """Every value in a file, by its name; what stands in one list has one name."""
    fields: dict[str, list[Any]] = defaultdict(list)

    def walk(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{name}.{key}" if name else key, inner)
        elif isinstance(value, list):
            for inner in value:
                walk(name, inner)
        else:
            fields[name].append(value)

    walk("", READERS[file.suffix](file))
    return fields


def read_csv(file: Path) -> list[dict[str, float | str]]:
    rows = csv.DictReader(file.read_text().splitlines())
    return [{name: as_number(value) for name, value in row.items()} for row in rows]


def read_lines(file: Path) -> list[Any]:
    with gzip.open(file, "rt") as lines:
        return [json.loads(line) for line in lines]


READERS: Mapping[str, Callable[[Path], Any]] = {
    ".json": lambda file: json.loads(file.read_text()),
    ".csv": read_csv,
    ".parquet": lambda file: parquet.read_table(file).to_pylist(),
    ".gz": read_lines,
}


def as_number(text: str) -> float | str:
    return float(text) if re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", text) else text


def disagreeing(found: Fields, expected: Fields) -> dict[str, float]:
    """Of each name, the share of values that do not agree; 1 where their number differs."""
    shares = {}
    for name in found.keys() | expected.keys():
        ours, theirs = found.get(name, []), expected.get(name, [])
        if len(ours) != len(theirs):
            shares[name] = 1.0
        else:
            apart = [not same(a, b) for a, b in zip(ours, theirs, strict=True)]
            shares[name] = sum(apart) / len(apart)
    return shares


def same(found: Any, expected: Any) -> bool:
    both = (found, expected)
    if all(value != value for value in both):  # not a number in either
        return True
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in both):
        return found == expected
    return abs(found - expected) <= ABSOLUTE + RELATIVE * max(abs(found), abs(expected))
