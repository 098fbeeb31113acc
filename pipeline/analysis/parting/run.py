"""Where the models part: every sampled token's KL, and for the largest what carries it.

Letters: S positions, D d_model, Q sequences, N tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.changes.measure import Changes
from pipeline.analysis.changes.result import listed
from pipeline.analysis.changes.rows import ChangeRows
from pipeline.analysis.opening import Opened
from pipeline.analysis.parting.attribution import Scene
from pipeline.analysis.parting.carriers import Found, Subjects, carriers, correlation
from pipeline.analysis.parting.result import (
    COLUMNS,
    Agreement,
    Carrier,
    Expected,
    Parting,
    Source,
    Token,
)
from pipeline.analysis.parting.screening import Screened, screen
from pipeline.analysis.splicing import HookedModel, Unpatched
from pipeline.config.causal import PartingConfig
from pipeline.progress import Progress
from pipeline.results import NotApplicable, not_applicable
from pipeline.runtime import generator, numpy_generator
from pipeline.stage import TOKENS
from pipeline.store import StoreReader
from pipeline.text.pieces import Pieces

if TYPE_CHECKING:
    import pandas as pd

QUANTILES = (0.5, 0.9, 0.99)
TOP = 0.01
"""`top_share` is of so many of the tokens."""


@dataclass(frozen=True)
class Bench:
    """What every listed token is looked at with."""

    models: tuple[HookedModel, HookedModel]
    subjects: Subjects
    tokens: StoreReader
    pieces: Pieces
    section: PartingConfig
    unpatched: Unpatched
    random_D: Tensor
    device: torch.device

    def token(self, sequence: int, position: int) -> Token:
        """All that is told of one token."""
        ids = self.tokens.take("token_id", np.array([sequence]))[0].tolist()
        texts = self.pieces.of(ids)
        token_ids = torch.tensor(ids[: position + 1], device=self.device)[None]
        scene = Scene.of(self.models, token_ids, self.unpatched)
        gradient_SD = scene.path_gradient(self.section.path_points)
        difference_SD = scene.it_SD - scene.base_SD
        changes = self.subjects.changes(scene, gradient_SD)
        latents = self.subjects.latents(scene, gradient_SD)
        with torch.no_grad():
            log_it_1V = scene.log_it_1V(scene.it_SD)
            kl = float(scene.kl(scene.it_SD))
        return {
            "sequence": sequence,
            "position": position,
            "before": "".join(texts[max(0, position - self.section.n_context_tokens) : position]),
            "token": texts[position],
            "follows": texts[position + 1],
            "kl": kl,
            "from_below": scene.removed([difference_SD])[0],
            "attributed": float((difference_SD * gradient_SD).sum()),
            "expected_by_it": self.expected(log_it_1V),
            "expected_by_base": self.expected(scene.log_base_1V),
            "changes": self.carriers(scene, gradient_SD, changes, self.section.n_changes, texts),
            "latents": self.carriers(scene, gradient_SD, latents, self.section.n_latents, texts),
        }

    def carriers(
        self, scene: Scene, gradient_SD: Tensor, found: Found, n: int, texts: list[str]
    ) -> list[Carrier]:
        """The n strongest of what was found."""
        random_D, name = self.random_D, texts.__getitem__
        return carriers(scene, gradient_SD, found, n=n, random_D=random_D, name=name)

    def expected(self, log_1V: Tensor) -> Expected:
        """The likeliest next tokens."""
        top = log_1V[0].exp().topk(min(self.section.n_expected, log_1V.shape[1]))
        return [
            (self.pieces.single(int(token)), round(float(share), 4))
            for token, share in zip(top.indices, top.values, strict=True)
        ]


def find(opened: Opened) -> "tuple[Parting | NotApplicable, pd.DataFrame]":
    """What `results/parting.json` and `.parquet` hold."""
    import pandas as pd

    if not opened.config.has_models:
        nothing = pd.DataFrame({name: [] for name in COLUMNS})
        return not_applicable("the experiment has no models that could predict"), nothing
    section, models = opened.config.parting, opened.hooked_models()
    random = numpy_generator(section.seed, "parting", "sequences")
    sequences = opened.sampled_sequences(section.n_sequences, random)
    with opened.reader(TOKENS) as tokens:
        screened = screen(
            models,
            tokens,
            sequences,
            batch_sequences=section.batch_sequences,
            unpatched=opened.unpatched,
            device=opened.device,
        )
        names = tokens.layout.sources
        told = tell(make_bench(opened, models, tokens), screened, len(names))
    bootstrap = Bootstrap.of(section, len(sequences), "parting", "bootstrap")
    sources = [
        describe(screened, source, name, told[source], bootstrap)
        for source, name in enumerate(names)
    ]
    listed = [token for source in sources for token in source["tokens"]]
    result: Parting = {
        "applicable": True,
        "confidence": section.confidence,
        "n_sequences": len(sequences),
        "path_points": section.path_points,
        "min_kl": section.min_kl,
        "sources": sources,
        "of_changes": agreement([one for token in listed for one in token["changes"]]),
        "of_latents": agreement([one for token in listed for one in token["latents"]]),
    }
    return result, frame(screened, names)


def make_bench(
    opened: Opened, models: tuple[HookedModel, HookedModel], tokens: StoreReader
) -> Bench:
    """The listed changes, the crosscoder and the models, to look at tokens with."""
    config = opened.config
    rows = ChangeRows(Changes.found(opened.device), config.changes)
    random = generator(config.parting.seed, "parting", "direction")
    return Bench(
        models=models,
        subjects=Subjects(
            rows,
            {entry["rank"]: entry["change"] for entry in listed()},
            opened.crosscoder(),
        ),
        tokens=tokens,
        pieces=Pieces(opened.tokenizer),
        section=config.parting,
        unpatched=opened.unpatched,
        random_D=normalize(torch.randn(rows.d_model, generator=random), dim=0).to(opened.device),
        device=opened.device,
    )


def tell(bench: Bench, screened: Screened, n_sources: int) -> list[list[Token]]:
    """Of each source, the tokens with the largest KL."""
    section = bench.section
    chosen = [
        screened.largest(
            source, n=section.n_tokens, min_kl=section.min_kl, apart=section.apart_tokens
        )
        for source in range(n_sources)
    ]
    with Progress("parting", total=sum(map(len, chosen)), unit="tokens") as progress:
        told: list[list[Token]] = []
        for numbers in chosen:
            told.append([])
            for n in numbers:
                told[-1].append(bench.token(int(screened.sequence[n]), int(screened.position[n])))
                progress.advance(1)
    return told


def describe(
    screened: Screened, source: int, name: str, tokens: list[Token], bootstrap: Bootstrap
) -> Source:
    """The KL over the text of a source; its interval resamples whole sequences."""
    is_own = screened.source == source
    kl_N, n_top = screened.kl[is_own], max(1, round(TOP * is_own.sum()))
    _, unit_N = np.unique(screened.sequence, return_inverse=True)
    sum_Q, n_Q = np.zeros(int(unit_N.max()) + 1), np.zeros(int(unit_N.max()) + 1)
    np.add.at(sum_Q, unit_N[is_own], kl_N)
    np.add.at(n_Q, unit_N[is_own], 1.0)
    return {
        "name": name,
        "n_tokens": len(kl_N),
        "kl": bootstrap.ratio(sum_Q, n_Q),
        "quantiles": {str(q): float(np.quantile(kl_N, q)) for q in QUANTILES if len(kl_N)},
        "top_share": float(np.sort(kl_N)[-n_top:].sum() / max(kl_N.sum(), 1e-30)),
        "tokens": tokens,
    }


def agreement(found: Sequence[Carrier]) -> Agreement:
    return {"n": len(found), "correlation": correlation(found)}


def frame(screened: Screened, names: Sequence[str]) -> "pd.DataFrame":
    """`results/parting.parquet`."""
    import pandas as pd

    columns = {name: getattr(screened, name) for name in COLUMNS}
    return pd.DataFrame(columns | {"source": np.array(names)[screened.source]})
