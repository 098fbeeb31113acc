"""The variant that a configuration names."""

from pipeline.config.crosscoder import L1Config, TrainableConfig
from pipeline.crosscoder.dense import Precision
from pipeline.crosscoder.l1 import L1
from pipeline.crosscoder.model import Crosscoder
from pipeline.crosscoder.variant import Variant


def build_variant(
    crosscoder: Crosscoder,
    config: TrainableConfig,
    *,
    precision: Precision,
    dead_after_rows: int,  # noqa: ARG001
) -> Variant:
    """The training form of `crosscoder`. `dead_after_rows` is how long a latent may be silent
    before a variant that revives dead latents takes it for one."""
    match config:
        case L1Config():
            return L1.from_config(crosscoder, config, precision)
        case _:
            raise NotImplementedError(config.kind)
