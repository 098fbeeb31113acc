"""Typed section of explanations in words; values live in `conf/`."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.models import LocalModel
from pipeline.config.section import PositiveInt, Section


class NoWriter(Section):
    """Nothing is asked of anyone."""

    kind: Literal["none"]


class EndpointWriter(Section):
    """An OpenAI-compatible endpoint. EXPLAIN_BASE_URL, EXPLAIN_MODEL and EXPLAIN_API_KEY in the
    environment name it: keys belong into no file."""

    kind: Literal["endpoint"]
    n_retries: Annotated[int, Field(ge=0, le=100)]
    """Times that a request is sent again after a refusal that may pass, each time later."""
    timeout_seconds: Annotated[float, Field(gt=0.0)]
    """How long an answer is waited for."""


class ExplainConfig(Section):
    """A sentence for each change and latent, by a writing model, and its score on unseen text."""

    writer: Annotated[NoWriter | EndpointWriter | LocalModel, Field(discriminator="kind")]
    """Who writes and judges: nobody, an endpoint, or a local Hugging Face folder with a chat
    template."""
    n_changes: Annotated[int, Field(ge=0)]
    """First entries of the list of changes that are explained."""
    n_latents: Annotated[int, Field(ge=0)]
    """Latents that are explained: those under these changes, then the exclusive ones."""
    n_rows: PositiveInt
    """Held-out rows at most from which examples come."""
    batch_rows: PositiveInt
    """Rows encoded at once."""
    n_shown: Annotated[int, Field(ge=2, le=100)]
    """Active examples that the writer sees: half of them the strongest, half drawn at random."""
    n_judged: Annotated[int, Field(ge=4, le=200)]
    """Other examples that are judged: half active, a quarter inactive ones of tokens on which it is
    active elsewhere (near misses), a quarter any inactive ones."""
    tokens_before: Annotated[int, Field(ge=0, le=1_000)]
    """Tokens of text before the token of an example."""
    tokens_after: Annotated[int, Field(ge=0, le=1_000)]
    """Tokens of text after it."""
    n_lens_tokens: Annotated[int, Field(ge=0, le=100)]
    """Promoted tokens that the writer sees."""
    confidence: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Of the intervals of the scores."""
    n_attempts: PositiveInt
    """Times that the writer is asked for an answer of the right form."""
    max_answer_tokens: PositiveInt
    """Tokens of one answer at most."""
    max_requests: PositiveInt
    """Requests of one run at most; what was answered before costs none."""
    max_tokens: PositiveInt
    """Tokens of the requests and answers of one run at most."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the random examples and of their order."""
