"""What `results/edits.json` holds: the known edits, and how well each method's list names them.

Letters: T held-out rows, M models, D d_model, Q sequences, S positions.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.changes.lines import differences
from pipeline.analysis.changes.measure import Changes
from pipeline.analysis.changes.result import CHANGES as LIST
from pipeline.analysis.edits.alone import control_rows, effect_alone, rows_with
from pipeline.analysis.edits.effects import Truth, big, truth_of
from pipeline.analysis.edits.methods import changes_list, diff_sae_list, everywhere, latent_lists
from pipeline.analysis.edits.result import EditRow, EditScores, Named, Scored
from pipeline.analysis.edits.score import (
    MIN_EDIT_SHARE,
    MIN_MARGIN,
    Entry,
    controls_listed,
    match,
    score,
)
from pipeline.analysis.heldout import as_float
from pipeline.analysis.opening import Opened
from pipeline.errors import ArtifactError
from pipeline.models.edits.edit import Edit, read_edits
from pipeline.models.load import load_model
from pipeline.stage import DIFF_SAE, HELDOUT_ACTIVATIONS, MODELS, RESULTS, TOKENS


@dataclass(frozen=True)
class Known:
    """What a list is held against. x_TMD: all held-out rows; norms: of what each control does on
    them; wanted: numbers of the edits that a list must name."""

    x_TMD: Tensor
    edits: list[Edit]
    truths: list[Truth]
    controls: list[Edit]
    norms: list[Tensor]
    wanted: list[int]

    def scored(self, entries: Sequence[Entry]) -> Scored:
        """The score of one list."""
        matches = match(entries, self.truths, differences(self.x_TMD))
        listed = controls_listed(entries, matches, self.norms)
        return Scored(
            **score(matches, self.truths, self.wanted, MIN_MARGIN),
            named=[Named(**asdict(found)) for found in matches],
            controls_listed=[self.controls[number].name for number in listed],
        )

    def rows(self) -> list[EditRow]:
        """What a result says of the edits."""
        return [
            {
                "name": edit.name,
                "group": edit.group,
                "form": edit.form,
                "strength": edit.strength,
                "rate": edit.rate,
                "share": truth.share,
                "kind": truth.kind,
                "margin": truth.margin,
                "wanted": truth.share >= MIN_EDIT_SHARE,
            }
            for edit, truth in zip(self.edits, self.truths, strict=True)
        ]


def known(opened: Opened) -> Known:
    """Every edit made alone in base."""
    section = opened.config.changes
    x_TMD, block_T = heldout_rows(opened)
    edits, controls = recorded()
    token_ids, is_row = heldout_sequences(opened)
    plain_TD, alone = made_alone(opened, token_ids, is_row)
    square = float(differences(x_TMD).square().sum())
    truths = [
        truth_of(edit.name, alone(edit), plain_TD, square, block_T, section) for edit in edits
    ]
    norms = [control_rows(edit, token_ids, is_row, alone).to(x_TMD.device) for edit in controls]
    return Known(x_TMD, edits, truths, controls, norms, big(truths, MIN_EDIT_SHARE))


def scored(opened: Opened) -> EditScores:
    """Every method's list held against the edits."""
    truth = known(opened)
    return {
        "edits": truth.rows(),
        "controls": [edit.name for edit in truth.controls],
        "methods": {
            name: truth.scored(entries) for name, entries in lists(opened, truth.x_TMD).items()
        },
    }


def heldout_rows(opened: Opened) -> tuple[Tensor, Tensor]:
    """All held-out rows [T, M, D], and the block of documents of each [T]."""
    with opened.reader(HELDOUT_ACTIVATIONS) as reader:
        x_TMD = as_float(reader.read("activations"), opened.device)
        block_T = torch.from_numpy(reader.read("document") % opened.config.changes.n_blocks)
    return x_TMD, block_T.to(opened.device)


def recorded() -> tuple[list[Edit], list[Edit]]:
    """The edits that the pair differs by, and the controls: those of both models or of none."""
    edits = read_edits(MODELS)
    own = [edit for edit in edits if edit.models == "it"]
    if not own:
        raise ArtifactError(
            f"{MODELS} holds no edits: the pair differs by other things; run the stages with "
            "+experiment=edited, or another experiment with models.it.kind=edited"
        )
    return own, [edit for edit in edits if edit.models != "it"]


def heldout_sequences(opened: Opened) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
    """Token ids [Q, S], and which of them have a row in the store [Q, S]."""
    held = opened.heldout_sequences
    with opened.reader(TOKENS) as tokens:
        token_ids = tokens.read("token_id", held.start, held.stop)
    is_row = np.zeros(token_ids.shape, bool)
    with opened.reader(HELDOUT_ACTIVATIONS) as rows:
        is_row[rows.read("sequence") - held.start, rows.read("position")] = True
    return token_ids, is_row


def made_alone(
    opened: Opened, token_ids: NDArray[np.integer], is_row: NDArray[np.bool_]
) -> tuple[Tensor, Callable[[Edit], Tensor]]:
    """Base's held-out rows [T, D] in full precision, and what maps an edit to its effect on them
    when it is made alone."""
    hook_point = opened.config.hook_point
    base = load_model(
        MODELS, "base", dtype="float32", attention=hook_point.attention, device=opened.device
    )
    layer = hook_point.layer
    plain_TD = rows_with(base, None, token_ids, layer, is_row)
    return plain_TD, lambda edit: effect_alone(base, edit, token_ids, layer, is_row, plain_TD)


def lists(opened: Opened, x_TMD: Tensor) -> dict[str, list[Entry]]:
    """Method -> its entries."""
    section = opened.config.changes
    changes = Changes.found(opened.device)
    listed = [(entry["change"], entry["kind"]) for entry in LIST.read(RESULTS)["changes"]]
    mean_D = differences(x_TMD).mean(dim=0)
    return {
        **latent_lists(opened.crosscoder(), x_TMD, opened.latents(), section.min_share),
        "diff_sae": diff_sae_list(opened.crosscoder(DIFF_SAE), x_TMD, section.min_share),
        "mean_difference": [everywhere(mean_D, len(x_TMD), "")],
        "changes": changes_list(changes, listed, x_TMD, section),
    }
