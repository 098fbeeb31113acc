"""A sentence for each change and latent, written from some examples and judged on others.

Letters: N rows, J subjects, L latents, D d_model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.analysis.changes.measure import Changes
from pipeline.analysis.changes.result import Change, listed
from pipeline.analysis.explain.dialogue import LimitReachedError
from pipeline.analysis.explain.examples import COLUMNS, Chosen, Ints, choose
from pipeline.analysis.explain.result import Detection, Explanation, Explanations
from pipeline.analysis.explain.scores import ACTIVE, NEAR, OTHER, detection, means
from pipeline.analysis.explain.ways import Way
from pipeline.analysis.heldout import as_float, spread_blocks
from pipeline.analysis.opening import Opened
from pipeline.config.explain import ExplainConfig
from pipeline.progress import Progress
from pipeline.runtime import numpy_generator
from pipeline.stage import DATA, HELDOUT_ACTIVATIONS, TOKENS
from pipeline.text.pieces import Pieces

T = TypeVar("T")
Texts = Callable[[Ints], list[str]]
"""Rows as excerpts."""
TRANSCRIPT = DATA / ".work/explain.jsonl"
TOO_FEW = "it is active in too few documents to show some and to judge by others"
NO_ANSWER = "no answer of the writer had the form asked for"


@dataclass(frozen=True)
class Subject:
    """What is explained. kind, number: as in Explanation; index: its number among the changes that
    have lines, or the latent; promotes: tokens"""

    kind: str
    number: int
    index: int
    promotes: list[str]


def explained(opened: Opened, way: Way) -> Explanations:
    """What `results/explanations.json` holds. EndpointError ends the run; what was answered is kept
    and is not asked again."""
    section = opened.config.explain
    changes = Changes.found(opened.device)
    subjects = [*first_changes(section, changes.n), *first_latents(opened)]
    activity_NJ, columns = activities(opened, changes, subjects)
    cases = [
        case_of(subject, activity_N, columns, section)
        for subject, activity_N in zip(subjects, activity_NJ.T, strict=True)
    ]
    found = explain_all(cases, Excerpts(opened, columns), way, section.confidence)
    return {
        "applicable": True,
        "writer": way.dialogue.writer.name,
        "judged_by": way.judged_by,
        "confidence": section.confidence,
        "n_answers": way.dialogue.n_answers,
        "n_tokens": way.dialogue.n_tokens,
        "means": means(found, section.confidence),
        "explanations": found,
    }


@dataclass(frozen=True)
class Case:
    """A subject with its examples, None where it is active in too few documents. order: in which
    the judged ones are given"""

    subject: Subject
    chosen: Chosen | None
    order: Ints

    @property
    def judged(self) -> Ints:
        """[E] rows that are judged."""
        assert self.chosen is not None
        return np.concatenate([self.chosen.active, self.chosen.near, self.chosen.other])[self.order]

    @property
    def group(self) -> Ints:
        """[E] which of the groups of `scores` each is of."""
        assert self.chosen is not None
        sizes = [len(self.chosen.active), len(self.chosen.near), len(self.chosen.other)]
        return np.repeat([ACTIVE, NEAR, OTHER], sizes)[self.order]


def case_of(
    subject: Subject,
    activity_N: NDArray[np.float32],
    columns: Mapping[str, NDArray[Any]],
    section: ExplainConfig,
) -> Case:
    """The examples of a subject, drawn by a stream of its own."""
    random = numpy_generator(section.seed, "explain", subject.kind, str(subject.index))
    n_shown, n_judged = section.n_shown, section.n_judged
    chosen = choose(activity_N, columns, n_shown=n_shown, n_judged=n_judged, random=random)
    n = len(chosen.active) + len(chosen.near) + len(chosen.other) if chosen else 0
    return Case(subject, chosen, random.permutation(n))


def explain_all(
    cases: Sequence[Case], texts: Texts, way: Way, confidence: float
) -> list[Explanation]:
    """A sentence for each case, its scores, and those of another case's sentence, as far as the
    writer and the limits give them."""
    found = [blank(case) for case in cases]
    with Progress("explain", total=3 * len(cases), unit="answers") as progress:
        for one, case in zip(found, cases, strict=True):
            if case.chosen is not None:
                shown = texts(case.chosen.shown)
                explain = partial(way.explain, shown, case.subject.promotes)
                one["explanation"] = within_limits(one, explain)
            progress.advance(1)
        judge = partial(judged, texts=texts, way=way, confidence=confidence)
        for one, case in zip(found, cases, strict=True):
            if one["explanation"]:
                one["detection"] = within_limits(one, partial(judge, case, one["explanation"]))
            progress.advance(1)
        for one, case, other in zip(found, cases, others(found), strict=True):
            if other and one["detection"]:
                one["control"] = within_limits(one, partial(judge, case, other))
            progress.advance(1)
    return found


def blank(case: Case) -> Explanation:
    return {
        "kind": case.subject.kind,
        "number": case.subject.number,
        "explanation": None,
        "detection": None,
        "control": None,
        "reason": TOO_FEW if case.chosen is None else "",
    }


def within_limits(one: Explanation, ask: Callable[[], T | None]) -> T | None:
    """What `ask` gives; None, and why, where it gives nothing or a limit ends the asking."""
    try:
        found = ask()
    except LimitReachedError as limit:
        one["reason"] = str(limit)
        return None
    if found is None:
        one["reason"] = NO_ANSWER
    return found


def judged(
    case: Case, sentence: str, *, texts: Texts, way: Way, confidence: float
) -> Detection | None:
    """A sentence judged on a case's examples; None where no answer had the right form."""
    assert case.chosen is not None
    judgement = way.judge(sentence, texts(case.judged), len(case.chosen.active))
    return detection(judgement, case.group, confidence) if judgement else None


def others(found: Sequence[Explanation]) -> list[str | None]:
    """For each the sentence of another: the one half the list away, so that neighbours, which are
    of a size and may be of a kind, do not stand for each other; None where it says the same."""
    written = [i for i, one in enumerate(found) if one["explanation"]]
    partner = dict[int, str | None]()
    for at, i in enumerate(written):
        other = written[(at + max(1, len(written) // 2)) % len(written)]
        sentence = found[other]["explanation"]
        partner[i] = None if sentence == found[i]["explanation"] else sentence
    return [partner.get(i) for i in range(len(found))]


def first_changes(section: ExplainConfig, n_lined: int) -> list[Subject]:
    """The first changes of the list, less the shifts, which act on every token."""
    n = section.n_lens_tokens
    return [
        Subject("change", change["rank"], change["change"], promoted(change)[:n])
        for change in listed()[: section.n_changes]
        if change["change"] < n_lined
    ]


def promoted(change: Change) -> list[str]:
    """The tokens that a change promotes in the model that has it."""
    side = "promotes_in_base" if change["kind"] == "lost" else "promotes_in_it"
    return [token for token, _ in change[side]]


def first_latents(opened: Opened) -> list[Subject]:
    """The latents under these changes, then the exclusive ones that fire most."""
    section = opened.config.explain
    if not section.n_latents:
        return []
    under = [u["latent"] for change in listed()[: section.n_changes] for u in change["latents"]]
    table = opened.latents()
    is_exclusive = table["verdict"].isin(["it_only", "base_only"]).to_numpy()
    by_rows = np.argsort(-table["n_active"].to_numpy(), kind="stable")
    under += by_rows[is_exclusive[by_rows]].tolist()
    latents = list(dict.fromkeys(under))[: section.n_latents]
    return [
        Subject("latent", latent, latent, promotes)
        for latent, promotes in zip(latents, latent_lens(opened, latents), strict=True)
    ]


def latent_lens(opened: Opened, latents: Sequence[int]) -> list[list[str]]:
    """The tokens that each latent's IT decoder promotes."""
    crosscoder, n = opened.crosscoder(), opened.config.explain.n_lens_tokens
    if not n or not latents:
        return [[] for _ in latents]
    lists = opened.lens(crosscoder.denormalise(crosscoder.W_dec.detach()[list(latents)]), n)
    name = Pieces(opened.tokenizer).single
    return [[name(int(token)) for token in row] for row in lists["it_promoted"].token_JK]


@torch.inference_mode()
def activities(
    opened: Opened, changes: Changes, subjects: Sequence[Subject]
) -> tuple[NDArray[np.float32], Mapping[str, NDArray[Any]]]:
    """[N, J] how strongly each subject acts on held-out rows, and where the rows stand."""
    section = opened.config.explain
    lined = [s.index for s in subjects if s.kind == "change"]
    latents = [s.index for s in subjects if s.kind == "latent"]
    crosscoder = opened.crosscoder() if latents else None
    parts, columns = list[NDArray[np.float32]](), {name: list[Any]() for name in COLUMNS}
    with opened.reader(HELDOUT_ACTIVATIONS) as reader:
        for block in spread_blocks(reader.n_rows, section.n_rows, section.batch_rows):
            x_BMD = as_float(reader.read("activations", *block), opened.device)
            found = [changes.activity(x_BMD, opened.config.changes).h_BJ.abs()[:, lined]]
            if crosscoder is not None:
                found.append(crosscoder.latents(x_BMD)[:, latents])
            parts.append(torch.cat(found, dim=1).float().cpu().numpy())
            for name, kept in columns.items():
                kept.append(reader.read(name, *block))
    return np.concatenate(parts), {name: np.concatenate(c) for name, c in columns.items()}


class Excerpts:
    """Rows as text, the row's token between << and >>."""

    def __init__(self, opened: Opened, columns: Mapping[str, NDArray[Any]]) -> None:
        self._opened, self._columns = opened, columns
        self._pieces = Pieces(opened.tokenizer)

    def __call__(self, rows: NDArray[np.int64]) -> list[str]:
        section = self._opened.config.explain
        with self._opened.reader(TOKENS) as tokens:
            ids_NS = tokens.take("token_id", self._columns["sequence"][rows].astype(np.int64))
        texts = []
        for ids, at in zip(ids_NS, self._columns["position"][rows].tolist(), strict=True):
            # What begins the sequence is no text.
            start = max(1, at - section.tokens_before)
            pieces = self._pieces.of(ids[start : at + 1 + section.tokens_after].tolist())
            before, after = "".join(pieces[: at - start]), "".join(pieces[at - start + 1 :])
            texts.append(f"{before}<<{pieces[at - start]}>>{after}")
        return texts
