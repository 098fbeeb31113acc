"""The evaluation: a pass over held-out rows, and both models with the crosscoder spliced in."""

import torch

from pipeline.analysis.bootstrap import Bootstrap
from pipeline.analysis.evaluation.result import Evaluation
from pipeline.analysis.evaluation.rows_pass import HeldoutSums, heldout_pass
from pipeline.analysis.evaluation.splice import SpliceSums, merge, splice_batch
from pipeline.analysis.evaluation.table import evaluation
from pipeline.analysis.groups import cells_of
from pipeline.analysis.opening import Opened
from pipeline.crosscoder import Crosscoder
from pipeline.progress import Progress
from pipeline.runtime import numpy_generator
from pipeline.stage import TOKENS


def evaluated(opened: Opened, crosscoder: Crosscoder, sums: HeldoutSums) -> Evaluation:
    """What `results/evaluation.json` holds. sums: of the pass over held-out rows."""
    config, section = opened.config, opened.config.evaluate
    splice = over_sequences(opened, crosscoder, sums) if config.has_models else None
    n_units = {"rows": len(sums.n_UC), "splice": len(splice.n_QC) if splice else 1}
    return evaluation(
        sums,
        splice,
        bootstrap_of={
            name: Bootstrap.of(section, n, "bootstrap", name) for name, n in n_units.items()
        },
        confidence=section.confidence,
        models=config.models.model_dump(mode="json"),
        l0_training=opened.manifests["crosscoder"].facts["last"].get("l0"),
    )


def over_rows(opened: Opened, crosscoder: Crosscoder) -> HeldoutSums:
    """The pass over held-out activations."""
    n_sequences = opened.manifests["heldout_activations"].counts["n_sequences"]
    with opened.heldout(opened.config.evaluate) as window:
        return heldout_pass(crosscoder, window, n_sequences=n_sequences)


def over_sequences(opened: Opened, crosscoder: Crosscoder, sums: HeldoutSums) -> SpliceSums:
    """Both models on held-out sequences: clean, spliced, zero- and mean-ablated."""
    section, device = opened.config.evaluate, opened.device
    random = numpy_generator(section.seed, "sequences")
    chosen = opened.sampled_sequences(section.n_sequences, random)
    with opened.reader(TOKENS) as tokens:
        arrays = {name: tokens.take(name, chosen) for name in ("token_id", "source", "token_class")}
    token_ids = torch.from_numpy(arrays["token_id"]).long()
    cell_QS = torch.from_numpy(cells_of(arrays["source"], arrays["token_class"]))
    pair, unpatched = opened.hooked_models(), opened.unpatched
    mean_MD = torch.from_numpy(sums.mean_KD[:2])
    step, batches = section.batch_sequences, []
    own = opened.ranks.part(-(-len(chosen) // step))
    with Progress("evaluate", total=len(own) * step, unit="sequences") as progress:
        for number in own:
            batch = slice(number * step, (number + 1) * step)
            batches.append(
                splice_batch(
                    pair,
                    crosscoder,
                    token_ids[batch].to(device),
                    cell_QS[batch].to(device),
                    sums.cells,
                    mean_MD=mean_MD,
                    unpatched=unpatched,
                )
            )
            progress.advance(len(token_ids[batch]))
    return merge(opened.ranks.everyones(batches))
