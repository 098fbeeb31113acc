"""Score every method on a pair that differs by known edits.

    before=models,mix,dump,shuffle,train,evaluate,latent_scaling,baselines,changes
    python -m stages.chain $before +experiment=edited
    python -m stages.edits +experiment=edited

reads   data/models (with the edits), data/tokens.zarr, data/heldout_activations.zarr,
        data/crosscoder, data/diff_sae, results/latents.parquet, data/changes, results/changes.json
writes  results/edits.json: each edit's effect, and per method what its list named
cost    blocks below the hook point on the held-out sequences, once per edit (of an edited token:
        on those with the token); the effects are held in memory, 4 * d_model bytes per edit and
        row. No stage of the graph: nothing depends on it
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.config import Config
from pipeline.errors import ArtifactError
from pipeline.runtime import resolve_device, set_threads
from pipeline.stage import (
    CHANGES,
    CROSSCODER,
    DIFF_SAE,
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
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from pipeline.analysis.edits.effects import Truth
    from pipeline.analysis.edits.result import EditRow
    from pipeline.analysis.edits.score import Entry
    from pipeline.models.edits import Edit

STAGE = Stage(
    name="edits",
    sections=("changes",),
    inputs={
        "models": MODELS,
        "tokens": TOKENS,
        "heldout_activations": HELDOUT_ACTIVATIONS,
        "crosscoder": CROSSCODER,
        "diff_sae": DIFF_SAE,
        "latent_scaling": LATENT_SCALING,
        "listed": LISTED,
    },
    results=("edits.json",),
    format_version=2,
    memory_keys=("changes.batch_rows",),
)


def main(config: Config) -> None:
    from pipeline.analysis.edits.alone import control_rows
    from pipeline.analysis.edits.effects import big
    from pipeline.analysis.edits.score import (
        MIN_EDIT_SHARE,
        MIN_MARGIN,
        controls_listed,
        match,
        score,
    )

    for name in STAGE.inputs:
        STAGE.input(config, name)
    set_threads(config.runtime.n_threads)
    x_TMD, block_T = heldout_rows(config)
    edits, controls = recorded()
    token_ids, start_id = heldout_sequences(config)
    plain_TD, alone = made_alone(config, token_ids, start_id)
    truths = effects(config, edits, x_TMD, block_T, plain_TD, alone)
    norms = [control_rows(edit, token_ids, start_id, alone).to(x_TMD.device) for edit in controls]
    wanted = big(truths, MIN_EDIT_SHARE)
    difference_TD = x_TMD[:, 1] - x_TMD[:, 0]
    methods = {}
    for name, entries in lists(config, x_TMD).items():
        matches = match(entries, truths, difference_TD)
        listed = controls_listed(entries, matches, norms)
        methods[name] = {
            **asdict(score(matches, truths, wanted, MIN_MARGIN)),
            "named": [asdict(found) for found in matches],
            "controls_listed": [controls[number].name for number in listed],
        }
    told = {
        "edits": [
            row(edit, truth, MIN_EDIT_SHARE) for edit, truth in zip(edits, truths, strict=True)
        ],
        "controls": [edit.name for edit in controls],
        "methods": methods,
    }
    STAGE.publish_results(config, {"edits.json": told})


def row(edit: "Edit", truth: "Truth", min_share: float) -> "EditRow":
    """What the result says of an edit."""
    return {
        "name": edit.name,
        "group": edit.group,
        "form": edit.form,
        "strength": edit.strength,
        "rate": edit.rate,
        "share": truth.share,
        "kind": truth.kind,
        "margin": truth.margin,
        "wanted": truth.share >= min_share,
    }


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


def recorded() -> "tuple[list[Edit], list[Edit]]":
    """The edits that the pair differs by, and the controls."""
    from pipeline.models.edits import read_edits

    edits = read_edits(MODELS)
    own = [edit for edit in edits if edit.models == "it"]
    if not own:
        raise ArtifactError(
            f"{MODELS} holds no edits: the pair differs by other things; run the stages with "
            "+experiment=edited, or another experiment with models.it.kind=edited"
        )
    return own, [edit for edit in edits if edit.models != "it"]


def heldout_sequences(config: Config) -> "tuple[NDArray[np.integer], int | None]":
    """Token ids [Q, S], and the id of the token that gives no row."""
    from pipeline.store import StoreReader

    counts = STAGE.input(config, "tokens").counts
    start_id = STAGE.input(config, "heldout_activations").facts["bos_id"]
    first = counts["n_train_sequences"]
    with StoreReader.open(TOKENS, n_threads=config.runtime.io_threads) as tokens:
        return tokens.read("token_id", first, first + counts["n_heldout_sequences"]), start_id


def made_alone(
    config: Config, token_ids: "NDArray[np.integer]", start_id: int | None
) -> "tuple[Tensor, Callable[[Edit], Tensor]]":
    """Base's held-out rows [T, D] in full precision, and what maps an edit to its effect on them
    when it is made alone."""
    from pipeline.analysis.edits.alone import effect_alone, rows_with
    from pipeline.models.load import load_model

    layer = config.hook_point.layer
    base = load_model(
        MODELS,
        "base",
        dtype="float32",
        attention=config.hook_point.attention,
        device=resolve_device(config.runtime.device),
    )
    plain_TD = rows_with(base, None, token_ids, layer, start_id)
    return plain_TD, lambda edit: effect_alone(base, edit, token_ids, layer, start_id, plain_TD)


def effects(
    config: Config,
    edits: "Sequence[Edit]",
    x_TMD: "Tensor",
    block_T: "Tensor",
    plain_TD: "Tensor",
    alone: "Callable[[Edit], Tensor]",
) -> "list[Truth]":
    """Each edit that the pair differs by, made alone in base."""
    from pipeline.analysis.edits.effects import truth_of

    square = float((x_TMD[:, 1] - x_TMD[:, 0]).square().sum())
    return [
        truth_of(edit.name, alone(edit), plain_TD, square, block_T, config.changes)
        for edit in edits
    ]


def lists(config: Config, x_TMD: "Tensor") -> "dict[str, list[Entry]]":
    """Method -> its entries."""
    import pandas as pd

    from pipeline.analysis.changes.lines import Lines
    from pipeline.analysis.changes.measure import Changes
    from pipeline.analysis.edits.methods import (
        changes_list,
        diff_sae_list,
        everywhere,
        latent_lists,
    )
    from pipeline.crosscoder import Crosscoder

    section, device = config.changes, x_TMD.device
    model, diff_sae = (Crosscoder.load(path).to(device) for path in (CROSSCODER, DIFF_SAE))
    table = pd.read_parquet(RESULTS / "latents.parquet")
    changes = Changes(Lines.load(CHANGES).to(device))
    listed: list[dict[str, Any]] = read_results("changes.json")["changes"]
    mean_D = (x_TMD[:, 1] - x_TMD[:, 0]).mean(dim=0)
    return {
        **latent_lists(model, x_TMD, table, section.min_share),
        "diff_sae": diff_sae_list(diff_sae, x_TMD, section.min_share),
        "mean_difference": [everywhere(mean_D, len(x_TMD), "")],
        "changes": changes_list(
            changes, [(entry["change"], entry["kind"]) for entry in listed], x_TMD, section
        ),
    }


if __name__ == "__main__":
    run(STAGE, main)
