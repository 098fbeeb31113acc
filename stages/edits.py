"""Score every method on a pair that differs by known edits.

    python -m stages.chain models,mix,dump,shuffle,train,latent_scaling,changes +experiment=edited
    python -m stages.edits +experiment=edited

reads   data/models (with the edits), data/tokens.zarr, data/heldout_activations.zarr,
        data/crosscoder, results/latents.parquet, data/changes, results/changes.json
writes  results/edits.json: each edit's effect, and per method what its list named
cost    blocks below the hook point on every held-out sequence, once per edit; the effects are held
        in memory, 4 * d_model bytes per edit and row. No stage of the graph: nothing depends on it
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.config import Config
from pipeline.errors import ArtifactError
from pipeline.runtime import resolve_device, set_threads
from pipeline.stage import (
    CHANGES,
    CROSSCODER,
    HELDOUT_ACTIVATIONS,
    LATENT_SCALING,
    LISTED,
    MODELS,
    RESULTS,
    TOKENS,
    Stage,
    read_results,
    run,
)

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.analysis.edits.effects import Truth
    from pipeline.analysis.edits.score import Entry

STAGE = Stage(
    name="edits",
    sections=("changes",),
    inputs={
        "models": MODELS,
        "tokens": TOKENS,
        "heldout_activations": HELDOUT_ACTIVATIONS,
        "crosscoder": CROSSCODER,
        "latent_scaling": LATENT_SCALING,
        "listed": LISTED,
    },
    results=("edits.json",),
    memory_keys=("changes.batch_rows",),
)


def main(config: Config) -> None:
    from pipeline.analysis.edits.effects import big
    from pipeline.analysis.edits.score import MIN_EDIT_SHARE, MIN_MARGIN, match, score

    for name in STAGE.inputs:
        STAGE.input(config, name)
    set_threads(config.runtime.n_threads)
    x_TMD, block_T = heldout_rows(config)
    truths = effects(config, x_TMD, block_T)
    wanted = big(truths, MIN_EDIT_SHARE)
    difference_TD = x_TMD[:, 1] - x_TMD[:, 0]
    methods = {}
    for name, entries in lists(config, x_TMD).items():
        matches = match(entries, truths, difference_TD)
        figures = asdict(score(matches, truths, wanted, MIN_MARGIN))
        methods[name] = {**figures, "named": [asdict(found) for found in matches]}
    plain = [{"name": t.name, "share": t.share, "kind": t.kind, "margin": t.margin} for t in truths]
    STAGE.publish_results(config, {"edits.json": {"edits": plain, "methods": methods}})


def heldout_rows(config: Config) -> "tuple[Tensor, Tensor]":
    """All held-out rows [T, M, D], and the block of documents of each [T]."""
    import torch

    from pipeline.analysis.heldout import as_float
    from pipeline.store import StoreReader

    device = resolve_device(config.runtime.device)
    with StoreReader.open(HELDOUT_ACTIVATIONS, n_threads=config.runtime.io_threads) as reader:
        x_TMD = as_float(reader.read("activations"), device)
        block = torch.from_numpy(reader.read("document") % config.changes.n_blocks)
    return x_TMD, block.to(device)


def effects(config: Config, x_TMD: "Tensor", block_T: "Tensor") -> "list[Truth]":
    """Each edit that the pair differs by, made alone in base."""
    from pipeline.analysis.edits.alone import rows_with
    from pipeline.analysis.edits.effects import truth_of
    from pipeline.models.edits import read_edits
    from pipeline.models.load import load_model
    from pipeline.store import StoreReader

    edits = [edit for edit in read_edits(MODELS) if edit.models == "it"]
    if not edits:
        raise ArtifactError(
            f"{MODELS} holds no edits: the pair differs by other things; run the stages with "
            "+experiment=edited, or another experiment with models.it.kind=edited"
        )
    device, hook_point = resolve_device(config.runtime.device), config.hook_point
    base = load_model(
        MODELS, "base", dtype="float32", attention=hook_point.attention, device=device
    )
    counts = STAGE.input(config, "tokens").counts
    bos_id = STAGE.input(config, "heldout_activations").facts["bos_id"]
    first = counts["n_train_sequences"]
    with StoreReader.open(TOKENS, n_threads=config.runtime.io_threads) as tokens:
        token_ids = tokens.read("token_id", first, first + counts["n_heldout_sequences"])
    square = float((x_TMD[:, 1] - x_TMD[:, 0]).square().sum())
    plain_TD = rows_with(base, None, token_ids, hook_point.layer, bos_id)
    return [
        truth_of(
            edit.name,
            rows_with(base, edit, token_ids, hook_point.layer, bos_id) - plain_TD,
            plain_TD,
            square,
            block_T,
            config.changes,
        )
        for edit in edits
    ]


def lists(config: Config, x_TMD: "Tensor") -> "dict[str, list[Entry]]":
    """Method -> its entries."""
    import pandas as pd

    from pipeline.analysis.changes.lines import Lines
    from pipeline.analysis.changes.measure import Changes
    from pipeline.analysis.edits.methods import changes_list, everywhere, latent_lists
    from pipeline.crosscoder import Crosscoder

    section, device = config.changes, x_TMD.device
    model = Crosscoder.load(CROSSCODER).to(device)
    table = pd.read_parquet(RESULTS / "latents.parquet")
    changes = Changes(Lines.load(CHANGES).to(device))
    listed: list[dict[str, Any]] = read_results("changes.json")["changes"]
    mean_D = (x_TMD[:, 1] - x_TMD[:, 0]).mean(dim=0)
    return {
        **latent_lists(model, x_TMD, table, section.min_share),
        "mean_difference": [everywhere(mean_D, len(x_TMD), "")],
        "changes": changes_list(
            changes, [(entry["change"], entry["kind"]) for entry in listed], x_TMD, section
        ),
    }


if __name__ == "__main__":
    run(STAGE, main)
