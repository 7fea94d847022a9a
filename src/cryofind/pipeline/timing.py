"""How long the stages of one tomogram take."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the wall time of a block to a stage."""
    started = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - started


def round_seconds(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return times to the millisecond, as records have them."""
    return {stage: round(value, 3) for stage, value in seconds.items()}
