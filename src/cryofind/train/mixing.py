"""Which share of the crops each project gives, step by step: from simulated to real."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from cryofind.config import TrainConfig
from cryofind.errors import ConfigError


def project_shares_at(step: int, config: TrainConfig) -> NDArray[np.float64]:
    """Return the share of the crops that each project gives at a step.

    Parameters
    ----------
    step
        Number of the step, 0 to `config.steps` - 1.
    config
        Shares at the start and at the end, and the share of the steps after which the latter hold.

    Returns
    -------
    ndarray
        float64 of shape (P,), sum 1: a straight line from the start shares at step 0 to the end shares. Empty when
        the configuration has no weights.
    """
    start = _normalize(config.project_weights)
    end = _normalize(config.project_weights_end or config.project_weights)
    steps_to_end = config.project_weights_end_from * max(config.steps - 1, 1)
    done = min(step / steps_to_end, 1.0)
    return (1 - done) * start + done * end


def check_weight_count(config: TrainConfig, project_count: int) -> None:
    """Refuse weights of another number of projects.

    Raises
    ------
    ConfigError
        If there are weights, but not one for each project.
    """
    found = len(config.project_weights)
    if found not in {0, project_count}:
        advice = "give one for each PROJECT, in the order of the command line"
        raise ConfigError("train.project_weights", f"are {found}, but there are {project_count} projects", advice)


def check_learnt_projects(config: TrainConfig, learnt: Collection[int]) -> None:
    """Refuse weights by which a run would never be shown, or a project would be shown that has none.

    Parameters
    ----------
    config
        The weights; nothing is refused without.
    learnt
        Numbers, from 0, of the projects that have runs to learn from.

    Raises
    ------
    ConfigError
        If a project with runs to learn from has no share at either end, or one with a share has no such runs.
    """
    if not config.project_weights:
        return
    shares = project_shares_at(0, config) + project_shares_at(config.steps, config)
    for number, share in enumerate(shares.tolist()):
        subject = f"train.project_weights: project {number + 1} of {len(shares)}"
        if share > 0 and number not in learnt:
            raise ConfigError(subject, "has a share, but no run to learn from", "hold fewer runs out, or leave it out")
        if share == 0 and number in learnt:
            advice = "leave it out, or hold all of its runs out with --validation"
            raise ConfigError(subject, "has runs to learn from, but never a share of the crops", advice)


def _normalize(weights: Sequence[float]) -> NDArray[np.float64]:
    # The greatest first: the sum of very large weights would be infinite.
    shares: NDArray[np.float64] = np.asarray(weights, dtype=np.float64) / max(weights, default=1.0)
    shares /= shares.sum()
    return shares
