"""A crosscoder's verdicts by latent scaling, as `latent_scaling` of the configuration asks."""

from typing import TYPE_CHECKING, Any

from pipeline.analysis.decoders.geometry import decoder_geometry
from pipeline.analysis.verdicts.elsewhere import look_exclusive, refute_elsewhere
from pipeline.analysis.verdicts.elsewhere_pass import tails_elsewhere
from pipeline.analysis.verdicts.intervals import resamples
from pipeline.analysis.verdicts.kinds import decoupled, differences, name_kinds
from pipeline.analysis.verdicts.scaling import scaling_pass
from pipeline.analysis.verdicts.table import Rule, verdict_table
from pipeline.analysis.verdicts.twins import TwinRule, refute_twinned
from pipeline.analysis.verdicts.written import written
from pipeline.config.analysis import LatentScalingConfig
from pipeline.crosscoder import Crosscoder
from pipeline.distributed import ALONE, Ranks
from pipeline.runtime import generator, numpy_generator
from pipeline.store import StoreReader

if TYPE_CHECKING:
    import pandas as pd


def judge(
    crosscoder: Crosscoder,
    reader: StoreReader,
    section: LatentScalingConfig,
    ranks: Ranks = ALONE,
) -> "pd.DataFrame":
    """One row per latent, with the columns of `results/latents.parquet`. ranks: the processes that
    share the rows; each gets the whole table"""
    # The rows of every pass.
    rows: Any = {"n_rows": section.n_rows, "batch_rows": section.batch_rows, "ranks": ranks}
    sums = scaling_pass(
        crosscoder,
        reader,
        n_blocks=section.n_blocks,
        random=generator(section.seed, "latent_scaling", "null"),
        **rows,
    )
    rule = Rule.of(section)
    table = verdict_table(
        decoder_geometry(crosscoder.W_dec.detach().cpu().numpy()),
        sums,
        resamples(
            section.n_blocks,
            section.n_bootstrap,
            numpy_generator(section.seed, "latent_scaling", "bootstrap"),
        ),
        rule=rule,
        confidence=section.confidence,
    )
    table = refute_twinned(table, crosscoder.W_dec.detach(), TwinRule.of(section))
    candidate = look_exclusive(
        table, max_eps=section.max_nu_error, max_r=section.max_nu_reconstruction
    )
    tails_Q = tails_elsewhere(
        crosscoder, reader, table, candidate, n_blocks=section.n_blocks, **rows
    )
    table = refute_elsewhere(
        table,
        candidate,
        tails_Q,
        max_share=section.max_share_elsewhere,
        max_false_discovery_rate=section.max_false_discovery_rate,
    )
    products = written(crosscoder, reader, sums, decoupled(table, rule), **rows)
    n_effective_L = table["n_effective"].to_numpy()
    return name_kinds(table, differences(products, n_effective_L, rule), rule)
