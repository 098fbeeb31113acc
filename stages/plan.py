"""Tell what an experiment will need here, before anything runs.

    python -m stages.plan +experiment=gemma

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
    from pipeline.planning.rates import Machine, Rates

STAGE = Stage(name="plan", sections=())
MEASURED = (
    "times here are priced from short runs of every kind of work on this machine; times on a card "
    "are arithmetic from its rates: no stage has been measured on one (docs/performance.md)"
)
UNKNOWN_LATENTS = (
    "not counted above: the latents of the finished crosscoder, whose number nothing here tells: "
    "set crosscoder.n_latents"
)


def main(config: Config) -> None:
    from pipeline.analysis.explain.asked import explain_line
    from pipeline.models.here import refused_models
    from pipeline.models.pair import reading_of
    from pipeline.models.size import sizes_of
    from pipeline.planning.measure import rates_here
    from pipeline.planning.missing import missing_for
    from pipeline.planning.rates import look_at_machine, on_a_card
    from pipeline.planning.tables import plan_table, ways_table
    from pipeline.planning.terms import estimate
    from pipeline.training.finished import n_latents_of

    device, bulk = resolve_device(config.runtime.device).type, config.runtime.bulk_dir
    disk = in_main_tree(bulk) if bulk else TOKENS
    machine = look_at_machine(device, config.runtime.n_threads, disk)
    # Whatever models that are refused would end in says less than the reason for it.
    is_refused = refused_models(config.models, reading_of(config.hook_point, config.mix))
    rates = None if is_refused else rates_here(config, machine)
    sizes, costs = sizes_of(config), {}
    print(f"experiment {config.experiment}: {config.mix.n_train_tokens:,} training tokens\n")
    print(describe(machine, rates))
    if rates and sizes:
        costs = estimate(config, rates, machine.n_processes)
        print(f"\n{plan_table(costs)}")
        if device == "cpu":
            print("\nThe same on one H200-class GPU (790 TFLOP/s bf16, disk 2 GB/s):\n")
            print(plan_table(estimate(config, on_a_card(config, sizes[0].d_model))))
        if config.has_models:
            print(f"\n{ways_table(config, machine, rates)}")
    if line := explain_line(config.explain):
        print(f"\n{line}")
    if costs:
        print(f"\n{MEASURED}")
    if not n_latents_of(config.crosscoder):
        print(f"\n{UNKNOWN_LATENTS}")
    missing = missing_for(config, machine, costs)
    if missing:
        print("\nmissing:", *(f"  - {line}" for line in missing), sep="\n")
        sys.exit(1)
    print("\nnothing is missing: `dvc repro` can run it")


def describe(machine: "Machine", rates: "Rates | None") -> str:
    """One line on what the times below rest on."""
    measured = {"reading texts": rates and rates.forward, "encoding rows": rates and rates.encode}
    speeds = [f"{1e-9 / taken:.3g} GFLOP/s {what}" for what, taken in measured.items() if taken]
    if rates and rates.step:
        speeds.append(f"{1 / rates.step:,.0f} rows/s in training")
    return ", ".join(
        [
            f"this machine: {machine.device_name}",
            *speeds,
            f"disk {machine.disk_bytes_per_second / 1e9:.2g} GB/s",
            f"{machine.free_disk_bytes / 1e9:,.0f} GB free",
            f"{machine.memory_bytes / 1e9:,.0f} GB memory",
        ]
    )


if __name__ == "__main__":
    run(STAGE, main)
