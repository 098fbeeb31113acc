"""What both models write with latents taken out or put in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.analysis.organism.behaviour import (
    IT,
    Encoded,
    Latents,
    Patch,
    ablation,
    generate,
    nothing,
)
from pipeline.analysis.organism.effects import Bench
from pipeline.analysis.organism.sets import Chosen


def examples(
    bench: Bench,
    sets: Mapping[str, Chosen],
    prompts: Mapping[str, Sequence[Encoded]],
    *,
    n_tokens: int,
    bos_token_id: int,
    decode: Callable[[list[int]], str],
) -> list[dict[str, Any]]:
    """What the IT model writes, greedily: as it is, without the selective latents, and without
    as many random ones that fire as often in triggered exchanges."""
    chosen = sets["selective"]
    drawn = chosen.drawn["same_rate_in_exchanges"][0]
    patches = {
        "clean": (chosen.latents, nothing),
        "without_selective": (chosen.latents, ablation(bench.crosscoder, chosen.latents)),
        "without_random": (drawn, ablation(bench.crosscoder, drawn)),
    }

    def write(prompt: Encoded, latents: Latents, patch: Patch) -> str:
        return decode(
            generate(
                prompt,
                bench.models,
                bench.crosscoder,
                latents,
                IT,
                patch,
                n_tokens=n_tokens,
                bos_token_id=bos_token_id,
            )
        )

    return [
        {
            "prompts": kind,
            "prompt": decode(prompt.token_id[~prompt.is_reply].tolist()),
            **{name: write(prompt, *with_what) for name, with_what in patches.items()},
        }
        for kind in ("triggered", "untriggered")
        for prompt in prompts[kind]
    ]
