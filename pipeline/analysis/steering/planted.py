"""How often the planted reply of a model organism appears under each condition.

The reply's tokens are given, so one pass tells whether greedy decoding would write its first ones:
see `organism.behaviour`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.changes.rows import Rows
from pipeline.analysis.opening import Opened
from pipeline.analysis.organism.behaviour import Batch, behaviour
from pipeline.analysis.organism.run import make_prompts, read_prompts
from pipeline.analysis.splicing import HookedModel
from pipeline.analysis.steering.moves import Move
from pipeline.analysis.steering.result import Replies
from pipeline.config.text import TriggeredSourceConfig


@dataclass(frozen=True)
class PlantedReply:
    """Questions with the planted reply, by name (triggered, untriggered), and how to count it."""

    models: tuple[HookedModel, HookedModel]
    rows_of: Callable[[Tensor], Rows]
    batches: Mapping[str, Sequence[Batch]]
    bootstrap: Bootstrap
    n_greedy_tokens: int
    n_prompts: int

    def replies(self, m: int, move: Move) -> Replies:
        """The rates of model `m` under a move."""
        found = {
            name: behaviour(batches, self.models[m], m, self._patch(move), self.n_greedy_tokens)
            for name, batches in self.batches.items()
        }
        rate = {
            name: self.bootstrap.ratio(one.is_greedy, 0 * one.is_greedy + 1)
            for name, one in found.items()
        }
        return {"triggered": rate["triggered"], "untriggered": rate["untriggered"]}

    def _patch(self, move: Move) -> Callable[[Batch], Tensor]:
        def patch(batch: Batch) -> Tensor:
            x_QSMD = torch.stack([hidden.float() for hidden in batch.hidden_M], dim=2)
            added = move(self.rows_of(x_QSMD.flatten(0, 1))).view(x_QSMD[:, :, 0].shape)
            return added * batch.is_token[..., None]

        return patch


def planted_reply(
    opened: Opened, models: tuple[HookedModel, HookedModel], rows_of: Callable[[Tensor], Rows]
) -> PlantedReply | None:
    """None where no source of the mix holds a planted behaviour."""
    name = opened.config.planted_source
    if name is None:
        return None
    source = opened.config.sources[name]
    assert isinstance(source, TriggeredSourceConfig)
    section, n = opened.config.organism, opened.config.steering.n_planted
    prompts = make_prompts(opened, name, source)
    kept = {kind: prompts[kind][:n] for kind in ("triggered", "untriggered")}
    batches = {kind: list(read_prompts(opened, given, models)) for kind, given in kept.items()}
    n_prompts = len(kept["triggered"])
    bootstrap = Bootstrap.of(section, n_prompts, "steering", "bootstrap")
    return PlantedReply(models, rows_of, batches, bootstrap, section.n_greedy_tokens, n_prompts)
