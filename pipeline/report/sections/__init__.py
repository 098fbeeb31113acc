"""The sections of the page in its order. A new one is a file here, its template, and a line."""

from pipeline.report.section import Section
from pipeline.report.sections import (
    baselines,
    causal,
    changes,
    configuration,
    data,
    decoders,
    evaluation,
    explanations,
    glossary,
    latents,
    organism,
    overview,
    provenance,
    recovery,
    seeds,
    steering,
    training,
    verdicts,
)

SECTIONS: tuple[Section, ...] = (
    overview.SECTION,
    changes.SECTION,
    explanations.SECTION,
    verdicts.SECTION,
    decoders.SECTION,
    latents.SECTION,
    causal.SECTION,
    baselines.SECTION,
    recovery.SECTION,
    seeds.SECTION,
    organism.SECTION,
    steering.SECTION,
    evaluation.SECTION,
    training.SECTION,
    data.SECTION,
    provenance.SECTION,
    configuration.SECTION,
    glossary.SECTION,
)
