"""Dump paired activations at the hook point, BOS left out, for the train and the held-out half.

    python -m stages.dump                   # composed.yaml, as `dvc repro` does
    python -m stages.dump +experiment=tiny hook_point.layer=2

reads   data/models/, data/tokens.zarr
writes  data/activations.zarr, data/heldout_activations.zarr: rows [model, d_model] in bfloat16 with
        source, token_id, sequence, position, document and token_class
cost    the forward passes of both models to the hook point, less than 10 % more; 4 * d_model bytes
        of disk per row; killed and run again, it goes on from its last whole chunk
"""

from collections.abc import Mapping
from contextlib import ExitStack

from pipeline.artifacts import Build
from pipeline.config import Config
from pipeline.stage import ACTIVATIONS, HELDOUT_ACTIVATIONS, MODELS, TOKENS, Stage, run

STAGE = Stage(
    name="dump",
    sections=("dump", "hook_point"),
    inputs={"models": MODELS, "tokens": TOKENS},
    outputs={"activations": ACTIVATIONS, "heldout_activations": HELDOUT_ACTIVATIONS},
)


def main(config: Config) -> None:
    with ExitStack() as stack:
        builds = {name: stack.enter_context(STAGE.build(config, name)) for name in STAGE.outputs}
        missing = {name: build for name, build in builds.items() if not build.complete}
        if missing:
            dump_all(config, missing)


def dump_all(config: Config, builds: Mapping[str, Build]) -> None:
    """Run the models over the sequences of each build's split."""
    from pipeline.harvest.dump import dump
    from pipeline.harvest.pair import load_pair
    from pipeline.models.load import load_tokenizer
    from pipeline.runtime import resolve_device, set_threads
    from pipeline.store import StoreReader
    from pipeline.text.tokens import bos_id

    set_threads(config.runtime.n_threads)
    device = resolve_device(config.runtime.device)
    pair = load_pair(MODELS, config.hook_point, bos_id(load_tokenizer(MODELS)), device)
    n_train = STAGE.input(config, "tokens").counts["n_train_sequences"]
    with StoreReader.open(TOKENS, n_threads=config.runtime.io_threads) as tokens:
        sequences = {
            "activations": range(n_train),
            "heldout_activations": range(n_train, tokens.n_rows),
        }
        for name, build in builds.items():
            counts = dump(
                build.work,
                tokens,
                sequences[name],
                pair,
                batch_tokens=config.dump.batch_tokens,
                rows_per_chunk=config.dump.rows_per_chunk,
                n_threads=config.runtime.io_threads,
                progress_name=f"dump_{name}",
            )
            facts = {"d_model": pair.d_model, "n_models": len(pair.models), "layer": pair.layer}
            build.publish(counts=counts, facts={**facts, "bos_id": pair.bos_id})


if __name__ == "__main__":
    run(STAGE, main)
