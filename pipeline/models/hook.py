"""The hook point: read the residual stream before a block, or put another one in its place.

Letters: B sequences, S positions, D d_model, V vocabulary, N positions of any sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pipeline.errors import ModelError

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel


class _Reached(Exception):  # noqa: N818 - a signal that ends the forward pass, not an error
    """Carries the residual stream out of a forward pass that has got as far as it must.

    beside: what else a block was given
    """

    def __init__(self, hidden: Tensor, beside: Sequence[Any] = ()) -> None:
        super().__init__()
        self.hidden, self.beside = hidden, beside


def decoder_of(model: PreTrainedModel) -> nn.Module:
    """The module with the embedding and the blocks, without the unembedding."""
    return model.get_decoder() if hasattr(model, "get_decoder") else model.base_model


def blocks(model: PreTrainedModel) -> nn.ModuleList:
    """The transformer blocks in order. ModelError where they cannot be told from other modules."""
    decoder = decoder_of(model)
    n_layers = model.config.get_text_config().num_hidden_layers
    found = [
        child
        for child in decoder.children()
        if isinstance(child, nn.ModuleList) and len(child) == n_layers
    ]
    if len(found) != 1:
        raise ModelError(
            f"{type(model).__name__}: {len(found)} lists of {n_layers} blocks found, expected one: "
            "this architecture has no single stack of blocks to read from"
        )
    return found[0]


@torch.no_grad()
def residual(
    model: PreTrainedModel, layer: int, token_ids: Tensor, cache: Cache | None = None
) -> Tensor:
    """`hidden_states[layer]` of the full model for token_ids [B, S], as [B, S, D].

    Runs the embedding and blocks 0 to layer - 1 and stops: no block above, no final norm, no
    logits. A model truncated to `layer` blocks gives the same. cache: keys and values of the tokens
    that come before; those of `token_ids` are added
    """
    stack = blocks(model)
    if layer < len(stack):
        handle = stack[layer].register_forward_pre_hook(_stop_before, with_kwargs=True)
    else:
        assert layer == len(stack), f"layer {layer} of a model with {len(stack)} blocks"
        handle = stack[layer - 1].register_forward_hook(_stop_after)
    try:
        with _one_sequence_per_row():
            decoder_of(model)(
                input_ids=token_ids, past_key_values=cache, use_cache=cache is not None
            )
    except _Reached as reached:
        return _checked(model, reached.hidden, token_ids, reached.beside)
    finally:
        handle.remove()
    raise ModelError(f"{type(model).__name__} did not run block {layer}: it cannot be read there")


def residuals(model: PreTrainedModel, layers: Sequence[int], token_ids: Tensor) -> list[Tensor]:
    """`residual` of each of these layers, which rise, from one pass to the last of them."""
    *lower, last = layers
    stack, caught = blocks(model), list[Tensor]()

    def catch(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        caught.append(_block_input(args, kwargs))

    handles = [stack[n].register_forward_pre_hook(catch, with_kwargs=True) for n in lower]
    try:
        highest = residual(model, last, token_ids)
    finally:
        for handle in handles:
            handle.remove()
    return [*(_checked(model, hidden, token_ids) for hidden in caught), highest]


def _checked(
    model: PreTrainedModel, hidden: Tensor, token_ids: Tensor, beside: Sequence[Any] = ()
) -> Tensor:
    """The residual stream, or a ModelError where the blocks hand on something else, or also what
    earlier blocks wrote, [B, S, n, D], which a stream that is put in its place would not change."""
    expected = (*token_ids.shape, model.config.get_text_config().hidden_size)
    handed = [tuple(hidden.shape)] * (hidden.shape != expected)
    if token_ids.shape[1] > 1:  # else a mask may look so
        shapes = (tuple(other.shape) for other in beside if isinstance(other, Tensor))
        handed += [s for s in shapes if len(s) == 4 and (*s[:2], s[3]) == expected]
    if handed:
        raise ModelError(
            f"{type(model).__name__} hands {handed[0]} from block to block, expected "
            f"{expected}: this architecture has no single residual stream; name another model"
        )
    return hidden


def continued(model: PreTrainedModel, layer: int, token_ids: Tensor, hidden: Tensor) -> Tensor:
    """The residual stream [B, S, D] after the last block, with `hidden` [B, S, D] in the place of
    the input of block `layer`.

    The blocks below are passed through, not computed; token_ids [B, S] give shape and positions.
    The weights of a model that was read are frozen (`load.read_model`), so nothing is kept for
    gradients unless `hidden` asks for its own.
    """
    stack = blocks(model)
    passed = _passed_through(stack[:layer], _n_returned(model) if layer else None)
    stop = stack[-1].register_forward_hook(_stop_after)
    try:
        with passed, _replaced(stack[layer], lambda _: hidden), _one_sequence_per_row():
            decoder_of(model)(input_ids=token_ids, use_cache=False)
    except _Reached as reached:
        return reached.hidden
    finally:
        stop.remove()
    raise ModelError(f"{type(model).__name__} did not run its last block: it cannot be read there")


def head_logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Logits [N, V] of hidden states [N, D] that come out of the last block: the model's own final
    norm, unembedding and soft-cap, and nothing else of it. Gradients as in `continued`."""
    # N sequences of one position: N positions of one would need a mask of N x N, and might be more
    # than the model has.
    token_ids = torch.zeros(len(hidden), 1, dtype=torch.long, device=model.device)
    stack = blocks(model)
    passed = _passed_through(stack, _n_returned(model))
    with passed, _replaced(stack[-1], lambda _: hidden[:, None]), _one_sequence_per_row():
        return model(input_ids=token_ids, use_cache=False).logits[:, 0]


@torch.no_grad()
def next_logits(
    model: PreTrainedModel,
    layer: int,
    token_ids: Tensor,
    cache: Cache,
    replace: Callable[[Tensor], Tensor],
) -> Tensor:
    """Logits [B, V] after the last of token_ids [B, S], which follow on what `cache` holds, with
    the input [B, S, D] of block `layer` replaced. Their keys and values are added to the cache."""
    with _replaced(blocks(model)[layer], replace), _one_sequence_per_row():
        output = model(input_ids=token_ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return output.logits[:, -1]


@contextmanager
def _replaced(block: nn.Module, replace: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While this is open, the block gets what `replace` makes of its input."""

    def swap(
        _block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = _block_input(args, kwargs)
        replaced = replace(given).to(device=given.device, dtype=given.dtype)
        if args:
            return (replaced, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": replaced}

    handle = block.register_forward_pre_hook(swap, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _block_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]


def _stop_before(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    raise _Reached(_block_input(args, kwargs), (*args, *kwargs.values()))


def _stop_after(_block: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
    raise _Reached(output if isinstance(output, Tensor) else output[0])


def _n_returned(model: PreTrainedModel) -> int | None:
    """How many things the family's blocks return in a tuple; None where they return the residual
    stream alone. Nothing declares it, so the first block is run once, on one token."""
    if model not in _RETURNED:
        one_token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
        handle = blocks(model)[0].register_forward_hook(_stop_with_all)
        try:
            with _one_sequence_per_row():
                decoder_of(model)(input_ids=one_token, use_cache=False)
        except _Reached as reached:
            returned: Any = reached.hidden
            _RETURNED[model] = len(returned) if isinstance(returned, tuple) else None
        finally:
            handle.remove()
    return _RETURNED[model]


_RETURNED: MutableMapping[PreTrainedModel, int | None] = WeakKeyDictionary()


def _stop_with_all(_block: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
    raise _Reached(output)


@contextmanager
def _one_sequence_per_row() -> Iterator[None]:
    """While this is open, transformers takes each row of a batch for one sequence, as all of ours
    are. Left to itself it reads the positions back from the device to see whether a row holds
    several, once for each mask, and the device waits for the host meanwhile."""
    from transformers import masking_utils

    asked = masking_utils.find_packed_sequence_indices
    masking_utils.find_packed_sequence_indices = lambda position_ids: None  # noqa: ARG005
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = asked


@contextmanager
def _passed_through(stack: nn.ModuleList, n_returned: int | None) -> Iterator[None]:
    """While this is open, these blocks return their input as it is, in the place where the family's
    own blocks return the residual stream: alone, or first of `n_returned` things."""

    def identity(*args: Any, **kwargs: Any) -> Any:
        hidden = _block_input(args, kwargs)
        return hidden if n_returned is None else (hidden, *[None] * (n_returned - 1))

    try:
        for block in stack:
            block.__dict__["forward"] = identity
        yield
    finally:
        for block in stack:
            del block.__dict__["forward"]
