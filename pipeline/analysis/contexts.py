"""Text in which chosen latents fire most strongly, gathered during the held-out pass.

Letters: B rows, L latents, J chosen latents, T examples kept.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.heldout import Rows
from pipeline.labels import SOURCES, TOKEN_CLASSES

SPARE = 4
"""Examples kept per one shown: those of a document already shown are passed over."""
FIELDS = ("sequence", "position", "document", "source", "token_class")

TokenIds = NDArray[np.integer]


class TopContexts:
    """The strongest rows of each chosen latent so far: values and places [J, T]."""

    def __init__(self, latents_J: NDArray[np.integer], n_contexts: int) -> None:
        self.latents = latents_J
        self._n_contexts = n_contexts
        self._n_kept = n_contexts * SPARE
        self._value = np.zeros((latents_J.size, 0), dtype=np.float32)
        self._place = np.zeros((latents_J.size, 0, len(FIELDS)), dtype=np.int64)

    def see(self, f_BL: Tensor, rows: Rows) -> None:
        """Keep the strongest rows of this batch beside those kept before."""
        chosen = f_BL[:, torch.from_numpy(self.latents).to(f_BL.device)]
        top = chosen.topk(min(self._n_kept, chosen.shape[0]), dim=0)
        place_BF = np.stack([rows[name].astype(np.int64) for name in FIELDS], axis=1)
        value = np.concatenate([self._value, top.values.T.float().cpu().numpy()], axis=1)
        place = np.concatenate([self._place, place_BF[top.indices.T.cpu().numpy()]], axis=1)
        order = np.argsort(-value, axis=1, kind="stable")[:, : self._n_kept]
        self._value = np.take_along_axis(value, order, axis=1)
        self._place = np.take_along_axis(place, order[..., None], axis=1)

    def places(self, latent: int) -> list[dict[str, Any]]:
        """The latent's strongest rows, one per document: value and place of each."""
        at = int(np.flatnonzero(self.latents == latent)[0])
        shown: dict[int, dict[str, Any]] = {}
        for value, place in zip(self._value[at], self._place[at], strict=True):
            fields = dict(zip(FIELDS, place.tolist(), strict=True))
            if value > 0 and fields["document"] not in shown:
                shown[fields["document"]] = {"value": float(value), **fields}
        return list(shown.values())[: self._n_contexts]


def contexts_of(
    top: TopContexts,
    latents: NDArray[np.integer],
    *,
    read_sequence: Callable[[int], TokenIds],
    decode: Callable[[list[int]], str],
    n_context_tokens: int,
) -> dict[str, list[dict[str, Any]]]:
    """Latent -> its examples: text before, the token itself, text after, value and labels."""
    found = set(top.latents.tolist())
    return {
        str(latent): [
            _example(place, read_sequence(place["sequence"]), decode, n_context_tokens)
            for place in top.places(latent)
        ]
        for latent in latents.tolist()
        if latent in found
    }


def _example(
    place: dict[str, Any], token_ids: TokenIds, decode: Callable[[list[int]], str], width: int
) -> dict[str, Any]:
    at = place["position"]
    after = at + 1 + width // 2
    return {
        "before": decode(token_ids[max(0, at - width) : at].tolist()),
        "token": decode(token_ids[at : at + 1].tolist()),
        "after": decode(token_ids[at + 1 : after].tolist()),
        "value": round(place["value"], 5),
        "source": SOURCES[place["source"]],
        "token_class": TOKEN_CLASSES[place["token_class"]],
        "sequence": place["sequence"],
        "position": at,
    }
