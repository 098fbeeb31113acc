"""What a stage costs before it does any work, in processor seconds, and which libraries it loads.

    python -m benchmarks.start_up [--repeats 5] [--stages train report] [--root CHECKOUT]

For each stage a process of its own imports the stage, then what its functions import, reads the
configuration and checks those inputs that are there. Stages and repeats are interleaved; medians of
the repeats, so that a busy machine is busy for all of them alike:

interpreter   a Python that does nothing
torch         importing torch, for stages that load it
rest          everything else
of torch      the rest as a share of a bare `python -c "import torch"`, which hardly depends on how
              fast or busy the machine is
models        importing a model class of transformers after torch: on top of the rest, and only
              once a stage has work that runs models

`--root` may be a checkout of another version: nothing of the present one is imported there.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

LIBRARIES = (
    *("torch", "transformers", "datasets", "scipy.stats", "scipy.optimize", "pandas", "pyarrow"),
    *("zarr", "altair", "vl_convert", "omegaconf"),
)
BARE = {
    "interpreter": "pass",
    "import torch": "import torch",
    "torch and models": "import torch; from transformers import LlamaForCausalLM",
}
STAGE = """
import importlib, json, sys, time
stage, torch_first, later, libraries = json.loads(sys.argv[1])
began = time.process_time()
if torch_first:
    import torch
torch_seconds = time.process_time() - began
module = importlib.import_module(f"stages.{stage}")
for name in later:
    importlib.import_module(name)
if stage != "compose":
    from pipeline.config import load_config
    config = load_config([])
    declared = getattr(module, "STAGE", None)
    for name, path in declared.inputs.items() if declared else ():
        if path.exists():
            declared.input(config, name)
loaded = [name for name in libraries if name in sys.modules]
print(json.dumps({"torch": torch_seconds, "all": time.process_time(), "libraries": loaded}))
"""
TELL = "; import time; print(time.process_time())"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--stages", nargs="*")
    arguments = parser.parse_args()
    root: Path = arguments.root
    names = arguments.stages or sorted(stages(root))
    loads = {name: start(root, name, torch_first=False)["libraries"] for name in names}
    taken: dict[str, list[Any]] = {name: [] for name in (*BARE, *names)}
    for _ in range(arguments.repeats):
        for name, code in BARE.items():
            taken[name].append(json.loads(python(root, code + TELL)))
        for name in names:
            taken[name].append(start(root, name, torch_first="torch" in loads[name]))
    bare = {name: median(taken[name]) for name in BARE}
    bare["models"] = bare.pop("torch and models") - bare["import torch"]
    print("  ".join(f"{name} {seconds:.2f} s" for name, seconds in bare.items()))
    print(f"{'stage':16}{'torch':>8}{'rest':>8}{'of torch':>10}  libraries")
    for name in names:
        torch = median(one["torch"] for one in taken[name])
        rest = median(one["all"] - one["torch"] for one in taken[name]) - bare["interpreter"]
        share = rest / bare["import torch"]
        print(f"{name:16}{torch:8.2f}{rest:8.2f}{share:10.0%}  {' '.join(loads[name])}")


def stages(root: Path) -> Iterator[str]:
    """The stages of the graph: those files of stages/ that dvc.yaml runs."""
    graph = (root / "dvc.yaml").read_text()
    for path in (root / "stages").glob("*.py"):
        if f"python -m stages.{path.stem}\n" in graph:
            yield path.stem


def start(root: Path, stage: str, *, torch_first: bool) -> dict[str, Any]:
    """One start of a stage: processor seconds of torch and of all, libraries loaded in the end."""
    later = sorted(set(imported_later(root / "stages" / f"{stage}.py")))
    return json.loads(python(root, STAGE, json.dumps([stage, torch_first, later, LIBRARIES])))


def python(root: Path, code: str, *arguments: str) -> str:
    """What a process of its own prints."""
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": "."}
    done = subprocess.run(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def imported_later(file: Path) -> Iterator[str]:
    """Modules that the functions of a file import; those for a type checker alone are not."""
    for function in ast.walk(ast.parse(file.read_text())):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from (alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    yield node.module


if __name__ == "__main__":
    main()
