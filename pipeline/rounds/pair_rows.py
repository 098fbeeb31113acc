"""The rows of the configured model pair: hook point, outliers, planted features, pairing."""

from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.distributed import ALONE, Ranks
from pipeline.harvest.dump import dump, first_batch, sequences_at_once
from pipeline.harvest.outliers import NormLimits, measure_limits, sample_sequences
from pipeline.harvest.pair import HookedPair, load_pair
from pipeline.harvest.sequences import Sequences
from pipeline.harvest.sink import NormFilter, Target
from pipeline.labels import OUTLIERS, TRAIN
from pipeline.plant.features import draw_features
from pipeline.plant.pairing import pairing_of
from pipeline.plant.rows import Plant, in_turn, spread_norm, to_float
from pipeline.runtime import resolve_device
from pipeline.stage import MODELS
from pipeline.store import OpenWriter, StoreReader


class PairRows:
    """Computes rows of `tokens` with the models of `data/models/`, which are loaded when the first
    row is asked for and stay on the device."""

    def __init__(self, config: Config, tokens: StoreReader) -> None:
        self.config, self.tokens = config, tokens

    @cached_property
    def pair(self) -> HookedPair:
        """Both models up to the hook point."""
        device = resolve_device(self.config.runtime.device)
        layers = (self.config.hook_point.layer,)
        return load_pair(MODELS, self.config.hook_point, device, layers)

    @cached_property
    def limits(self) -> NormLimits | None:
        """The norms beyond which rows are left out; None: none is."""
        section = self.config.dump
        if section.max_norm_ratio is None:
            return None
        n_train = int((self.tokens.read("split") == TRAIN).sum())
        (limits,) = measure_limits(
            self.tokens,
            sample_sequences(n_train, section.norm_sample_sequences, section.seed),
            self.pair,
            batch_sequences=sequences_at_once(self.tokens, section.batch_tokens),
            ratio=section.max_norm_ratio,
        )
        return limits

    @cached_property
    def plant(self) -> Plant | None:
        """The features added to the rows, in units of the first batch's; None: none."""
        section = self.config.plant
        if section is None:
            return None
        (bits,) = first_batch(self.tokens, self.pair, self.config.dump.batch_tokens)
        if self.limits is not None:
            bits = bits[~self.limits.beyond(bits).any(axis=1)]
        features = draw_features(section, self.pair.d_model, self.tokens.layout.sources)
        return Plant(features, spread_norm(to_float(bits)))

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest of a store of these rows tells its readers."""
        pair = self.pair
        shape = {"d_model": pair.d_model, "n_models": len(pair.models), "layer": pair.layers[0]}
        outliers = {} if self.limits is None else {OUTLIERS: self.limits.facts}
        return {**shape, "bos_id": pair.start_id, **outliers}

    def write(
        self,
        open_writer: OpenWriter,
        sequences: Sequences,
        name: str,
        ranks: Ranks = ALONE,
        *,
        folder: Path | None = None,
    ) -> dict[str, int]:
        """Write the rows of some sequences; the counts. name: of the progress line and log; folder:
        where the store lies, needed where rows are left out by norm"""
        section, norms = self.config.dump, None
        if self.limits is not None:
            assert folder is not None
            norms = NormFilter(self.limits, folder)
        (counts,) = dump(
            [Target(open_writer, in_turn(self.plant, pairing_of(section)), norms)],
            self.tokens,
            sequences,
            self.pair,
            batch_tokens=section.batch_tokens,
            rows_per_chunk=section.rows_per_chunk,
            codec=section.codec,
            progress_name=name,
            ranks=ranks,
        )
        return counts
