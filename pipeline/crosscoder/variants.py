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
from pipeline.crosscoder.entries import Precision
from pipeline.crosscoder.jumprelu import JumpRelu
from pipeline.crosscoder.l1 import L1
from pipeline.crosscoder.model import Crosscoder
from pipeline.crosscoder.variant import Variant
from pipeline.distributed import ONE_PROCESS, Mesh


def build_variant(
    crosscoder: Crosscoder,
    config: TrainableConfig,
    *,
    precision: Precision,
    dead_after_rows: int,
    mesh: Mesh = ONE_PROCESS,
) -> Variant:
    """The training form of `crosscoder`, which holds this process's latents of those of `config`.
    `dead_after_rows` is how long a latent may be silent before a variant that revives dead latents
    takes it for one."""
    match config:
        case L1Config():
            return L1(crosscoder, config, precision=precision, mesh=mesh)
        case DsfConfig():
            return Dsf(crosscoder, config, precision=precision, mesh=mesh)
        case JumpReluConfig():
            return JumpRelu(crosscoder, config, precision=precision, mesh=mesh)
        case BatchTopKConfig():
            return BatchTopK(
                crosscoder,
                config,
                precision=precision,
                dead_after_rows=dead_after_rows,
                mesh=mesh,
            )
