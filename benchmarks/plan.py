"""What `stages.plan` says a run takes, over what it then takes, stage by stage.

    python -m benchmarks.plan --json OUT [--dir FOLDER] +experiment=tiny [overrides]
    python -m benchmarks.plan --json OUT [--dir FOLDER] --random-pair [overrides]

The second writes two model folders first: a Gemma-2 of 24 million random weights, and the same with
a fifth of noise. Its experiment is `local`, small enough for one thread to go through every stage
in some minutes.

What is planned and what is taken are processor time of one thread, so that a machine may be busy:
rates are measured as the plan measures them, then every stage of the graph runs in a process of its
own in a folder that is removed afterwards (`--dir` keeps it, and what it holds is not run again).
Waiting for the disk is no processor time: the disk's share of a stage is left out of both.
"""

import argparse
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM

from pipeline.config import compose
from pipeline.planning.measure import rates_here
from pipeline.planning.rates import look_at_machine
from pipeline.planning.terms import estimate
from pipeline.text.sources import documents
from pipeline.text.tokens import train_tokenizer

ROOT = Path(__file__).parents[1]
ONE_THREAD = ["runtime.n_threads=1", "runtime.io_threads=1", "runtime.device=cpu"]
TIMES = "times.json"
SHAPE = {
    "vocab_size": 16_384,
    "hidden_size": 384,
    "intermediate_size": 1_536,
    "num_hidden_layers": 8,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "query_pre_attn_scalar": 64,
}
NORM_GAIN = 4.0
"""Of the last norm, beside 1: with random weights alone every token would be as likely as another,
and the models would not part anywhere."""
NOISE = 0.2
"""Of the IT model's weights, in standard deviations of a tensor."""
N_DOCUMENTS = 2_000
"""Of each source, for the tokenizer."""
RANDOM_PAIR = [
    "+experiment=local",
    "sources=generated",
    "hook_point.layer=4",
    "hook_point.dtype=float32",
    "hook_point.attention=eager",
    "mix.sequence_length_tokens=256",
    "mix.n_train_tokens=49152",
    "mix.n_heldout_tokens=16384",
    "mix.heldout_fraction=0.2",
    "crosscoder.n_latents=2048",
    "train.n_rows=262144",
    "baselines.n_train_rows=131072",
    "baselines.diff_sae.n_latents=1024",
    "baselines.positions.n_documents=1000",
    "evaluate.n_sequences=8",
    "causal.n_sequences=8",
    "changes.n_causal=3",
    "parting.n_sequences=32",
    "parting.n_tokens=2",
    "steering.n_tokens=8",
    "dashboards.n_latents=256",
]
"""The embedded experiment's sizes, or less, on models sixteen times as large."""


def processor_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def planned(overrides: list[str]) -> dict[str, float]:
    """Stage -> seconds, from rates measured now."""
    config = compose(overrides)
    machine = look_at_machine("cpu", config.runtime.n_threads, Path())
    rates = rates_here(config, machine, processor_seconds)
    assert rates is not None, "a model of this experiment is not here"
    costs = estimate(config, replace(rates, byte=0.0))
    return {stage: cost.seconds for stage, cost in costs.items()}


def taken(stages: list[str], overrides: list[str]) -> dict[str, float]:
    """Stage -> seconds of its process; runs in the current folder."""
    known: dict[str, float] = json.loads(Path(TIMES).read_text()) if Path(TIMES).exists() else {}
    for stage in [stage for stage in stages if stage not in known]:
        before = processor_seconds()
        command = [sys.executable, "-m", f"stages.{stage}", *overrides]
        subprocess.run(command, check=True, env=environment())
        known[stage] = processor_seconds() - before
        Path(TIMES).write_text(json.dumps(known))
    return {stage: known[stage] for stage in stages}


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def random_pair(folder: Path) -> list[str]:
    """Overrides of an experiment on two models in `folder`, written there where they are not."""
    folders = {name: folder / name for name in ("base", "it")}
    overrides = [f"models.{name}.path={path}" for name, path in folders.items()]
    if not folders["it"].exists():
        sources = compose([*RANDOM_PAIR, *overrides]).sources
        texts = (
            document.text
            for name in ("pile", "chat")
            for document in itertools.islice(documents(sources[name], name), N_DOCUMENTS)
        )
        tokenizer = train_tokenizer(texts, SHAPE["vocab_size"])
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model("gemma2", **SHAPE))
        with torch.no_grad():
            model.model.norm.weight.fill_(NORM_GAIN)
            for path in folders.values():
                model.save_pretrained(path)
                tokenizer.save_pretrained(path)
                for weight in model.model.layers.parameters():
                    weight.add_(NOISE * weight.std() * torch.randn_like(weight))
    return [*RANDOM_PAIR, *overrides]


def compare(overrides: list[str]) -> dict[str, Any]:
    """Figures of the current folder, which has `conf/`."""
    plan = planned(overrides)
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    found = taken([stage for stage in graph if stage in plan], overrides)
    return {
        "planned_over_taken": sum(plan.values()) / sum(found.values()),
        "stages": {
            stage: {"planned": plan[stage], "taken": found[stage], "ratio": plan[stage] / seconds}
            for stage, seconds in found.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--dir", type=Path, help="a folder that is kept, or gone on with")
    parser.add_argument("--random-pair", action="store_true", help="two models of random weights")
    arguments, overrides = parser.parse_known_args()
    out = arguments.json.absolute()
    folder = arguments.dir.absolute() if arguments.dir else Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "conf", folder / "conf", dirs_exist_ok=True)
    os.chdir(folder)
    pair = random_pair(folder / "random") if arguments.random_pair else []
    figures = compare([*pair, *overrides, *ONE_THREAD])
    out.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    if not arguments.dir:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
