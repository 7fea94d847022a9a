"""What a training asks of its validation and what it gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from cryofind.train.timing import TrainTimes

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Parameters
    ----------
    score
        The number to choose the best weights by, such as the weighted F-beta; higher is better.
    objects
        The same by object.
    """

    score: float
    objects: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What a training gives.

    Parameters
    ----------
    network
        The network with averaged weights, in eval mode on the CPU.
    best_step
        Steps after which it had these weights.
    best_score
        Their validation score; None when there was no validation.
    history
        Path of `metrics.jsonl`.
    skipped_steps
        Steps left out because their loss or gradient was not finite.
    is_main_process
        False in the helper processes of a training on several devices, which must write nothing.
    times
        Where the time went since the training was started or resumed.
    """

    network: nn.Module
    best_step: int
    best_score: float | None
    history: Path
    skipped_steps: int = 0
    is_main_process: bool = True
    times: TrainTimes = field(default_factory=TrainTimes)
