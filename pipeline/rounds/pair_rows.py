"""The rows of the configured model pair: hook point, planted features, pairing."""

from functools import cached_property
from typing import Any

from pipeline.config import Config
from pipeline.distributed import ALONE, Ranks
from pipeline.harvest.dump import dump, first_batch
from pipeline.harvest.pair import HookedPair, load_pair
from pipeline.harvest.sequences import Sequences
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
        return load_pair(MODELS, self.config.hook_point, device)

    @cached_property
    def plant(self) -> Plant | None:
        """The features added to the rows, in units of the first batch's; None: none."""
        section = self.config.plant
        if section is None:
            return None
        bits = first_batch(self.tokens, self.pair, self.config.dump.batch_tokens)
        features = draw_features(section, self.pair.d_model, self.tokens.layout.sources)
        return Plant(features, spread_norm(to_float(bits)))

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest of a store of these rows tells its readers."""
        pair = self.pair
        shape = {"d_model": pair.d_model, "n_models": len(pair.models), "layer": pair.layer}
        return {**shape, "bos_id": pair.start_id}

    def write(
        self, open_writer: OpenWriter, sequences: Sequences, name: str, ranks: Ranks = ALONE
    ) -> dict[str, int]:
        """Write the rows of some sequences; the counts. name: of the progress line and log."""
        section = self.config.dump
        return dump(
            open_writer,
            self.tokens,
            sequences,
            self.pair,
            batch_tokens=section.batch_tokens,
            rows_per_chunk=section.rows_per_chunk,
            codec=section.codec,
            progress_name=name,
            change=in_turn(self.plant, pairing_of(section)),
            ranks=ranks,
        )
