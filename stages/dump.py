"""Dump paired activations at the hook point, the start left out, of the train and held-out half.

    python -m stages.dump                   # composed.yaml, as `dvc repro` does
    python -m stages.dump +experiment=tiny hook_point.layer=2
    torchrun --nproc-per-node=2 -m stages.dump   # the same store, written by two processes

reads   data/models/, data/tokens.zarr
writes  data/activations.zarr, data/heldout_activations.zarr: rows [model, d_model] in bfloat16 with
        source, token_id, sequence, position, document and token_class. With dump.scatter_seed,
        activations.zarr holds these rows dealt to the shuffle's buckets, and is no Zarr store; with
        dump.rows_per_round it says what they are made from, and training makes them in rounds;
        data/plant/: the features that `plant` adds to the rows, where it does. With
        dump.max_norm_ratio, rows of a larger norm are left out; outliers.jsonl in a store counts
        them batch by batch. With hook_point.layers, the stores of the other layers come from the
        same pass and wait in data/.work/ or in the bulk until hook_point.layer names them
cost    the forward passes of both models to the hook point, less than 10 % more; 4 * d_model bytes
        of disk per row; killed and run again, it goes on from its last whole chunk
"""

from collections.abc import Mapping
from contextlib import ExitStack

from pipeline.artifacts import Build
from pipeline.config import Config
from pipeline.config.models import DumpConfig
from pipeline.distributed import world
from pipeline.errors import ConfigError
from pipeline.shuffle.producer import is_dealt, writer_for
from pipeline.stage import Stage, paths_of, run

STAGE = Stage(
    name="dump",
    format_version=2,
    sections=("dump", "hook_point", "plant"),
    inputs=paths_of("models", "tokens"),
    outputs=paths_of("activations", "heldout_activations", "plant"),
    is_parallel=True,
    resumes=True,
    memory_keys=("dump.batch_tokens",),
)
STORES = ("activations", "heldout_activations")


def main(config: Config) -> None:
    check_one_process(config.dump)
    with ExitStack() as stack:
        builds = {name: stack.enter_context(STAGE.build(config, name)) for name in STAGE.outputs}
        others = config.hook_point.other_layers if incomplete(builds) else ()
        layered = {name: {config.hook_point.layer: builds[name]} for name in STORES}
        for name in STORES:
            for layer in others:
                build = STAGE.build(config.at_layer(layer), name, is_aside=True)
                layered[name][layer] = stack.enter_context(build)
            if others and world().is_first:
                from pipeline.rounds.stored import take_turns

                take_turns(layered[name], config.hook_point.layer)
        missing = incomplete(builds)
        if missing and config.has_models:
            from pipeline.rounds.stored import dump_pair

            n_train = STAGE.input(config, "tokens").counts["n_train_sequences"]
            made = {name: builds[name] for name in missing}
            STAGE.remarks.extend(dump_pair(config, n_train, made, layered))
        elif missing and world().is_first:
            plant_all(config, {name: builds[name] for name in missing})


def check_one_process(section: DumpConfig) -> None:
    """Refuse several processes where one alone knows which row is the next."""
    if world().size > 1 and section.max_norm_ratio is not None:
        raise ConfigError(
            f"dump.max_norm_ratio is {section.max_norm_ratio:g}, but one process counts the rows "
            f"that it leaves out and {world().size} were started: set dump.max_norm_ratio=null, or "
            "run `python -m stages.dump` without torchrun"
        )


def incomplete(builds: Mapping[str, Build]) -> list[str]:
    """Names of the outputs that have to be made, the same to all processes."""
    return world().from_first(lambda: [name for name in builds if not builds[name].complete])


def plant_all(config: Config, builds: Mapping[str, Build]) -> None:
    """Plant the rows of each split in a synthetic background."""
    from pipeline.plant.pairing import pairing_of
    from pipeline.plant.synthetic import Synthetic, write_rows
    from pipeline.plant.truth import publish_truth
    from pipeline.runtime import set_threads

    assert config.plant is not None
    set_threads(config.runtime.n_threads)
    synthetic = Synthetic.draw(config.plant)
    for name in [name for name in STORES if name in builds]:
        counts = write_rows(
            writer_for(config, builds[name].work, is_dealt(config, name)),
            synthetic,
            synthetic.documents(heldout=name == "heldout_activations"),
            pairing_of(config.dump),
            rows_per_chunk=config.dump.rows_per_chunk,
            codec=config.dump.codec,
            progress_name=f"dump_{name}",
        )
        builds[name].publish(counts=counts, facts={"d_model": synthetic.d_model, "n_models": 2})
    if "plant" in builds:
        publish_truth(builds["plant"], synthetic.plant)


if __name__ == "__main__":
    run(STAGE, main)
