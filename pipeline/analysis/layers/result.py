"""What `results/layers.json` holds."""

from typing_extensions import TypedDict

from pipeline.results import Measured, ResultFile


class LargestChange(TypedDict):
    """The first entry of the list of changes. tokens: on which it acts most"""

    kind: str
    share: Measured
    tokens: list[str]


class LayerFigures(TypedDict):
    """What one experiment leaves. alike: digest of all that made it but `hook_point.layer`

    base_only, it_only: latents; kinds: kind of change -> entries of the list; share_listed: of the
    difference; largest: None where nothing is listed
    """

    layer: int
    alike: str
    l0: Measured
    fve_base: Measured
    fve_it: Measured
    fve_difference: Measured
    base_only: int
    it_only: int
    n_listed: int
    share_listed: float
    kinds: dict[str, int]
    largest: LargestChange | None


class Layers(TypedDict):
    """rows: by layer, the lowest first; layers: those that the dump has read."""

    applicable: bool
    layers: list[int]
    rows: list[LayerFigures]


LAYERS = ResultFile("layers.json", "layers", Layers)
