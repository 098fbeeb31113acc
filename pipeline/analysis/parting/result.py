"""What `results/parting.json` and `results/parting.parquet` hold."""

from typing_extensions import TypedDict

from pipeline.results import Measured, ResultFile

Expected = list[tuple[str, float]]
"""Tokens with their probabilities, the likeliest first."""


class Carrier(TypedDict):
    """A change or a latent, and how much of the KL after one token it carries, in nats.

    number: rank of the change in the list, or number of the latent
    attribution: by the gradient; patch: what goes when its part is undone in IT
    random: what goes when a random direction, as long on every row, is taken out in its place
    at, on: position in the sequence and text of the token on which the attribution is largest
    """

    number: int
    attribution: float
    patch: float
    random: float
    at: int
    on: str


class Token(TypedDict):
    """A token after which the models part, and its place in the token store.

    before, token, follows: text up to it, itself, and the token that the text goes on with
    kl: KL(IT || base) of what is predicted next, nats
    from_below: part of it that goes when IT goes on from the base model's activations
    attributed: sum of the attribution over the whole difference; from_below by another way
    expected_by_it, expected_by_base: the likeliest next tokens
    """

    sequence: int
    position: int
    before: str
    token: str
    follows: str
    kl: float
    from_below: float
    attributed: float
    expected_by_it: Expected
    expected_by_base: Expected
    changes: list[Carrier]
    latents: list[Carrier]


class Source(TypedDict):
    """The held-out text of one source.

    kl: mean KL(IT || base) over n_tokens; quantiles: of the KL; top_share: share of the sum that
    the hundredth of the tokens with the largest KL has; tokens: by falling KL
    """

    name: str
    n_tokens: int
    kl: Measured
    quantiles: dict[str, float]
    top_share: float
    tokens: list[Token]


class Agreement(TypedDict):
    """Attribution against patch over the carriers that are shown: how many, and the correlation;
    None for fewer than three, or where one of the two does not vary."""

    n: int
    correlation: float | None


class Parting(TypedDict):
    """path_points: of the attribution; min_kl: nats from which a token may be listed."""

    applicable: bool
    confidence: float
    n_sequences: int
    path_points: int
    min_kl: float
    sources: list[Source]
    of_changes: Agreement
    of_latents: Agreement


PARTING = ResultFile("parting.json", "parting", Parting)
COLUMNS = ("sequence", "position", "source", "token_id", "kl")
"""Of the table: one row per token that was screened, kl in nats."""
