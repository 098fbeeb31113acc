"""What an evaluation of spliced models takes beside the forward passes that it cannot do without.

    python -m benchmarks.analyses memory --json OUT [--dtype float32] [--sequences 4]
    python -m benchmarks.analyses memory --wide --vocabulary 32000 --plain-sequences 0 --json OUT
    python -m benchmarks.analyses time --json OUT [--repeats 5] [--blocks 4] [--cpu-time]

memory  a narrow Gemma-2 with a vocabulary of 256,000, sequences of 1,024: how much the process
        grows at its peak by `splice_batch`, which takes losses piece by piece, and by the plain
        form, which holds all logits of `--plain-sequences` at once; with --wide two blocks of the
        width of the 2B model and a crosscoder of 16,384 latents. (What logits take does not depend
        on the vocabulary, of which as many positions are held as fit; the time does)
time    a Gemma-2 of the width of the 2B model and a crosscoder of 16,384 latents: `splice_batch`
        over the bare passes, which are the blocks below the hook point once, and those above it and
        the head once per patch, of the same tokens. Both take turns, the ratio is the median of
        pairs. The 2B model has 26 blocks: with fewer, what comes beside the passes weighs more

Both models of the pair are one random model, which halves the memory that the benchmark needs.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from pipeline.analysis.evaluation.splice import PATCHES, splice_batch
from pipeline.analysis.groups import Cells
from pipeline.analysis.splicing import HookedModel, Unpatched, head_of, patched
from pipeline.config import load_config
from pipeline.crosscoder import Crosscoder
from pipeline.models.continuation import Continuation
from pipeline.models.hook import continued, head_logits, residual
from pipeline.runtime import peak_memory_bytes, set_threads

N_VOCAB = 256_000
NARROW = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "head_dim": 32}
WIDE = {"hidden_size": 2304, "intermediate_size": 9216, "num_attention_heads": 8, "head_dim": 256}
N_UPPER_PASSES = len(PATCHES)
PLAIN_CHUNK = 2**25
"""Logits that the plain form widens to float32 at once."""


def random_model(
    width: dict[str, int], n_blocks: int, dtype: torch.dtype, n_vocab: int = N_VOCAB
) -> PreTrainedModel:
    config = AutoConfig.for_model(
        "gemma2",
        vocab_size=n_vocab,
        num_hidden_layers=n_blocks,
        num_key_value_heads=width["num_attention_heads"] // 2,
        **width,
    )
    model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="eager")
    return model.eval().requires_grad_(False)


def random_crosscoder(n_latents: int, d_model: int) -> Crosscoder:
    random = torch.Generator().manual_seed(0)
    return Crosscoder.from_weights(
        kind="batch_topk",
        W_enc=torch.randn(2, d_model, n_latents, generator=random) / d_model**0.5,
        W_dec=torch.randn(n_latents, 2, d_model, generator=random) / n_latents**0.5,
        b_enc=torch.zeros(n_latents),
        b_dec=torch.zeros(2, d_model),
        threshold=torch.full((n_latents,), 3.0),
    )


class Evaluation:
    """A model at its middle block, a crosscoder, and tokens [Q, S] to evaluate them on."""

    def __init__(self, model: PreTrainedModel, n_latents: int, token_ids: Tensor) -> None:
        d_model, layer = model.config.hidden_size, model.config.num_hidden_layers // 2
        self.model, self.layer, self.token_ids = model, layer, token_ids
        self.crosscoder = random_crosscoder(n_latents, d_model)
        self.mean_MD = torch.zeros(2, d_model)
        self.hooked = HookedModel(
            partial(residual, model, layer),
            partial(continued, model, layer),
            head_of(model, load_config([]).runtime.logits_bytes),
            partial(Continuation, model, layer),
        )

    def spliced(self) -> None:
        splice_batch(
            (self.hooked, self.hooked),
            self.crosscoder,
            self.token_ids,
            torch.zeros_like(self.token_ids),
            Cells(("text",)),
            mean_MD=self.mean_MD,
            unpatched=Unpatched(None, None),
        )

    @torch.inference_mode()
    def bare(self) -> None:
        """The passes of both models alone."""
        for _ in range(2):
            hidden = self.hooked.residual(self.token_ids)
            for _ in range(N_UPPER_PASSES):
                self._logits(hidden)

    @torch.inference_mode()
    def plain(self, n_sequences: int) -> None:
        """Losses of two patches with all logits of some sequences at once."""
        token_ids = self.token_ids[:n_sequences]
        hidden = self.hooked.residual(token_ids)
        kept, targets = torch.zeros_like(token_ids, dtype=torch.bool), token_ids[:, 1:].flatten()
        clean = self._logits(hidden)
        for value in (0.0, 1.0):
            moved = patched(hidden, torch.full_like(hidden, value), kept)
            plain_losses(self._logits(moved), clean, targets)

    def _logits(self, hidden: Tensor) -> Tensor:
        stream = continued(self.model, self.layer, self.token_ids[: len(hidden)], hidden)
        return head_logits(self.model, stream[:, :-1].flatten(0, 1))


def plain_losses(logits: Tensor, clean: Tensor, targets: Tensor) -> None:
    """Cross entropy and KL of whole logits [N, V], widened piece by piece."""
    step = PLAIN_CHUNK // N_VOCAB
    for at in range(0, len(logits), step):
        log_p = log_softmax(logits[at : at + step].float(), dim=-1)
        log_clean = log_softmax(clean[at : at + step].float(), dim=-1)
        log_p.gather(1, targets[at : at + step, None])
        kl_div(log_p, log_clean, log_target=True, reduction="none").sum(dim=-1)


def memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """Peaks over what the process has with weights loaded and one short pass done; the piecewise
    form comes first, since a peak never falls."""
    width, n_latents = (WIDE, 16_384) if arguments.wide else (NARROW, 1024)
    n_vocab = arguments.vocabulary
    model = random_model(width, 2, getattr(torch, arguments.dtype), n_vocab)
    token_ids = torch.randint(3, n_vocab, (arguments.sequences, 1024))
    evaluation = Evaluation(model, n_latents, token_ids[:1, :8])
    evaluation.spliced()
    evaluation.token_ids, before = token_ids, peak_memory_bytes()
    evaluation.spliced()
    in_pieces = peak_memory_bytes() - before
    if arguments.plain_sequences:
        evaluation.plain(arguments.plain_sequences)
    return {
        "width": width["hidden_size"],
        "n_latents": n_latents,
        "n_vocab": n_vocab,
        "dtype": arguments.dtype,
        "in_pieces_bytes": in_pieces,
        "in_pieces_sequences": arguments.sequences,
        "plain_bytes": peak_memory_bytes() - before,
        "plain_sequences": arguments.plain_sequences,
    }


def timed(arguments: argparse.Namespace) -> dict[str, Any]:
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    model = random_model(WIDE, arguments.blocks, torch.float32)
    token_ids = torch.randint(3, N_VOCAB, (1, arguments.positions))
    evaluation = Evaluation(model, 16_384, token_ids)

    def seconds(work: Callable[[], None]) -> float:
        began = clock()
        work()
        return clock() - began

    evaluation.spliced()  # warm-up
    pairs = [
        (seconds(evaluation.spliced), seconds(evaluation.bare)) for _ in range(arguments.repeats)
    ]
    ratios = [spliced / bare for spliced, bare in pairs]
    return {
        "evaluation_over_bare_passes": statistics.median(ratios),
        "by_repeat": ratios,
        "bare_seconds": statistics.median(bare for _, bare in pairs),
        "n_blocks": arguments.blocks,
        "n_positions": arguments.positions,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("what", choices=("memory", "time"))
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--vocabulary", type=int, default=N_VOCAB)
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--plain-sequences", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--positions", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="for a busy machine")
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    torch.manual_seed(0)
    figures = {"memory": memory, "time": timed}[arguments.what](arguments)
    arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
