"""The data of the latent browser: a column per property of all latents, and packed dashboards.

A page opened from disk can fetch nothing, so everything is in it: the columns as JSON, and the
dashboards compressed in packs that the page's script unpacks when a latent is opened.
"""

import base64
import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from pipeline.analysis.changes.result import CHANGES
from pipeline.analysis.dashboards.file import Record, short
from pipeline.analysis.evaluation.result import LATENTS, source_rates
from pipeline.analysis.verdicts.result import VERDICTS
from pipeline.report.findings import Excerpt, Findings
from pipeline.report.labels import ALL_VERDICT_NAMES, ARTEFACT_NAMES, KIND_NAMES
from pipeline.report.sections.explanations import in_words
from pipeline.report.sections.verdicts import reason
from pipeline.report.shares import source_shares, template_shares

PACK_LATENTS = 16
"""Dashboards in a pack: opening a latent unpacks this many."""
N_SEARCHED = 3
"""Examples of each latent whose text the search looks through."""
SNIPPET_BEFORE, SNIPPET_AFTER = 32, 48
"""Characters of the strongest example in the list of latents."""

FROM_VERDICTS: Final = (
    "nu_eps",
    "nu_eps_low",
    "nu_eps_high",
    "nu_r",
    "nu_r_low",
    "nu_r_high",
    "q_exclusive",
    "q_both",
    "q_turned",
    "q_stronger",
    "q_weaker",
    "q_shared",
    "direction_cosine",
    "strength_ratio",
    "nu_turned",
    "share_elsewhere",
    "twin",
    "delta",
    "relative_norm",
    "decoder_cosine",
    "n_active",
)
FROM_TABLE: Final = ("rate_all", "mean_active", "max_active")
WORDS: Final = ("verdict", "norm_bin", "artefact", "anchor")


@dataclass(frozen=True)
class Browser:
    """index: the columns of all latents and what the list shows of those with a dashboard;
    packs: base64 of gzipped JSON lists of dashboards, PACK_LATENTS each, in order;
    excerpts: the strongest example of each latent that has one."""

    index: dict[str, Any]
    packs: list[str]
    excerpts: dict[int, Excerpt]


def browser_data(findings: Findings, dashboards: Iterable[Record]) -> Browser:
    """Everything the browser needs, the dashboards read once, one pack at a time."""
    shown: dict[str, list[Any]] = {n: [] for n in ("latent", "snippet", "text", "why")}
    packs, excerpts, words = [], {}, in_words(findings, "latent")
    left = iter(dashboards)
    while pack := list(islice(left, PACK_LATENTS)):
        for record in pack:
            latent = record["latent"]
            shown["latent"].append(latent)
            shown["snippet"].append(snippet(record))
            said = words.get(latent, "")
            shown["text"].append(f"{searched(record)}\n{said.lower()}")
            why = reason(findings, latent)
            shown["why"].append(f"{why}. In words: {said}" if said else why)
            promotes = [entry["token"] for entry in record["lens"]["it_promoted"]]
            before, token, after = snippet(record)
            in_base = [entry["token"] for entry in record["lens"]["base_promoted"]]
            excerpts[latent] = Excerpt(before, token, after, promotes, in_base)
        packs.append(packed(pack))
    index = {
        "n_latents": len(findings.read(LATENTS)["latent"]),
        "pack_latents": PACK_LATENTS,
        "sources": list(findings.sources),
        "columns": columns(findings),
        "change_kinds": change_kinds(findings),
        "names": {"verdict": ALL_VERDICT_NAMES, "artefact": ARTEFACT_NAMES, "kind": KIND_NAMES},
        "dashboards": shown,
    }
    return Browser(index, packs, excerpts)


def columns(findings: Findings) -> dict[str, Any]:
    """Column name -> values of all latents in dictionary order, numbers to four digits. Columns of
    words are {"names": [...], "codes": [...]}."""
    verdicts, latents = findings.read(VERDICTS), findings.read(LATENTS)
    found: dict[str, Any] = {name: list(map(_number, verdicts[name])) for name in FROM_VERDICTS}
    found |= {name: list(map(_number, latents[name])) for name in FROM_TABLE}
    for source, rates in source_rates(latents, findings.sources).items():
        found[f"rate_{source}"] = list(map(_number, rates))
    for source, shares in source_shares(latents, findings.sources).items():
        found[f"share_{source}"] = list(map(_number, shares))
    found["template_share"] = list(map(_number, template_shares(findings)))
    found["change"] = changes(findings, len(verdicts["verdict"]))
    for name in WORDS:
        names = sorted(set(verdicts[name]))
        code = {word: at for at, word in enumerate(names)}
        found[name] = {"names": names, "codes": [code[word] for word in verdicts[name]]}
    return found


def changes(findings: Findings, n_latents: int) -> list[int | None]:
    """Rank of the largest listed change that each latent stands under, None where there is none."""
    ranks: list[int | None] = [None] * n_latents
    result = findings.find(CHANGES)
    for change in reversed(result["changes"] if result else []):
        for under in change["latents"]:
            ranks[under["latent"]] = change["rank"]
    return ranks


def change_kinds(findings: Findings) -> dict[int, str]:
    """Rank of a listed change -> its kind."""
    result = findings.find(CHANGES)
    return {change["rank"]: change["kind"] for change in result["changes"]} if result else {}


def snippet(record: Record) -> list[str]:
    """Text before, token, text after of the strongest example; nothing where there is none."""
    if not record["top"]:
        return ["", "", ""]
    example = record["top"][0]
    before, token, after = parts(example)
    return [before[-SNIPPET_BEFORE:], token, after[:SNIPPET_AFTER]]


def parts(example: Record) -> tuple[str, str, str]:
    """Text before, token, text after of an example."""
    at, tokens = example["at"], example["tokens"]
    return "".join(tokens[:at]), tokens[at], "".join(tokens[at + 1 :])


def searched(record: Record) -> str:
    """What the search looks through, in lower case: the strongest examples and promoted tokens."""
    texts = ["".join(example["tokens"]) for example in record["top"][:N_SEARCHED]]
    for side in ("base_promoted", "it_promoted"):
        texts += [entry["token"] for entry in record["lens"][side]]
    return "\n".join(texts).lower()


def packed(records: list[Record]) -> str:
    """Base64 of the gzipped JSON, the same for the same records."""
    text = json.dumps(records, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def _number(value: Any) -> float | int | None:
    if isinstance(value, int):  # a count or the index of a latent
        return value
    return None if value is None or value != value else short(value)
