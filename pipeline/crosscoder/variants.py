"""The variant that a configuration names."""

from pipeline.config.crosscoder import (
    BatchTopKConfig,
    DsfConfig,
    JumpReluConfig,
    L1Config,
    TrainableConfig,
)
from pipeline.crosscoder.batch_topk import BatchTopK
from pipeline.crosscoder.dsf import Dsf
from pipeline.crosscoder.jumprelu import JumpRelu
from pipeline.crosscoder.l1 import L1
from pipeline.crosscoder.model import Crosscoder
from pipeline.crosscoder.products import Precision
from pipeline.crosscoder.variant import Variant


def build_variant(
    crosscoder: Crosscoder,
    config: TrainableConfig,
    *,
    precision: Precision,
    dead_after_rows: int,
) -> Variant:
    """The training form of `crosscoder`. `dead_after_rows` is how long a latent may be silent
    before a variant that revives dead latents takes it for one."""
    match config:
        case L1Config():
            return L1(crosscoder, config, precision=precision)
        case DsfConfig():
            return Dsf(crosscoder, config, precision=precision)
        case JumpReluConfig():
            return JumpRelu(crosscoder, config, precision=precision)
        case BatchTopKConfig():
            return BatchTopK(
                crosscoder, config, precision=precision, dead_after_rows=dead_after_rows
            )
