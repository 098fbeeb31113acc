"""Every pair of the runs of one crosscoder under several seeds, judged alike and compared."""

from itertools import combinations
from typing import Any

from pipeline.analysis.opening import Opened
from pipeline.analysis.seeds.compare import COLUMNS, Comparing, SeedRun, compare, summary
from pipeline.analysis.seeds.result import Pair
from pipeline.analysis.verdicts.judge import judge
from pipeline.runtime import numpy_generator
from pipeline.stage import SEEDS, seed_folder


def compare_all(opened: Opened, n_runs: int) -> dict[str, Any]:
    """What `results/seeds.json` holds."""
    section, runs = opened.config.latent_scaling, _judged(opened, n_runs)
    pairs: list[Pair] = []
    for a, b in combinations(range(n_runs), 2):
        how = Comparing(
            n_bootstrap=section.n_bootstrap,
            confidence=section.confidence,
            random=numpy_generator(section.seed, "seeds", f"{a}-{b}"),
        )
        pairs.append({"runs": [a, b], **compare(runs[a], runs[b], how)})
    return {
        "applicable": True,
        "n_runs": n_runs,
        "confidence": section.confidence,
        "columns": COLUMNS,
        "summary": summary(pairs),
        "pairs": pairs,
    }


def _judged(opened: Opened, n_runs: int) -> list[SeedRun]:
    """The live latents of every run with their verdicts; those of run 0 are there already."""
    first = opened.crosscoder()
    runs = [SeedRun.of(first.W_dec.cpu().numpy(), opened.latents()["verdict"].tolist())]
    section = opened.config.latent_scaling
    with opened.heldout(section) as window:
        for number in range(1, n_runs):
            other = opened.crosscoder(seed_folder(SEEDS, number))
            verdicts = judge(other, window, section)["verdict"].tolist()
            runs.append(SeedRun.of(other.W_dec.cpu().numpy(), verdicts))
    return runs
