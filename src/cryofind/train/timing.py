"""Where the time of a training goes."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

logger = logging.getLogger("cryofind")

# Parts of a training; every second belongs to one.
WAITING, FORWARD, BACKWARD, STEP = "waiting", "forward", "backward", "optimizer"
VALIDATION, CHECKPOINTS, OTHER = "validation", "checkpoints", "other"
NETWORK_PARTS = (FORWARD, BACKWARD, STEP)
_WORDS = {WAITING: "waiting for crops"}
# Above this share of the time without batches a training is told to be starved.
STARVED_SHARE = 0.1


@dataclass(frozen=True)
class TrainTimes:
    """Where the time of a training went, in this process and since it was started or resumed.

    Parameters
    ----------
    steps
        Steps that were taken.
    seconds
        Seconds by part.
    making_seconds
        Seconds that background threads took to make the batches; no part of the others.
    """

    steps: int = 0
    seconds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    making_seconds: float = 0.0

    @property
    def training_seconds(self) -> float:
        """All seconds but those of validation and checkpoints."""
        return sum(seconds for part, seconds in self.seconds.items() if part not in {VALIDATION, CHECKPOINTS})

    @property
    def network_share(self) -> float:
        """Share of forward pass, backward pass and optimizer in the training seconds; 1 before the first step."""
        return self._network_seconds / self.training_seconds if self.training_seconds else 1.0

    @property
    def _network_seconds(self) -> float:
        return sum(self.seconds.get(part, 0.0) for part in NETWORK_PARTS)

    @property
    def is_starved(self) -> bool:
        """Whether the network had to wait for crops."""
        return self.seconds.get(WAITING, 0.0) > STARVED_SHARE * self.training_seconds

    def describe(self) -> str:
        """Return a line for the user."""
        everything = max(sum(self.seconds.values()), 1e-9)
        others = {part: seconds for part, seconds in self.seconds.items() if part not in NETWORK_PARTS}
        shares = [("in the network", self._network_seconds), *sorted(others.items(), key=lambda item: -item[1])]
        told = ", ".join(f"{100 * seconds / everything:.0f} % {_WORDS.get(part, part)}" for part, seconds in shares)
        each = 1000 / max(self.steps, 1)
        return (
            f"time: {told}; a step took {each * self.training_seconds:.0f} ms, "
            f"its crops {each * self.making_seconds:.0f} ms in the background"
        )


class Stopwatch:
    """Counts seconds by part, without gaps: what one lap leaves, the next one gets.

    Parameters
    ----------
    synchronize
        Called before the time is read, so that what a GPU is still doing counts for the part that asked for it.
    """

    def __init__(self, synchronize: Callable[[], None] | None = None) -> None:
        self._synchronize = synchronize
        self._seconds: dict[str, float] = {}
        self._steps = 0
        self._making_seconds = 0.0
        self._last = time.perf_counter()

    def start(self) -> None:
        """Begin to count."""
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """Add the time since the last lap to a part."""
        if self._synchronize is not None:
            self._synchronize()
        now = time.perf_counter()
        self._seconds[part] = self._seconds.get(part, 0.0) + now - self._last
        self._last = now

    def count_step(self, making_seconds: float) -> None:
        """Count a step, whose batch a background thread made in so many seconds."""
        self._steps += 1
        self._making_seconds += making_seconds

    def read(self) -> TrainTimes:
        """Return the times so far."""
        return TrainTimes(self._steps, MappingProxyType(dict(self._seconds)), self._making_seconds)

    def shares(self) -> dict[str, float]:
        """Return rows for the metrics: `time/PART` with its share of all time, and `time/step_seconds`."""
        times = self.read()
        everything = max(sum(times.seconds.values()), 1e-9)
        rows = {f"time/{part}": seconds / everything for part, seconds in times.seconds.items()}
        return {**rows, "time/step_seconds": times.training_seconds / max(times.steps, 1)}


def report_times(times: TrainTimes) -> None:
    """Tell the user where the time went, and what to do if the network was starved."""
    logger.info("%s", times.describe())
    if times.is_starved:
        logger.warning(
            "the network waited for crops: fewer turned crops (augment.rotate_z_probability, augment.tilt_degrees), a "
            "larger network or more cores would keep it busy"
        )
