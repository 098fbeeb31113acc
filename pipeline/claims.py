"""What is claimed of a pair of models, for a program to read: `results/findings.json`.

`docs/findings.md` explains the file and `docs/findings.schema.json` is its JSON Schema, made from
the types below. The fields that a file must have are few, so that a person's list, or a program's,
can be written down in the same form and held against the same truth (`stages.grade`); what the
project's own run measured stands beside each claim under `measured`, and under `first_screen`.
"""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from pipeline.errors import MissingArtifactError, SourceError
from pipeline.results import Measured, ResultFile

VERSION: Final = 1
Kind = Literal[
    "new", "lost", "moved", "turned", "stronger", "weaker", "mean_shift", "scale_shift", "undecided"
]
Count = Annotated[int, Field(ge=0)]
_CLOSED = with_config(ConfigDict(extra="forbid"))
"""A misspelt field is refused instead of ignored."""


def _says(what: str) -> Any:
    """What a field holds, for the JSON Schema."""
    return Field(description=what)


@_CLOSED
class Example(TypedDict):
    """A token on which a change acts, with the text before it."""

    token: Annotated[str, _says("the token, as it decodes")]
    before: Annotated[str, _says("the text before it")]
    after: NotRequired[Annotated[str, _says("the text after it")]]
    sequence: NotRequired[Annotated[Count, _says("its sequence in data/tokens.zarr, from 0")]]
    position: NotRequired[Annotated[Count, _says("its position in that sequence, from 0")]]
    document: NotRequired[Annotated[Count, _says("its document")]]
    strength: NotRequired[
        Annotated[
            FiniteFloat, _says("how strongly the change acts there; below 0: the other way round")
        ]
    ]


@_CLOSED
class LatentClaim(TypedDict):
    """A crosscoder latent that fires with a change."""

    latent: Annotated[Count, _says("its number in the dictionary, from 0")]
    verdict: Annotated[str, _says("whether it is exclusive to a model, and how sure")]
    correlation: Annotated[float, _says("of its activity with that of the change")]
    cosine: Annotated[float, _says("of the difference of its decoders with the change's direction")]


@_CLOSED
class Evidence(TypedDict):
    """The figures that decide a change and its kind; each is explained in changes.json."""

    p_share: float
    q_share: float
    p_kind: float
    q_kind: float
    cosine: Measured
    strength_ratio: Measured
    n_active: int
    rate: float
    n_effective: float


@_CLOSED
class CausalWeight(TypedDict):
    """Shares of KL(IT || base), null where they were not measured; see changes.json."""

    says: Annotated[str, _says("the same in a sentence, empty where not measured")]
    made: Measured
    undone: Measured
    made_random: Measured


@_CLOSED
class MeasuredChange(TypedDict):
    """What the run measured of a change."""

    likely_kind: Annotated[str, _says("what the figures say, sure or not")]
    share: Annotated[
        Measured, _says("of sum |h_it - h_base|^2 over held-out rows, with its interval")
    ]
    weight: CausalWeight
    evidence: Evidence
    tokens: Annotated[
        list[tuple[str, float]],
        _says("tokens that it acts on most, each with its share of the change"),
    ]
    sources: Annotated[list[tuple[str, float]], _says("each source of text with the same share")]
    latents: list[LatentClaim]


@_CLOSED
class Claim(TypedDict):
    """One thing that fine-tuning changed; the list is in the order of importance."""

    says: Annotated[str, Field(min_length=1, description="what is different, in words")]
    kind: NotRequired[Annotated[Kind, _says("see docs/changes.md; left out: not said")]]
    acts_on: NotRequired[
        Annotated[
            list[str], Field(min_length=1, description="the tokens it acts on, as they decode")
        ]
    ]
    direction: NotRequired[
        Annotated[
            list[FiniteFloat], _says("[d_model] of the difference at the hook point; any length")
        ]
    ]
    change: NotRequired[Annotated[Count, _says("number by which this run's data/changes knows it")]]
    examples: NotRequired[Annotated[list[Example], _says("the strongest first")]]
    promotes: NotRequired[Annotated[list[str], _says("tokens that the change makes likelier")]]
    measured: NotRequired[MeasuredChange]


@_CLOSED
class Accounted(TypedDict):
    """How much of the difference the list accounts for."""

    n_rows: Annotated[int, _says("held-out rows that it was measured on")]
    n_found: Annotated[int, _says("directions found, beside the two shifts")]
    n_listed: int
    share_listed: Annotated[float, _says("of the squares of the difference")]
    share_not_listed: Annotated[float | None, _says("too small or too unsure to list")]
    share_left: Annotated[float | None, _says("in no direction that was found")]
    min_share: float
    max_false_discovery_rate: float
    confidence: Annotated[float, _says("of all intervals of the list")]


@_CLOSED
class ExclusiveLatent(TypedDict):
    """A latent that looks exclusive to a model, by its verdict or by its norms."""

    latent: Count
    verdict: str
    why: Annotated[str, _says("the reason of the verdict")]
    relative_norm: float | None
    rate: Annotated[float | None, _says("share of the tokens it fires on")]
    examples: Annotated[list[Example], _says("its strongest one, where there is text")]
    promotes: Annotated[list[str], _says("by its IT decoder")]


@_CLOSED
class Exclusive(TypedDict):
    """What exists in one model alone."""

    says: str
    n_live: Annotated[int, _says("latents that fire at all")]
    verdicts: Annotated[dict[str, int], _says("verdict -> live latents that have it")]
    latents: Annotated[list[ExclusiveLatent], _says("those that no test refutes come first")]


@_CLOSED
class Fit(TypedDict):
    """How well the crosscoder fits."""

    l0: Measured
    fve: Annotated[Measured, _says("of the variance of both models' activations")]
    fve_difference: Annotated[Measured, _says("of that of their difference")]
    delta_ce: Annotated[
        dict[str, Measured], _says("model -> nats lost when spliced in; empty without models")
    ]


@_CLOSED
class Rival(TypedDict):
    """An account of the difference, of which the crosscoder is one."""

    name: str
    l0: Measured
    explained: Annotated[Measured, _says("of the squares of the difference")]
    beyond_mean: Annotated[Measured, _says("of its squares about its mean")]
    kl_removed_first: Annotated[Measured, _says("put into base, on the first tokens of a response")]
    kl_removed_later: Annotated[Measured, _says("on the later ones")]


@_CLOSED
class FirstScreen(TypedDict):
    """What the first screen of the page claims besides the list."""

    experiment: str
    base: Annotated[str, _says("what a reader calls the base model")]
    it: str
    layer: Annotated[int | None, _says("of the hook point; null without models")]
    lead: Annotated[str, _says("what was found, in a sentence")]
    behaviour: Annotated[str, _says("text IT predicts better or worse; may be empty")]
    trust: Annotated[str, _says("what list and verdicts rest on; may be empty")]
    models_differ: Annotated[bool, _says("whether any held-out row differs")]
    n_shown: Annotated[int, _says("changes on the first screen, of the whole list")]
    accounted: Annotated[Accounted | None, _says("null: no list was made")]
    exclusive: Exclusive
    fit: Fit
    failings: Annotated[list[str], _says("why the crosscoder is no basis for conclusions")]
    cautions: Annotated[list[str], _says("how far to trust it, weightiest first")]
    rivals: list[Rival]
    sentences: Annotated[list[str], _says("what the other sections say in one each")]


@_CLOSED
class ClaimsFile(TypedDict):
    """`results/findings.json`, or a list that somebody else wrote."""

    version: Annotated[Literal[1], _says("of this form")]
    changes: Annotated[list[Claim], _says("what fine-tuning changed; empty: nothing")]
    made_by: NotRequired[Annotated[str, _says("who or what wrote the file")]]
    first_screen: NotRequired[FirstScreen]


CLAIMS = ResultFile("findings.json", "report", ClaimsFile)
_CHECKED: Final[TypeAdapter[ClaimsFile]] = TypeAdapter(ClaimsFile)


def schema() -> dict[str, Any]:
    """The JSON Schema of the file."""
    return _CHECKED.json_schema()


def read_claims(path: Path) -> ClaimsFile:
    """A file of claims, whoever wrote it. SourceError names the first place that is amiss."""
    try:
        return _CHECKED.validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError as error:
        raise MissingArtifactError(f"{path} not found: name a file of findings") from error
    except IsADirectoryError as error:
        raise SourceError(f"{path} is a folder, expected a file of findings: name one") from error
    except ValidationError as error:
        raise SourceError(f"{path}: {_told(error)}") from error


def _told(error: ValidationError) -> str:
    """The first thing that is amiss: where, what was found, what was expected, how to mend it."""
    first = error.errors()[0]
    place, found = ".".join(map(str, first["loc"])), f"found {first['input']!r:.60}"
    match first["type"]:
        case "json_invalid":
            return f"{first['msg']}: mend the file"
        case "missing":
            return f"{place} is missing, {found}: add it, see docs/findings.md"
        case "extra_forbidden":
            return f"{place} is no field of this form, {found}: mend its name or leave it out"
        case _:
            return f"{place or 'the file'}: {first['msg']}, {found}: see docs/findings.md"
