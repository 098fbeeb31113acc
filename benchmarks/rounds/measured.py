"""What a trained crosscoder is compared by: fit, verdicts, and the list of changes beside it.

Letters: M models, D d_model, K figures (base, IT, their difference), Q sequences, S positions, J
changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.rounds.orders import Ordered
from pipeline.analysis.changes.judge import judge as judge_changes
from pipeline.analysis.changes.latents import rests_on
from pipeline.analysis.changes.measure import Changes, measure
from pipeline.analysis.changes.search import find_lines
from pipeline.analysis.changes.surroundings import latents_under
from pipeline.analysis.changes.table import order
from pipeline.analysis.evaluation.rows_pass import with_difference
from pipeline.analysis.heldout import Window, as_float, spread_blocks
from pipeline.analysis.losses import target_scores
from pipeline.analysis.seeds.compare import Comparing, SeedRun, compare
from pipeline.analysis.splicing import (
    Unpatched,
    hooked_pair,
    patched,
    prediction_mask,
    rebuilt_rows,
)
from pipeline.analysis.verdicts.judge import judge as judge_latents
from pipeline.artifacts import read_manifest
from pipeline.config import Config
from pipeline.crosscoder import Crosscoder
from pipeline.labels import MODELS as NAMES
from pipeline.labels import OUTLIERS
from pipeline.models.start import read_start
from pipeline.runtime import generator, numpy_generator
from pipeline.stage import HELDOUT_ACTIVATIONS, MODELS, TOKENS
from pipeline.store import StoreReader

KINDS = {
    "shared": ("shared",),
    "changed": ("turned", "stronger", "weaker", "moved"),
    "exclusive": ("base_only", "it_only"),
    "undecided": ("undecided",),
    "dead": ("dead",),
}
"""Verdicts as they are counted."""
ALTERED = KINDS["changed"] + KINDS["exclusive"]


@dataclass(frozen=True)
class Listed:
    """The listed changes that have a direction: direction_JD, unit vectors, and share_J of each."""

    direction_JD: Tensor
    share_J: NDArray[np.float64]

    def found_again_in(self, other: "Listed", same_cosine: float) -> float:
        """By share, the part of this list whose directions the other list has, either way round."""
        if not (len(self.share_J) and len(other.share_J)):
            return 0.0
        cosine_J = (self.direction_JD @ other.direction_JD.T).abs().amax(dim=1)
        found_J = (cosine_J > same_cosine).cpu().numpy()
        return float(self.share_J[found_J].sum() / self.share_J.sum())


@dataclass(frozen=True)
class Measured:
    """A run: its figures, its latents with their verdicts, and its list of changes."""

    figures: dict[str, float]
    latents: SeedRun
    listed: Listed

    def beside(self, other: "Measured", same_cosine: float) -> dict[str, float]:
        """What this run has in common with another, which was trained under another seed."""
        how = Comparing(n_bootstrap=1, confidence=0.95, random=np.random.default_rng(0))
        found = compare(self.latents, other.latents, how)
        kappa = found["verdicts"]["kappa"]["value"]
        return {
            "matched_cosine": found["matched"]["mean_cosine"],
            "matched_kappa": float("nan") if kappa is None else kappa,
            "changes_found_again": other.listed.found_again_in(self.listed, same_cosine),
        }


class Heldout:
    """Held-out rows and sequences, on which every run is measured alike."""

    def __init__(
        self, config: Config, reader: StoreReader, n_sequences: int, device: torch.device
    ) -> None:
        self.config, self.reader, self.device = config, reader, device
        self.pair = hooked_pair(MODELS, config.hook_point, device, config.runtime.logits_bytes)
        self.x_BMD = as_float(reader.read("activations"), device)
        with StoreReader.open(TOKENS) as tokens:
            split = tokens.read("split")
            random = numpy_generator(config.seed, "benchmark", "sequences")
            heldout = np.flatnonzero(split == split[-1])
            chosen = np.sort(random.choice(heldout, n_sequences, replace=False))
            ids = torch.from_numpy(tokens.take("token_id", chosen)).long().to(device)
        limits = read_manifest(HELDOUT_ACTIVATIONS).facts.get(OUTLIERS, {}).get("norm_limit")
        unpatched = Unpatched(
            read_start(MODELS).id, limits and (limits[NAMES[0]], limits[NAMES[1]])
        )
        with torch.inference_mode():
            self.hidden_M = [model.residual(ids) for model in self.pair]
            starts = unpatched.starts(ids)
            self.kept = starts | unpatched.outliers(self.hidden_M)
            counted = prediction_mask(self.kept, starts)
            self.ids, self.targets = ids, ids[:, 1:][counted]
            self.at = torch.nn.functional.pad(counted, (0, 1))
            self.clean_ce_M = self._cross_entropies(self.hidden_M)

    def measured(self, crosscoder: Crosscoder, rows: Ordered) -> Measured:
        """All there is to tell of a crosscoder, and of the changes found on its training rows."""
        section = self.config.latent_scaling
        window = Window(self.reader, section.n_rows, section.batch_rows)
        table = judge_latents(crosscoder, window, section)
        verdicts = table["verdict"].tolist()
        counts = {name: sum(map(verdicts.count, kinds)) for name, kinds in KINDS.items()}
        latents = SeedRun.of(crosscoder.W_dec.cpu().numpy(), verdicts)
        figures, listed = self._changes(crosscoder, rows, verdicts)
        return Measured(self._fit(crosscoder) | counts | figures, latents, listed)

    @torch.inference_mode()
    def _fit(self, crosscoder: Crosscoder) -> dict[str, float]:
        """FVE pooled over both models and of their difference, L0, and the cross entropy that
        splicing adds to each model."""
        n_active, mean_MD = 0, self.x_BMD.mean(0)
        error_K, total_K = torch.zeros(2, 3, dtype=torch.float64, device=self.device)
        for x in self.x_BMD.split(2048):
            f = crosscoder.latents(x)
            n_active += int(f.count_nonzero())
            error = x - crosscoder.denormalise(crosscoder.decode(f))
            error_K += with_difference(error).double().square().sum(dim=(0, 2))
            total_K += with_difference(x - mean_MD).double().square().sum(dim=(0, 2))
        added_M = np.subtract(self._spliced_ce(crosscoder), self.clean_ce_M)
        return {
            "fve": 1 - float(error_K[:2].sum() / total_K[:2].sum()),
            "fve_difference": 1 - float(error_K[2] / total_K[2]),
            "l0": n_active / len(self.x_BMD),
            **{f"delta_ce_{name}": float(a) for name, a in zip(NAMES, added_M, strict=True)},
        }

    def _spliced_ce(self, crosscoder: Crosscoder) -> list[float]:
        stacked = torch.stack([hidden.float() for hidden in self.hidden_M], dim=2)
        rebuilt = rebuilt_rows(crosscoder, stacked.flatten(0, 1)).unflatten(0, stacked.shape[:2])
        return self._cross_entropies(
            [patched(hidden, rebuilt[:, :, m], self.kept) for m, hidden in enumerate(self.hidden_M)]
        )

    def _cross_entropies(self, stream_M: Sequence[Tensor]) -> list[float]:
        """Mean in nats over the predictions that count, of each model with its stream [Q, S, D] at
        the hook point."""
        return [
            -float(
                target_scores(model.head, self.targets, model.continued(self.ids, stream)[self.at])[
                    0
                ].mean()
            )
            for model, stream in zip(self.pair, stream_M, strict=True)
        ]

    def _changes(
        self, crosscoder: Crosscoder, rows: Ordered, verdicts: Sequence[str]
    ) -> tuple[dict[str, float], Listed]:
        """The list as the stage makes it, found on the first round, and the latents under it."""
        section = self.config.changes
        blocks = spread_blocks(len(rows.first), section.n_find_rows, section.batch_rows)
        sample = np.concatenate([rows.first[start:stop] for start, stop in blocks])
        x_TMD = as_float(rows.activations[sample], self.device)
        random = generator(section.seed, "changes", "starts")
        changes = Changes(find_lines(x_TMD, section, random))
        judgement = judge_changes(measure(changes, self.reader, section), section)
        listed = order(judgement)
        lined = [change for change in listed if change < changes.n]
        window = Window(self.reader, section.n_rows, section.batch_rows)
        rests = rests_on(changes, crosscoder, window, None, section)
        under = [latents_under(rests, change, verdicts, section) for change in lined]
        altered = [any(latent["verdict"] in ALTERED for latent in latents) for latents in under]
        figures = {
            "changes": len(listed),
            "changes_share": float(judgement.share[listed].sum()),
            "changes_on_latents": float(np.mean([bool(latents) for latents in under])),
            "changes_on_altered_latents": float(np.mean(altered)),
        }
        return figures, Listed(changes.direction_JD[lined], judgement.share[lined])
