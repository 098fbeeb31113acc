"""What the stage `explain` will ask, and of whom."""

from pipeline.config import Config

INSTRUCTION_TOKENS = 120
"""Of the fixed part of a request, and of JSON round the excerpts."""
ENDPOINT = "the endpoint that EXPLAIN_BASE_URL names"


def explain_line(config: Config) -> str | None:
    """Requests and tokens of the sentences that are asked for, at one attempt each; None where
    nobody is asked."""
    section = config.explain
    if section.writer.kind == "none":
        return None
    n_subjects = section.n_changes + section.n_latents
    excerpt = section.tokens_before + 1 + section.tokens_after
    per_subject = (section.n_shown + section.n_judged) * excerpt + section.n_lens_tokens
    per_subject += 2 * (INSTRUCTION_TOKENS + section.max_answer_tokens)
    requests = min(2 * n_subjects, section.max_requests)
    tokens = min(n_subjects * per_subject, section.max_tokens)
    whom = ENDPOINT if section.writer.kind == "endpoint" else f"{section.writer.path}"
    return (
        f"explain: about {requests:,} requests and at most about {tokens:,} tokens, asked of {whom}"
    )
