"""What the output matrices of a model's blocks are given on a text, kept as sums.

The inputs themselves would take T x I numbers for every matrix (8 GB for the lower half of a model
of 135M parameters on 65,536 tokens); what edits are drawn by are sums over tokens, and one second
moment at a time.

Letters: B sequences, S positions, T tokens (B * S), I inputs of a matrix, D d_model, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pipeline.models.edits.edit import Written, d_head_of, matrix, output_of
from pipeline.models.hook import decoder_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SEQUENCES_AT_A_TIME = 16


@dataclass
class InputSums:
    """Sums over the T tokens of a text for one output matrix, in float64.

    second_I, fourth_I: [I] of the inputs' second and fourth powers
    written: [I] of an MLP's neurons or [H] of attention's heads: squares of what each writes alone
    output: squares of what all of them write together
    """

    n_tokens: int
    second_I: Tensor
    fourth_I: Tensor
    written: Tensor
    output: float

    @property
    def typical_output(self) -> float:
        """Root of the mean squared norm of what the matrix writes at a token."""
        return (self.output / self.n_tokens) ** 0.5


def measure_inputs(
    model: PreTrainedModel, token_ids: Tensor, n_layers: int
) -> dict[tuple[Written, int], InputSums]:
    """The sums of both output matrices of the first `n_layers` blocks, in one pass.

    token_ids: [B, S]
    """
    keys: list[tuple[Written, int]] = [
        (module, layer) for layer in range(n_layers) for module in ("mlp", "attention")
    ]
    found: dict[tuple[Written, int], InputSums] = {}

    def add(key: tuple[Written, int], inputs_TI: Tensor) -> None:
        part = _sums(model, *key, inputs_TI)
        if (sums := found.setdefault(key, part)) is not part:
            sums.n_tokens += part.n_tokens
            sums.second_I += part.second_I
            sums.fourth_I += part.fourth_I
            sums.written += part.written
            sums.output += part.output

    with _listening(model, keys, add):
        for part_BS in token_ids.split(SEQUENCES_AT_A_TIME):
            _read(model, part_BS)
    return found


def key_and_moment(
    model: PreTrainedModel, token_ids: Tensor, module: Written, layer: int, token: int
) -> tuple[Tensor, Tensor]:
    """The mean input [I] of one output matrix at one token, and the second moment [I, I] of its
    inputs at all tokens, in float64.

    token_ids: [B, S], where `token` must occur
    """
    width = output_of(model, module, layer).in_features
    key, moment = torch.zeros(width).double(), torch.zeros(width, width).double()
    heard: list[Tensor] = []
    with _listening(model, [(module, layer)], lambda _, inputs_TI: heard.append(inputs_TI)):
        for part_BS in token_ids.split(SEQUENCES_AT_A_TIME):
            _read(model, part_BS)
            inputs_TI = heard.pop().cpu().double()
            key += inputs_TI[part_BS.flatten() == token].sum(dim=0)
            moment.addmm_(inputs_TI.T, inputs_TI)
    return key / (token_ids == token).sum(), moment / token_ids.numel()


def _sums(model: PreTrainedModel, module: Written, layer: int, inputs_TI: Tensor) -> InputSums:
    weight_DI = matrix(model, module, layer).float()
    square_TI = inputs_TI.double().square()
    second_I = square_TI.sum(dim=0)
    if module == "mlp":
        written = weight_DI.norm(dim=0).double() ** 2 * second_I
    else:
        d_head = d_head_of(model, layer)
        heads = zip(inputs_TI.split(d_head, 1), weight_DI.split(d_head, 1), strict=True)
        written = torch.stack([(read @ write.T).square().sum().double() for read, write in heads])
    return InputSums(
        n_tokens=len(inputs_TI),
        second_I=second_I.cpu(),
        fourth_I=square_TI.square().sum(dim=0).cpu(),
        written=written.cpu(),
        output=float((inputs_TI @ weight_DI.T).square().sum(dtype=torch.float64)),
    )


@contextmanager
def _listening(
    model: PreTrainedModel,
    keys: list[tuple[Written, int]],
    hear: Callable[[tuple[Written, int], Tensor], None],
) -> Iterator[None]:
    """Hand every matrix's inputs [T, I], in float32, to `hear` while this is open."""
    handles = []
    for key in keys:

        def listen(
            _module: nn.Module, args: Any, _out: Any, key: tuple[Written, int] = key
        ) -> None:
            hear(key, args[0].flatten(0, 1).float())

        handles.append(output_of(model, *key).register_forward_hook(listen))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _read(model: PreTrainedModel, token_ids_BS: Tensor) -> None:
    decoder_of(model)(input_ids=token_ids_BS.to(model.device), use_cache=False)
