"""The learning rate over a run."""

from pipeline.config.crosscoder import TrainConfig
from pipeline.crosscoder.variant import Moment


def learning_rate(config: TrainConfig, moment: Moment) -> float:
    """Adam's step size at a moment: linear from 0 over `lr_warmup_steps`, constant, then linear
    to 0 over the last `lr_decay_fraction` of the steps."""
    rise = 1.0
    if config.lr_warmup_steps > 0:
        rise = min(1.0, (moment.step + 1) / config.lr_warmup_steps)
    decay_steps = config.lr_decay_fraction * moment.n_steps
    fall = 1.0
    if decay_steps > 0:
        fall = min(1.0, (moment.n_steps - moment.step) / decay_steps)
    return config.learning_rate * rise * fall
