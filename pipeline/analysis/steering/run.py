"""Changes and position differences turned up and down: what both models then write."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.changes.measure import Changes
from pipeline.analysis.changes.result import listed
from pipeline.analysis.changes.rows import ChangeRows
from pipeline.analysis.opening import Opened
from pipeline.analysis.splicing import HookedModel
from pipeline.analysis.steering.moves import Condition, added, change_conditions
from pipeline.analysis.steering.planted import PlantedReply, planted_reply
from pipeline.analysis.steering.result import CONDITIONS, Clean, Steered, Steering, Subject, Written
from pipeline.analysis.steering.writing import Writer, stays
from pipeline.errors import ConfigError
from pipeline.labels import MODELS as NAMES
from pipeline.models.template import read_template
from pipeline.progress import Progress
from pipeline.results import NotApplicable, ResultFile, not_applicable
from pipeline.runtime import generator
from pipeline.stage import MODELS, RESULTS
from pipeline.text.template import Document, Dropped, render_text, up_to_reply
from pipeline.text.tokens import encode_documents

Ids = NDArray[np.int64]


def steer(opened: Opened) -> Steering | NotApplicable:
    """What `results/steering.json` holds."""
    if not opened.config.has_models:
        return not_applicable("the experiment has no models that could write")
    section = opened.config.steering
    rows, subjects = change_rows(opened), list[Subject]()
    conditions_M = [conditions(opened, rows, m, subjects) for m in range(len(NAMES))]
    if not subjects:
        return not_applicable("no change is listed, and no position of the text was read")
    documents, models = read_prompts(opened), opened.hooked_models()
    prompts = encode_prompts(opened, documents)
    writer = make_writer(opened, models, rows, len(prompts))
    planted = planted_reply(opened, models, rows)
    with Progress("steering", total=len(NAMES) * len(prompts), unit="prompts") as progress:
        clean = [
            write_model(m, given, prompts, subjects, writer, planted, progress)
            for m, given in enumerate(conditions_M)
        ]
    return {
        "applicable": True,
        "conditions": CONDITIONS,
        "prompts": [document.text for document in documents],
        "n_tokens": section.n_tokens,
        "temperature": section.temperature,
        "n_planted": planted.n_prompts if planted else 0,
        "confidence": opened.config.organism.confidence,
        "clean": clean,
        "subjects": subjects,
    }


def change_rows(opened: Opened) -> ChangeRows:
    """The changes that were found, to read rows by."""
    return ChangeRows(Changes.found(opened.device), opened.config.changes)


def conditions(
    opened: Opened, rows: ChangeRows, m: int, subjects: list[Subject]
) -> list[Condition]:
    """Every condition of model `m`: of the first changes of the list, and of the positions. With
    the first model the subjects are written down."""
    section, found = opened.config.steering, list[Condition]()
    named = list[tuple[str, int]]()
    for entry in listed()[: section.n_changes]:
        number = entry["change"]
        random = generator(section.seed, "steering", "direction", str(number))
        given = change_conditions(
            len(named),
            rows,
            number,
            m,
            length=entry["norm"],
            factors=section.change_factors,
            random_D=unit(torch.randn(rows.d_model, generator=random)).to(opened.device),
        )
        found += given
        named.append(("change", entry["rank"]))
    for row in position_rows():
        vectors = (
            torch.tensor(row[name], device=opened.device) for name in ("difference", "random")
        )
        own, random_D = (row[f"norm_{NAMES[m]}"] * unit(vector) for vector in vectors)
        found += added(len(named), own, random_D, section.position_factors)
        named.append(("position", row["position"]))
    if not subjects:
        subjects += [Subject(kind=kind, number=number, steered=[]) for kind, number in named]
    return found


def position_rows() -> list[dict[str, Any]]:
    """What `baselines` found at each position of unrelated text; empty where it read none."""
    return ResultFile("positions.parquet", "baselines", dict).frame(RESULTS).to_dict("records")


def unit(vector_D: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vector_D, dim=0)


def make_writer(
    opened: Opened, models: tuple[HookedModel, HookedModel], rows: ChangeRows, n_prompts: int
) -> Writer:
    """The writer of every continuation."""
    section, end = opened.config.steering, opened.tokenizer.eos_token_id
    random = generator(section.seed, "steering", "samples")
    shape = (n_prompts, section.n_samples, section.n_tokens)
    return Writer(
        models=models,
        rows_of=rows,
        uniform_PST=torch.rand(shape, generator=random, dtype=torch.float64),
        temperature=section.temperature,
        batch_texts=section.batch_texts,
        n_tokens=section.n_tokens,
        unpatched=opened.unpatched,
        decode=lambda ids: opened.decode(ids[: ids.index(end)] if end in ids else ids),
        device=opened.device,
    )


def write_model(
    m: int,
    given: Sequence[Condition],
    prompts: Sequence[Ids],
    subjects: Sequence[Subject],
    writer: Writer,
    planted: PlantedReply | None,
    progress: Progress,
) -> Clean:
    """Everything that model `m` writes: what it does under each condition goes to the subjects,
    what it does as it is is returned."""
    moves, texts_PC = [stays, *(condition.move for condition in given)], list[list[Written]]()
    for at, ids in enumerate(prompts):
        texts_PC.append(writer.write(at, ids, m, moves))
        progress.advance(1)
    clean_P, *texts_CP = ([texts_C[c] for texts_C in texts_PC] for c in range(len(moves)))
    for c, own in enumerate(given):
        if own.is_random:
            continue
        twin = c + 1  # each condition is followed by its random twin
        steered: Steered = {
            "model": NAMES[m],
            "condition": own.name,
            "factor": own.factor,
            "texts": texts_CP[c],
            "random": texts_CP[twin],
        }
        if planted:
            steered["replies"] = planted.replies(m, own.move)
            steered["random_replies"] = planted.replies(m, given[twin].move)
        subjects[own.subject]["steered"].append(steered)
    clean: Clean = {"model": NAMES[m], "texts": clean_P}
    if planted:
        clean["replies"] = planted.replies(m, stays)
    return clean


def read_prompts(opened: Opened) -> list[Document]:
    """Questions in the mix's template, and beginnings as they stand."""
    section = opened.config.steering
    template = read_template(MODELS).template(opened.tokenizer)
    found: list[Document | Dropped] = [up_to_reply(q, template) for q in section.questions]
    found += [render_text(0, text, "steering.beginnings") for text in section.beginnings]
    keys = [f"steering.questions[{n}]" for n in range(len(section.questions))]
    keys += [f"steering.beginnings[{n}]" for n in range(len(section.beginnings))]
    return [_given(document, key) for document, key in zip(found, keys, strict=True)]


def _given(document: Document | Dropped, key: str) -> Document:
    if isinstance(document, Document):
        return document
    raise ConfigError(f"{key} is empty, or the template cannot write it: give it some other text")


def encode_prompts(opened: Opened, documents: Sequence[Document]) -> list[Ids]:
    """[S] tokens of each."""
    start = [] if opened.start_id is None else [opened.start_id]
    return [
        np.concatenate([start, encoded.token_ids]).astype(np.int64)
        for encoded in encode_documents(opened.tokenizer, documents)
    ]
