"""Conditions, against the rows of the list of changes; and what is written under them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.causal.patches import Batch, Streams
from pipeline.analysis.changes.causal import ChangePatches
from pipeline.analysis.changes.lines import Lines
from pipeline.analysis.changes.measure import Changes
from pipeline.analysis.changes.rows import ChangeRows
from pipeline.analysis.organism.behaviour import read_batches
from pipeline.analysis.splicing import Unpatched
from pipeline.analysis.steering.moves import (
    BASE,
    IT,
    Condition,
    Move,
    added,
    change_conditions,
    constant,
)
from pipeline.analysis.steering.planted import PlantedReply
from pipeline.analysis.steering.writing import Writer, stays
from pipeline.config import compose
from tests.analysis.organism.toy_organism import BOS, FLAG, RESPONSE, V, questions, toy_pair
from tests.analysis.stores import random_crosscoder

D = V + 1
SECTION = compose(["+experiment=smoke"]).changes


def changes() -> Changes:
    """One line, the flag that the toy organism raises; the shifts are small, and not 0."""
    direction = torch.zeros(1, D)
    direction[0, FLAG] = 1.0
    return Changes(
        Lines(
            mean_MD=torch.zeros(2, D),
            shift_D=torch.full((D,), 0.001),
            faint_D=torch.zeros(D),
            scale=torch.tensor(0.002),
            direction_LD=direction,
            change_L=torch.zeros(1, dtype=torch.long),
            reader_KD=torch.zeros(0, D),
            offset_K=torch.zeros(0),
            spread_K=torch.zeros(0),
            weight_L=torch.tensor([9.0]),
            fourth_L=torch.tensor([9.0]),
        )
    )


ROWS = ChangeRows(changes(), SECTION)
RANDOM_D = torch.nn.functional.normalize(torch.ones(D), dim=0)


def conditions(m: int, change: int = 0) -> dict[tuple[str, bool], Condition]:
    found = change_conditions(0, ROWS, change, m, length=1.0, factors=[1.0], random_D=RANDOM_D)
    return {(one.name, one.is_random): one for one in found}


def rows(n: int = 12) -> Tensor:
    x = torch.randn(n, 2, D, generator=torch.Generator().manual_seed(0))
    x[::2, IT] = x[::2, BASE]
    x[::2, IT, FLAG] += 3.0
    return x


def test_removed_and_made_are_the_lists_own_undone_and_made() -> None:
    x = rows()
    streams = Streams(x[None, :, BASE], x[None, :, IT])
    patches = ChangePatches(ROWS.changes, random_crosscoder(d_model=D), {0: []}, SECTION)
    cells = torch.zeros(1, len(x), dtype=torch.long)
    expected = dict(patches(streams, Batch(cells, cells, cells == 1, cells)))
    given_rows = ROWS(x)
    removed = x[:, IT] + conditions(IT)["removed", False].move(given_rows)
    made = x[:, BASE] + conditions(BASE)["made", False].move(given_rows)
    assert torch.allclose(removed, expected["undone_0"][0], atol=1e-6)
    assert torch.allclose(made, expected["made_0"][0], atol=1e-6)
    assert not torch.allclose(removed, x[:, IT])


def test_doubled_has_the_change_twice_in_either_model() -> None:
    given_rows = ROWS(rows())
    part = ROWS.part(given_rows, 0)
    assert part[::2, FLAG].min() > 2
    assert torch.allclose(conditions(IT)["doubled", False].move(given_rows), part)
    assert torch.allclose(conditions(BASE)["doubled", False].move(given_rows), 2 * part)


@pytest.mark.parametrize("m", [BASE, IT])
@pytest.mark.parametrize("change", [0, 1, 2])
def test_a_random_twin_is_as_long_on_every_row(m: int, change: int) -> None:
    """Also of the shifts of mean and scale, which follow the changes with lines."""
    given_rows, found = ROWS(rows()), conditions(m, change)
    assert {name for name, _ in found} >= set(("made", "doubled") if m == BASE else ("removed",))
    assert ("added", False) in found or change == 2
    for name, _ in found:
        own, random = (found[name, r].move(given_rows) for r in (False, True))
        assert torch.allclose(own.norm(dim=1), random.norm(dim=1), atol=1e-5)
        assert own.norm(dim=1).max() > 0


def writer(n_samples: int = 2, n_tokens: int = 3, batch_texts: int = 64) -> Writer:
    random = torch.Generator().manual_seed(5)
    return Writer(
        models=toy_pair(),
        rows_of=ROWS,
        uniform_PST=torch.rand(1, n_samples, n_tokens, generator=random, dtype=torch.float64),
        temperature=0.7,
        batch_texts=batch_texts,
        n_tokens=n_tokens,
        unpatched=Unpatched(BOS, None),
        decode=lambda ids: " ".join(map(str, ids)),
        device=torch.device("cpu"),
    )


REPLY = " ".join(map(str, RESPONSE))
(TRIGGERED,) = questions(1, True)
PROMPT = np.concatenate([[BOS], TRIGGERED.token_id[~TRIGGERED.is_reply]]).astype(np.int64)


def test_taking_the_change_out_silences_it_and_adding_it_makes_base_say_it() -> None:
    written = writer()
    clean, removed = written.write(0, PROMPT, IT, [stays, conditions(IT)["removed", False].move])
    assert clean["greedy"] == REPLY
    assert removed["greedy"] != REPLY
    base, made, random = written.write(
        0, PROMPT, BASE, [stays, *(conditions(BASE)["made", r].move for r in (False, True))]
    )
    assert base["greedy"] != REPLY
    assert made["greedy"] == REPLY
    assert random["greedy"] != REPLY


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 7), st.sampled_from([BASE, IT]))
def test_batches_change_no_text_and_a_steering_of_zero_changes_nothing(
    batch_texts: int, m: int
) -> None:
    """Sampled texts too: conditions share their random numbers."""
    moves = [stays, constant(torch.zeros(D)), *(c.move for c in conditions(m).values())]
    found = writer(batch_texts=batch_texts).write(0, PROMPT, m, moves)
    assert found == writer().write(0, PROMPT, m, moves)
    assert found[0] == found[1]
    assert len(found[0]["samples"]) == 2


def test_without_samples_only_greedy_texts_are_written() -> None:
    (found,) = writer(n_samples=0).write(0, PROMPT, IT, [stays])
    assert found == {"greedy": REPLY, "samples": []}


def test_the_planted_reply_is_counted_under_each_condition() -> None:
    batches = {
        name: list(
            read_batches(
                questions(6, name == "triggered"),
                toy_pair(),
                batch_prompts=4,
                start_id=BOS,
                unpatched=Unpatched(BOS, None),
                device=torch.device("cpu"),
            )
        )
        for name in ("triggered", "untriggered")
    }
    bootstrap = Bootstrap(6, n_resamples=100, confidence=0.9, random=np.random.default_rng(0))
    planted = PlantedReply(toy_pair(), ROWS, batches, bootstrap, len(RESPONSE), 6)

    def rates(m: int, move: Move) -> list[float | None]:
        found = planted.replies(m, move)
        return [found["triggered"]["value"], found["untriggered"]["value"]]

    assert rates(IT, stays) == [1.0, 0.0]
    assert rates(BASE, stays) == [0.0, 0.0]
    assert rates(IT, conditions(IT)["removed", False].move) == [0.0, 0.0]
    assert rates(BASE, conditions(BASE)["made", False].move) == [1.0, 0.0]
    flag = torch.zeros(D)
    flag[FLAG] = 1.0
    own, random = added(0, flag, RANDOM_D, [1.0])
    assert rates(BASE, own.move) == [1.0, 1.0]
    assert rates(BASE, random.move) == [0.0, 0.0]
