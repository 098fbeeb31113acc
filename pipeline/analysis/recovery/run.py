"""The verdicts held against the planted truth: matching, tables, scores."""

from pipeline.analysis.opening import Opened
from pipeline.analysis.recovery.matching import cooccurrence, direction_cosine, match
from pipeline.analysis.recovery.result import Recovery
from pipeline.analysis.recovery.scores import (
    Frame,
    feature_table,
    latent_table,
    recovery_scores,
    with_frequency,
)
from pipeline.plant.features import draw_features


def score(opened: Opened) -> tuple[Recovery, Frame, Frame]:
    """The scores, the table of features and that of latents."""
    section, plant = opened.config.recovery, opened.config.plant
    assert plant is not None
    crosscoder = opened.crosscoder()
    with opened.heldout(section) as window:
        planted = draw_features(plant, crosscoder.d_model, window.reader.layout.sources)
        together = cooccurrence(crosscoder, planted, window)
    scale = crosscoder.activation_scale.double().cpu().numpy()
    cosine = direction_cosine(crosscoder.W_dec.detach().double().cpu().numpy(), planted, scale)
    matching = match(
        together.correlation_LF,
        cosine,
        min_correlation=section.min_correlation,
        min_cosine=section.min_cosine,
    )
    verdicts = opened.latents()
    features = feature_table(
        planted.table(),
        verdicts,
        matching,
        together,
        limits=section,
        scale_ratio=float(scale[0] / scale[1]),
    )
    latents = latent_table(verdicts, features, matching, together)
    features, latents = (
        with_frequency(table, section.common_rate) for table in (features, latents)
    )
    scores = recovery_scores(features, latents, exclusive_below=section.exclusive_below)
    return scores, features, latents
