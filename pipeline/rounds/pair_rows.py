"""The rows of the configured model pair: hook point, outliers, planted features, pairing."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
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
        hook_point = self.config.hook_point
        return load_pair(MODELS, hook_point, device, hook_point.all_layers)

    @cached_property
    def limits(self) -> dict[int, NormLimits]:
        """Layer -> the norms beyond which its rows are left out; empty: none is."""
        section = self.config.dump
        if section.max_norm_ratio is None:
            return {}
        n_train = int((self.tokens.read("split") == TRAIN).sum())
        limits = measure_limits(
            self.tokens,
            sample_sequences(n_train, section.norm_sample_sequences, section.seed),
            self.pair,
            batch_sequences=sequences_at_once(self.tokens, section.batch_tokens),
            ratio=section.max_norm_ratio,
        )
        return dict(zip(self.pair.layers, limits, strict=True))

    @cached_property
    def plant(self) -> Plant | None:
        """The features added to the rows, in units of the first batch's; None: none."""
        section = self.config.plant
        if section is None:
            return None
        (bits,) = first_batch(self.tokens, self.pair, self.config.dump.batch_tokens)
        for limits in self.limits.values():
            bits = bits[~limits.beyond(bits).any(axis=1)]
        features = draw_features(section, self.pair.d_model, self.tokens.layout.sources)
        return Plant(features, spread_norm(to_float(bits)))

    def facts(self, layer: int) -> dict[str, Any]:
        """What the manifest of a store of these rows at `layer` tells its readers."""
        pair, limits = self.pair, self.limits.get(layer)
        shape = {"d_model": pair.d_model, "n_models": len(pair.models), "layer": layer}
        outliers = {} if limits is None else {OUTLIERS: limits.facts}
        return {**shape, "bos_id": pair.start_id, **outliers}

    def write(
        self,
        writers: Mapping[int, OpenWriter],
        sequences: Sequences,
        name: str,
        ranks: Ranks = ALONE,
        *,
        folders: Mapping[int, Path] = MappingProxyType({}),
    ) -> dict[int, dict[str, int]]:
        """Write the rows of some sequences at each layer that has a writer; the counts of each.

        name: of the progress line and log; folders: where the stores lie, needed where rows are
        left out by norm
        """
        section, layers = self.config.dump, tuple(sorted(writers))
        change = in_turn(self.plant, pairing_of(section))
        norms = {n: NormFilter(limits, folders[n]) for n, limits in self.limits.items()}
        counts = dump(
            [Target(writers[layer], change, norms.get(layer)) for layer in layers],
            self.tokens,
            sequences,
            replace(self.pair, layers=layers),
            batch_tokens=section.batch_tokens,
            rows_per_chunk=section.rows_per_chunk,
            codec=section.codec,
            progress_name=name,
            ranks=ranks,
        )
        return dict(zip(layers, counts, strict=True))
