"""Tell what an experiment will need here, before anything runs.

    python -m stages.plan +experiment=gemma
    python -m stages.plan +experiment=gemma runtime.measure_rates=false

reads   conf/ (or composed.yaml), the local hub cache, this machine's speed and free space
writes  logs/plan-*.json: the rates measured here; prints a table and what is missing; exit status 1
        if the experiment cannot run
costs   up to a minute on a machine and for an experiment it has not measured, then a few seconds
"""

import sys
from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.paths import in_main_tree
from pipeline.runtime import resolve_device
from pipeline.stage import TOKENS, Stage, run

if TYPE_CHECKING:
    from pipeline.planning import Machine

STAGE = Stage(name="plan", sections=())
ON_A_CARD = (
    "times on a card are arithmetic from its rates: no stage has been measured on one "
    "(docs/performance.md)"
)
MEASURED = "times here are priced from short runs of every kind of work on this machine"
BY_ARITHMETIC = (
    "times here are arithmetic from the rates above (runtime.measure_rates=true measures)"
)


def main(config: Config) -> None:
    from pipeline.planning import (
        estimate,
        explain_line,
        measure_machine,
        missing_for,
        n_latents_of,
        plan_table,
        ways_table,
    )
    from pipeline.planning.machine import H200
    from pipeline.planning.measure import rates_here

    device = resolve_device(config.runtime.device).type
    bulk = config.runtime.bulk_dir
    disk = in_main_tree(bulk) if bulk else TOKENS
    machine = measure_machine(device, config.runtime.n_threads, disk)
    rates = rates_here(config, machine) if config.runtime.measure_rates else None
    costs = estimate(config, machine, rates)
    print(f"experiment {config.experiment}: {config.mix.n_train_tokens:,} training tokens\n")
    print(describe(machine), end="\n\n")
    if costs:
        print(plan_table(costs))
    if device == "cpu" and costs:
        print(f"\nThe same on {H200.device_name} (790 TFLOP/s bf16, disk 2 GB/s):\n")
        print(plan_table(estimate(config, H200)))
    if costs and config.has_models:
        print(f"\n{ways_table(config, machine, rates)}")
    if line := explain_line(config):
        print(f"\n{line}")
    if costs:
        print(f"\n{MEASURED if rates else BY_ARITHMETIC}; {ON_A_CARD}")
    if not n_latents_of(config.crosscoder):
        print(
            "\nnot counted above: the latents of the finished crosscoder, whose number nothing "
            "here tells: set crosscoder.n_latents"
        )
    missing = missing_for(config, machine, costs)
    if missing:
        print("\nmissing:", *(f"  - {line}" for line in missing), sep="\n")
        sys.exit(1)
    print("\nnothing is missing: `dvc repro` can run it")


def describe(machine: "Machine") -> str:
    """One line on what the times below rest on."""
    return (
        f"this machine: {machine.device_name}, "
        f"{machine.fp32_flops_per_second / 1e12:.3g} TFLOP/s fp32 and "
        f"{machine.bf16_flops_per_second / 1e12:.3g} bf16, "
        f"disk {machine.disk_bytes_per_second / 1e9:.2g} GB/s, "
        f"{machine.free_disk_bytes / 1e9:,.0f} GB free, {machine.memory_bytes / 1e9:,.0f} GB memory"
    )


if __name__ == "__main__":
    run(STAGE, main)
