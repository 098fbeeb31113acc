"""Findings held against known edits of a model: each is looked up in the held-out rows first.

Where a finding names its number in this run's data/changes, its rows are read by that. Otherwise

    direction   the one given, else the first principal direction of the difference on the rows of
                the tokens, or of the examples, that the finding names
    activity    of named tokens: the difference along the direction on their rows; else the same on
                every row that lies along it (`changes.min_cosine`)

Letters: T rows, M models, D d_model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.changes.lines import differences
from pipeline.analysis.changes.measure import Changes
from pipeline.analysis.edits.methods import changes_list
from pipeline.analysis.edits.run import Known, known
from pipeline.analysis.edits.score import Entry
from pipeline.analysis.opening import Opened
from pipeline.claims import Claim
from pipeline.config.changes import ChangesConfig
from pipeline.errors import SourceError
from pipeline.stage import CHANGES, HELDOUT_ACTIVATIONS
from pipeline.text.pieces import Pieces
from pipeline.validation.grade import EditGrade


@dataclass(frozen=True)
class Rows:
    """The held-out rows that findings are looked up in. ids_of: text of a token -> its ids;
    changes: of this run, None where no finding names one by its number."""

    x_TMD: Tensor
    token_id: NDArray[np.integer]
    sequence: NDArray[np.integer]
    position: NDArray[np.integer]
    ids_of: Mapping[str, Sequence[int]]
    changes: Changes | None
    section: ChangesConfig


def grade_edits(changes: Sequence[Claim], opened: Opened) -> EditGrade:
    """The score of a list of findings."""
    truth = known(opened)
    rows = heldout(opened, truth, any("change" in claim for claim in changes))
    entries = [located(claim, number, rows) for number, claim in enumerate(changes)]
    nowhere = Entry(torch.zeros_like(truth.x_TMD[0, 0]), torch.zeros_like(truth.x_TMD[:, 0, 0]), "")
    score = truth.scored([entry or nowhere for entry in entries])
    named = {found["edit"] for found in score["named"] if found["is_new"]}
    return {
        "truth": "edits",
        "score": score,
        "edits": truth.rows(),
        "missed": [truth.edits[edit].name for edit in truth.wanted if edit not in named],
        "not_located": [number for number, entry in enumerate(entries) if entry is None],
    }


def heldout(opened: Opened, truth: Known, uses_own: bool) -> Rows:
    """uses_own: whether findings name changes of this run by their numbers"""
    with opened.reader(HELDOUT_ACTIVATIONS) as reader:
        token_id, sequence, position = (
            reader.read(name) for name in ("token_id", "sequence", "position")
        )
    pieces, ids_of = Pieces(opened.tokenizer), dict[str, list[int]]()
    for token in range(len(opened.tokenizer)):
        ids_of.setdefault(pieces.single(token), []).append(token)
    own = Changes.found(opened.device) if uses_own else None
    section = opened.config.changes
    return Rows(truth.x_TMD, token_id, sequence, position, ids_of, own, section)


def located(claim: Claim, number: int, rows: Rows) -> Entry | None:
    """A finding as an entry of a list; None where it names no direction, token or place.
    SourceError where what it names is not there."""
    kind = claim.get("kind", "")
    if (change := claim.get("change")) is not None:
        return own_entry(change, kind, number, rows)
    acts_T, is_complete = _named_rows(claim, number, rows)
    direction_D = _given(claim, number, rows)
    delta_TD = differences(rows.x_TMD)
    if direction_D is None:
        if not acts_T.any():
            return None
        direction_D = principal(delta_TD[acts_T])
    along_T = delta_TD @ direction_D
    if not is_complete:
        acts_T = along_T > rows.section.min_cosine * delta_TD.norm(dim=1)
    return Entry(direction_D, torch.where(acts_T, along_T, 0), kind)


def own_entry(change: int, kind: str, number: int, rows: Rows) -> Entry:
    """A change of this run by its number; the last two numbers are the shifts."""
    assert rows.changes is not None
    if change >= (n := rows.changes.n + 2):
        raise SourceError(
            f"changes.{number}.change: found {change}, expected a number below {n}, as many as "
            f"{CHANGES} holds: leave it out, or name the experiment of the findings"
        )
    return changes_list(rows.changes, [(change, kind)], rows.x_TMD, rows.section)[0]


def _given(claim: Claim, number: int, rows: Rows) -> Tensor | None:
    """The unit direction that a finding gives."""
    if (given := claim.get("direction")) is None:
        return None
    direction_D, D = rows.x_TMD.new_tensor(given), rows.x_TMD.shape[2]
    if len(given) != D or not direction_D.any():
        raise SourceError(
            f"changes.{number}.direction: found {len(given)} numbers"
            f"{'' if direction_D.any() else ', all 0'}, expected {D}, the width of the models, "
            "not all 0: mend it or leave it out"
        )
    return torch.nn.functional.normalize(direction_D, dim=0)


def _named_rows(claim: Claim, number: int, rows: Rows) -> tuple[Tensor, bool]:
    """[T] the rows that a finding names, and whether these are all that it acts on: those of its
    tokens are, those of its examples are not."""
    device = rows.x_TMD.device
    if (tokens := claim.get("acts_on")) is not None:
        ids: list[int] = []
        for token in tokens:
            if token not in rows.ids_of:
                raise SourceError(
                    f"changes.{number}.acts_on: {token!r} is no token of the pair's tokenizer: "
                    "write tokens as they decode, with their spaces"
                )
            ids += rows.ids_of[token]
        return torch.from_numpy(np.isin(rows.token_id, ids)).to(device), True
    found = np.zeros(len(rows.token_id), dtype=bool)
    for example in claim.get("examples", []):
        if "sequence" in example and "position" in example:
            found |= (rows.sequence == example["sequence"]) & (rows.position == example["position"])
    return torch.from_numpy(found).to(device), False


def principal(delta_TD: Tensor) -> Tensor:
    """[D] first principal direction of rows, through the origin, upwards."""
    direction_D = torch.linalg.eigh((delta_TD.T @ delta_TD).double())[1][:, -1].float()
    return direction_D if float((delta_TD @ direction_D).pow(3).sum()) >= 0 else -direction_D
