"""What both models write with latents taken out or put in."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pipeline.analysis.organism.behaviour import (
    IT,
    Encoded,
    Latents,
    Patch,
    ablation,
    nothing,
    write_reply,
)
from pipeline.analysis.organism.effects import Bench
from pipeline.analysis.organism.result import Example
from pipeline.analysis.organism.sets import Chosen
from pipeline.analysis.splicing import Unpatched


def examples(
    bench: Bench,
    sets: Mapping[str, Chosen],
    prompts: Mapping[str, Sequence[Encoded]],
    *,
    n_tokens: int,
    start_id: int,
    unpatched: Unpatched,
    decode: Callable[[list[int]], str],
) -> list[Example]:
    """What the IT model writes, greedily: as it is, without the selective latents, and without
    as many random ones that fire as often in triggered exchanges."""
    chosen = sets["selective"]
    drawn = chosen.drawn["same_rate_in_exchanges"][0]
    taken_out = partial(ablation, bench.crosscoder)

    def write(prompt: Encoded, latents: Latents, patch: Patch) -> str:
        return decode(
            write_reply(
                prompt,
                bench.models,
                bench.crosscoder,
                latents,
                IT,
                patch,
                n_tokens=n_tokens,
                start_id=start_id,
                unpatched=unpatched,
            )
        )

    return [
        {
            "prompts": kind,
            "prompt": decode(prompt.token_id[~prompt.is_reply].tolist()),
            "clean": write(prompt, chosen.latents, nothing),
            "without_selective": write(prompt, chosen.latents, taken_out(chosen.latents)),
            "without_random": write(prompt, drawn, taken_out(drawn)),
        }
        for kind in ("triggered", "untriggered")
        for prompt in prompts[kind]
    ]
