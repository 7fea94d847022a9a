"""Learning rates as factors: of the share of the budget that is spent, and of F4 at every validation so far."""

from collections.abc import Callable, Sequence

import numpy as np

LearningRate = Callable[[float, Sequence[float]], float]

PATIENCE = 4  # validations without a better one


def constant(share: float, totals: Sequence[float]) -> float:
    """Return 1."""
    return 1.0


def cosine(share: float, totals: Sequence[float]) -> float:
    """Return half a cosine, from 1 to 0."""
    return float(0.5 * (1 + np.cos(np.pi * min(1.0, share))))


# Schedules that a change of the budget changes from the first step on.
BOUND_TO_BUDGET = (cosine,)


def halve_on_plateau(share: float, totals: Sequence[float]) -> float:
    """Return half as much after every `PATIENCE` validations that none before was worse than."""
    factor, best, waited = 1.0, -np.inf, 0
    for total in totals:
        waited = 0 if total > best else waited + 1
        best = max(best, total)
        if waited == PATIENCE:
            factor, waited = factor / 2, 0
    return factor
