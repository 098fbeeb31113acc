"""The card of a crosscoder that is given away: `README.md`, in the form of the Hub's model cards.

It says what the weights are and were made with, what a run measured of them, and what to feed them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import read_manifest
from pipeline.claims import CLAIMS, Claim, ClaimsFile, FirstScreen
from pipeline.crosscoder.layouts import Layout
from pipeline.crosscoder.weights import Weights
from pipeline.errors import MismatchError
from pipeline.paths import expanded
from pipeline.results import Measured
from pipeline.stage import first_difference

CARD = "README.md"
LIBRARY = "crosscoder-pipeline"
TAGS = ("crosscoder", "model-diffing", "sparse-autoencoder", "interpretability")
MARKUP = re.compile(r"([\\`*_\[\]<>#|~&$]|:(?=//))")
"""Characters that Markdown or the Hub would read as more than themselves."""

Pairs = Sequence[tuple[str, str]]


def model_card(weights: Weights, repo: str, layout: Layout, results: Path | str | None) -> str:
    """The card. repo: by which it will be loaded; results: the folder of a run's results, whose
    figures it tells; None for none. MismatchError where these are of another crosscoder."""
    n_models, d_model, n_latents = weights.shape
    provenance = weights.provenance
    recipe = [
        (f"{section}.{name}", _escaped(f"{value}"))
        for section in ("crosscoder", "train", "mix", "dump")
        for name, value in (provenance.get(section) or {}).items()
    ]
    last = (provenance.get("training") or {}).get("last") or {}
    lines = [
        f"A `{weights.kind}` crosscoder over {n_models} models: "
        f"{n_latents:,} latents, d_model {d_model:,}.",
        "",
        *_pair(provenance),
        "",
        *(_found(_results_of(weights, expanded(results)), n_latents) if results else []),
        *_table("Recipe", recipe),
        *_table("Last batch of training", [(name, f"{value}") for name, value in last.items()]),
        *_use(weights, repo, layout),
    ]
    return f"---\n{_front(provenance)}---\n\n" + "\n".join(lines)


def _front(provenance: Mapping[str, Any]) -> str:
    """The card's YAML; models that are on the Hub as those that it is based on."""
    from huggingface_hub import ModelCardData

    specs = _models(provenance).values()
    repos = [spec["repo"] for spec in specs if spec.get("kind") == "hub"]
    data = ModelCardData(library_name=LIBRARY, tags=list(TAGS), base_model=repos or None)
    return data.to_yaml() + "\n"


def _models(provenance: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    named = provenance.get("models") or {}
    return {name: named[name] for name in ("base", "it") if name in named}


def _pair(provenance: Mapping[str, Any]) -> list[str]:
    """What was compared, and where. Of a local folder the last name: its path tells nobody else
    anything."""
    lines = []
    for number, (name, spec) in enumerate(_models(provenance).items()):
        source = spec.get("repo") or Path(spec.get("path") or spec.get("kind") or "").name
        revision = f" at revision `{spec['revision']}`" if spec.get("revision") else ""
        lines.append(f"- model {number}, {name}: `{source}`{revision}")
    if "layer" in (provenance.get("hook_point") or {}):
        layer = provenance["hook_point"]["layer"]
        lines.append(f"- hook point: `hidden_states[{layer}]`, what enters block {layer}")
    return lines


def _results_of(weights: Weights, results: Path) -> ClaimsFile:
    """What the page of `results` claims, if the page is of these weights."""
    claims = CLAIMS.read(results)
    path = results / f"{CLAIMS.stage}.manifest.json"
    lineage = read_manifest(path, CLAIMS.stage).lineage
    for section in ("crosscoder", "train", "models", "hook_point"):
        made_with = weights.provenance.get(section)
        difference = first_difference(section, lineage.get(section), made_with)
        if difference:
            key, found, expected = difference
            raise MismatchError(
                f"{results} is of a crosscoder with {key} = {found!r}, but this one has "
                f"{expected!r}: name the results of this one, or leave them out"
            )
    return claims


def _found(claims: ClaimsFile, n_latents: int) -> list[str]:
    """The sections of what a run found: how well the weights fit, and what they showed."""
    screen = claims.get("first_screen")
    if screen is None:
        return []
    failings = "".join(
        f" The crosscoder is no basis for conclusions: {text}." for text in screen["failings"]
    )
    return [
        *_table("Figures", _figures(screen, n_latents)),
        "On held-out text; brackets hold intervals over blocks of documents. "
        "FVE is the fraction of variance explained.",
        "",
        "## What it showed",
        "",
        _escaped(
            " ".join(text for text in (screen["lead"] + failings, screen["behaviour"]) if text)
        ),
        "",
        *_list(_change(claim) for claim in claims["changes"][: screen["n_shown"]]),
        *_list(_escaped(text) for text in screen["cautions"]),
    ]


def _change(claim: Claim) -> str:
    """A change in words, with its kind, its share and its tokens as they are."""
    kind, measured = claim.get("kind", "").replace("_", " "), claim.get("measured")
    share = measured["share"]["value"] if measured else None
    head = [kind, f"{share:.1%} of the difference" if share is not None else ""]
    told = [f"{', '.join(word for word in head if word)}:"] if any(head) else []
    told.append(claim["says"])
    for what, tokens in (("acts on", claim.get("acts_on")), ("promotes", claim.get("promotes"))):
        if tokens:
            told.append(f"It {what} {', '.join(f'“{token}”' for token in tokens)}.")
    return _escaped(" ".join(told))


def _list(entries: Iterable[str]) -> list[str]:
    return [*(f"- {entry}" for entry in entries), ""]


def _figures(screen: FirstScreen, n_latents: int) -> Pairs:
    fit, exclusive = screen["fit"], screen["exclusive"]
    verdicts = ", ".join(f"{n:,} {name}" for name, n in exclusive["verdicts"].items() if n)
    found = [
        ("L0, latents on per token", _measured(fit["l0"])),
        ("FVE, both models", _measured(fit["fve"])),
        ("FVE of the difference of the models", _measured(fit["fve_difference"])),
        *(
            (f"cross entropy lost when spliced into {name}, nats", _measured(figure))
            for name, figure in fit["delta_ce"].items()
        ),
        ("dead latents", f"{n_latents - exclusive['n_live']:,} of {n_latents:,}"),
        ("verdicts on live latents", _escaped(verdicts)),
    ]
    if accounted := screen["accounted"]:
        found += [
            (
                "changes listed",
                f"{accounted['n_listed']:,} of {accounted['n_found']:,} directions and two shifts",
            ),
            ("share of the difference in them", f"{accounted['share_listed']:.3f}"),
        ]
    return [
        *found,
        *(
            (f"of the difference, explained by {_escaped(rival['name'])}", _measured(explained))
            for rival in screen["rivals"]
            if (explained := rival["explained"])["value"] is not None
        ),
    ]


def _measured(figure: Measured) -> str:
    if figure["value"] is None:
        return "not defined"
    told = f"{figure['value']:.4g}"
    return (
        told if figure["low"] is None else f"{told} ({figure['low']:.4g} to {figure['high']:.4g})"
    )


def _table(title: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    """A section of one table, or nothing where there is nothing to tell."""
    cells = [f"| {name} | {value} |" for name, value in rows]
    return [f"## {title}", "", "| | |", "|---|---|", *cells, ""] if cells else []


def _escaped(text: str) -> str:
    """Text on one line, as it is: it may hold tokens of anyone's documents, which are no markup."""
    kept = "".join(c if c.isprintable() else " " for c in text)
    return MARKUP.sub(r"\\\1", " ".join(kept.split()))


def _use(weights: Weights, repo: str, layout: Layout) -> list[str]:
    """How to load it with this library, and what to do with the tensors without it."""
    return [
        "## Use",
        "",
        "```python",
        "from pipeline.crosscoder import Crosscoder",
        "",
        f'crosscoder = Crosscoder.from_pretrained("{repo}")',
        "f = crosscoder.latents(x_raw)  # raw activations [row, model, d_model]",
        "```",
        "",
        f"The files are in the layout `{layout}`. {_input(weights)}",
        "",
    ]


def _input(weights: Weights) -> str:
    """What to feed the tensors, for who reads them without this library."""
    if weights.activation_scale is None:
        return (
            "The tensors take normalised activations; the factors are not known. Measure them: for "
            "each model √d_model over the mean norm of its raw activations, BOS left out."
        )
    factors = weights.activation_scale.tolist()
    if all(factor == 1 for factor in factors):
        return "The tensors take raw activations: the normalisation is folded into them."
    return (
        f"The tensors take the raw activations of model m times its factor s_m, {factors}, and "
        "what they decode is divided by it. To feed raw activations instead, fold the factors in: "
        "multiply W_enc of model m by s_m, divide its W_dec and b_dec by s_m "
        "(`crosscoder.folded()`). Compare decoder norms before folding, not after."
    )
