"""A crosscoder's verdicts by latent scaling, as `latent_scaling` of the configuration asks."""

from typing import TYPE_CHECKING

from pipeline.analysis.decoders.geometry import decoder_geometry
from pipeline.analysis.heldout import Window
from pipeline.analysis.verdicts.elsewhere import look_exclusive, refute_elsewhere
from pipeline.analysis.verdicts.elsewhere_pass import tails_elsewhere
from pipeline.analysis.verdicts.intervals import resamples
from pipeline.analysis.verdicts.kinds import decoupled, differences, name_kinds
from pipeline.analysis.verdicts.scaling import scaling_pass
from pipeline.analysis.verdicts.table import verdict_table
from pipeline.analysis.verdicts.twins import refute_twinned
from pipeline.analysis.verdicts.written import written
from pipeline.config.analysis import LatentScalingConfig
from pipeline.crosscoder import Crosscoder
from pipeline.runtime import generator, numpy_generator

if TYPE_CHECKING:
    import pandas as pd


def judge(crosscoder: Crosscoder, window: Window, section: LatentScalingConfig) -> "pd.DataFrame":
    """One row per latent, with the columns of `results/latents.parquet`. Each process that
    shares the window's rows gets the whole table."""
    random = generator(section.seed, "latent_scaling", "null")
    sums = scaling_pass(crosscoder, window, n_blocks=section.n_blocks, random=random)
    weights_RG = resamples(
        section.n_blocks,
        section.n_bootstrap,
        numpy_generator(section.seed, "latent_scaling", "bootstrap"),
    )
    geometry = decoder_geometry(crosscoder.W_dec.detach().cpu().numpy())
    table = verdict_table(geometry, sums, weights_RG, section)
    table = refute_twinned(table, crosscoder.W_dec.detach(), section)
    candidate = look_exclusive(table, section)
    tails_Q = tails_elsewhere(crosscoder, window, table, candidate, n_blocks=section.n_blocks)
    table = refute_elsewhere(table, candidate, tails_Q, section)
    products = written(crosscoder, window, sums, decoupled(table, section))
    n_effective_L = table["n_effective"].to_numpy()
    return name_kinds(table, differences(products, n_effective_L, section), section)
