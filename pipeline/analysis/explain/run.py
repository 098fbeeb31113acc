"""A sentence for each change and latent, written from some examples and judged on others.

Letters: N rows, J subjects, L latents, D d_model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.analysis.changes.lines import Lines
from pipeline.analysis.changes.measure import Changes
from pipeline.analysis.changes.result import CHANGES as LIST
from pipeline.analysis.changes.result import Change
from pipeline.analysis.dashboards.token_text import Pieces
from pipeline.analysis.explain.asking import (
    EXPLANATION_FORM,
    JUDGEMENT_FORM,
    explain_messages,
    judge_messages,
    read_explanation,
    read_judgement,
)
from pipeline.analysis.explain.dialogue import Dialogue, LimitReachedError, Transcript
from pipeline.analysis.explain.examples import COLUMNS, Chosen, choose
from pipeline.analysis.explain.result import Detection, Explanation, Explanations
from pipeline.analysis.explain.writers import Writer
from pipeline.analysis.heldout import as_float, spread_blocks
from pipeline.analysis.lens import logit_lens
from pipeline.analysis.opening import Opened
from pipeline.config.explain import ExplainConfig
from pipeline.progress import Progress
from pipeline.runtime import numpy_generator
from pipeline.stage import CHANGES, DATA, HELDOUT_ACTIVATIONS, RESULTS, TOKENS

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


def explained(opened: Opened, writer: Writer) -> Explanations:
    """What `results/explanations.json` holds. EndpointError ends the run; what was answered is kept
    and is not asked again."""
    section = opened.config.explain
    changes = Changes(Lines.load(CHANGES).to(opened.device))
    subjects = [*first_changes(section, changes.n), *first_latents(opened)]
    activity_NJ, columns = activities(opened, changes, subjects)
    texts = Excerpts(opened, columns)
    dialogue = Dialogue(
        writer,
        Transcript(TRANSCRIPT),
        section.n_attempts,
        section.max_answer_tokens,
        section.max_requests,
        section.max_tokens,
    )
    found = list[Explanation]()
    with Progress("explain", total=len(subjects), unit="sentences") as progress:
        for subject, activity_N in zip(subjects, activity_NJ.T, strict=True):
            random = numpy_generator(section.seed, "explain", subject.kind, str(subject.index))
            chosen = choose(
                activity_N,
                columns,
                n_shown=section.n_shown,
                n_judged=section.n_judged,
                random=random,
            )
            found.append(explain_one(subject, chosen, texts, dialogue, random))
            progress.advance(1)
    scores = [one["detection"]["score"] for one in found if one["detection"]]
    return {
        "applicable": True,
        "writer": writer.name,
        "n_answers": dialogue.n_answers,
        "n_tokens": dialogue.n_tokens,
        "mean_score": float(np.mean(scores)) if scores else None,
        "explanations": found,
    }


def explain_one(
    subject: Subject,
    chosen: Chosen | None,
    texts: Callable[[NDArray[np.int64]], list[str]],
    dialogue: Dialogue,
    random: np.random.Generator,
) -> Explanation:
    """The sentence of a subject and its score, as far as the writer gives them."""
    one: Explanation = {
        "kind": subject.kind,
        "number": subject.number,
        "explanation": None,
        "detection": None,
        "reason": TOO_FEW,
    }
    if chosen is None:
        return one
    try:
        request = explain_messages(texts(chosen.shown), subject.promotes)
        one["explanation"] = sentence = dialogue.ask(request, EXPLANATION_FORM, read_explanation)
        one["reason"] = NO_ANSWER
        if sentence is not None:
            one["detection"] = detection(sentence, chosen, texts, dialogue, random)
    except LimitReachedError as limit:
        return {**one, "reason": str(limit)}
    return {**one, "reason": "" if one["detection"] else NO_ANSWER}


def detection(
    sentence: str,
    chosen: Chosen,
    texts: Callable[[NDArray[np.int64]], list[str]],
    dialogue: Dialogue,
    random: np.random.Generator,
) -> Detection | None:
    """The sentence judged on examples in random order; None where no answer had the right form."""
    parts = (chosen.active, chosen.near, chosen.other)
    rows, group = np.concatenate(parts), np.repeat(np.arange(3), [len(part) for part in parts])
    order = random.permutation(len(rows))
    called = dialogue.ask(
        judge_messages(sentence, texts(rows[order])),
        JUDGEMENT_FORM,
        lambda answer: read_judgement(answer, len(rows)),
    )
    if called is None:
        return None
    is_called = np.isin(np.arange(1, len(rows) + 1), list(called))
    n_called = [int(is_called[group[order] == g].sum()) for g in range(3)]
    n_inactive = len(chosen.near) + len(chosen.other)
    kept = 1 - (n_called[1] + n_called[2]) / n_inactive
    return {
        "score": (n_called[0] / len(chosen.active) + kept) / 2,
        "n_active": len(chosen.active),
        "n_found": n_called[0],
        "n_near": len(chosen.near),
        "n_near_called": n_called[1],
        "n_other": len(chosen.other),
        "n_other_called": n_called[2],
    }


def first_changes(section: ExplainConfig, n_lined: int) -> list[Subject]:
    """The first changes of the list, less the shifts, which act on every token."""
    n = section.n_lens_tokens
    return [
        Subject("change", change["rank"], change["change"], promoted(change)[:n])
        for change in listed()[: section.n_changes]
        if change["change"] < n_lined
    ]


def listed() -> list[Change]:
    result = LIST.read_applicable(RESULTS)
    return result["changes"] if result else []


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
    lists = logit_lens(
        (opened.head("base"), opened.head("it")),
        crosscoder.denormalise(crosscoder.W_dec.detach()[list(latents)]),
        n_tokens=n,
        n_vocab=len(opened.tokenizer),
    )
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
