"""A crosscoder as plain data: what every layout on disk is read to and written from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import ArtifactError

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
KINDS = ("l1", "dsf", "jumprelu", "batch_topk")
"""Variants that a crosscoder can be of."""


Shape = tuple[int, int, int]
"""(n_models, d_model, n_latents) of a crosscoder."""


@dataclass(frozen=True)
class Outline:
    """What the files of a crosscoder tell without a value of its weights being read.

    provenance: what made it, as far as `Weights.provenance` needs no tensor for it
    """

    shape: Shape
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class Weights:
    """The tensors of a crosscoder in the published shapes, and what is known of it.

    Letters: M models, D d_model, L latents.

    kind: the variant that trained it, of `KINDS`
    W_enc [M, D, L], W_dec [L, M, D], b_enc [L], b_dec [M, D]
    activation_scale: [M], the factor that takes each model's raw activation to the space that the
        weights work in; None where nothing tells it, which is not the same as 1
    threshold: [L], in units of f, 0 for a ReLU; None where its kind has one and nothing tells it
    provenance: what made it, as plain data; empty where nothing is known
    """

    kind: str
    W_enc: Tensor
    W_dec: Tensor
    b_enc: Tensor
    b_dec: Tensor
    activation_scale: Tensor | None = None
    threshold: Tensor | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse (ArtifactError) what `copy_` would broadcast or a forward pass would hide."""
        if self.kind not in KINDS:
            raise ArtifactError(
                f"kind is {self.kind!r}, expected one of {', '.join(KINDS)}: these weights were "
                "written by another version, or are no crosscoder"
            )
        for name, tensor in self.tensors().items():
            check_numbers(name, tensor)
        n_models, d_model, n_latents = shape_by("W_dec", self.W_dec.shape)
        expected = {
            "W_enc": (n_models, d_model, n_latents),
            "b_enc": (n_latents,),
            "b_dec": (n_models, d_model),
            "activation_scale": (n_models,),
            "threshold": (n_latents,),
        }
        for name, tensor in self.tensors().items():
            shape = expected.get(name, tuple(self.W_dec.shape))
            if tuple(tensor.shape) != shape:
                raise ArtifactError(
                    f"{name} has shape {tuple(tensor.shape)}, expected {shape} by W_dec: these "
                    "tensors are not those of one crosscoder, export all of its models and latents"
                )
            if not bool(torch.isfinite(tensor).all()):
                raise ArtifactError(
                    f"{name} holds {int((~torch.isfinite(tensor)).sum()):,} values that are not "
                    "finite: its training went wrong or the file is damaged, take an earlier one"
                )
        check_scale(self.activation_scale)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are known, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    @property
    def shape(self) -> Shape:
        return shape_by("W_dec", self.W_dec.shape)

    @property
    def is_gated(self) -> bool:
        """Whether a latent has to pass more than 0, or may have to and nothing tells how much."""
        return self.threshold is None or bool((self.threshold > 0).any())


def shape_by(name: str, axes: Sequence[int]) -> Shape:
    """The shape of the crosscoder whose decoder, called `name`, has these axes [L, M, D].
    ArtifactError where they are not three, or one is empty."""
    if len(axes) != 3 or 0 in axes:
        raise ArtifactError(
            f"{name} has shape {tuple(axes)}, expected three axes with entries (latents, models, "
            "width): a crosscoder has one decoder per model; a dictionary of one model is none"
        )
    n_latents, n_models, d_model = axes
    return n_models, d_model, n_latents


def check_numbers(name: str, tensor: Tensor) -> None:
    """Raise ArtifactError unless the tensor is a plain one of floating-point numbers: PyTorch
    converts others with a loss, or in no way that every later step knows."""
    is_plain = tensor.layout is torch.strided and not tensor.is_meta
    if is_plain and tensor.dtype in DTYPES:
        return
    kind = str(tensor.dtype).removeprefix("torch.")
    form = "" if is_plain else " without values" if tensor.is_meta else " in a sparse form"
    raise ArtifactError(
        f"{name} is {kind}{form}, expected plain numbers of "
        f"{', '.join(str(dtype).removeprefix('torch.') for dtype in DTYPES)}: convert it where it "
        "was trained, or take the file from before it was packed"
    )


def check_scale(activation_scale: Tensor | None) -> None:
    """Raise ArtifactError unless every factor is a finite number above 0."""
    if activation_scale is None or bool(
        (torch.isfinite(activation_scale) & (activation_scale > 0)).all()
    ):
        return
    raise ArtifactError(
        f"activation_scale is {activation_scale.tolist()}, expected one finite number above 0 per "
        "model: correct it, or leave it out and have it measured"
    )
