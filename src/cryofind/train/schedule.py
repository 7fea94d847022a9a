"""The learning rate of every step."""

import math

from cryofind.config import TrainConfig


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """Return the learning rate of a step: a linear warm-up, then half a cosine down to 0 after the last step.

    Parameters
    ----------
    step
        Number of the step, 0 to `config.steps` - 1.
    config
        Peak, number of steps and share of the warm-up.
    """
    warmup_steps = round(config.warmup_fraction * config.steps)
    if step < warmup_steps:
        return config.learning_rate * (step + 1) / warmup_steps
    share = (step - warmup_steps) / max(config.steps - warmup_steps, 1)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * share))
