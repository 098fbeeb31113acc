"""How much would be asked, and of whom, before anybody is."""

from pipeline.config.explain import ExplainConfig
from pipeline.config.models import LocalModel

INSTRUCTION_TOKENS = 120
"""Of the fixed part of a request, and of JSON round the excerpts."""
ENDPOINT = "the endpoint that EXPLAIN_BASE_URL names"


def tokens_asked(section: ExplainConfig) -> tuple[int, int, int]:
    """Requests of the sentences that are asked for, at one attempt each; tokens read for them, and
    written."""
    n_subjects = section.n_changes + section.n_latents
    excerpt = section.tokens_before + 1 + section.tokens_after
    is_local = isinstance(section.writer, LocalModel)
    judging = INSTRUCTION_TOKENS + section.n_judged * excerpt
    if is_local:  # asked about each excerpt by itself
        judging = section.n_judged * (INSTRUCTION_TOKENS + excerpt)
    read = INSTRUCTION_TOKENS + section.n_shown * excerpt + section.n_lens_tokens + 2 * judging
    written = (1 if is_local else 3) * section.max_answer_tokens
    n_read = min(n_subjects * read, section.max_tokens)
    n_written = min(n_subjects * written, section.max_tokens - n_read)
    return min(3 * n_subjects, section.max_requests), n_read, n_written


def explain_line(section: ExplainConfig) -> str | None:
    """Whom the stage `explain` asks, and for how much; None where nobody is asked."""
    if section.writer.kind == "none":
        return None
    asked, n_read, n_written = tokens_asked(section)
    whom = section.writer.path if isinstance(section.writer, LocalModel) else ENDPOINT
    return (
        f"explain: about {asked:,} requests and at most about {n_read + n_written:,} tokens, "
        f"asked of {whom}"
    )
