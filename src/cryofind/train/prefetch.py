"""Batches: what a sampler gives, drawn in the background while the network computes."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class BatchArrays(Protocol):
    """One batch of crops."""

    @property
    def images(self) -> NDArray[np.float32]:
        """Shape (B, 1, Z, Y, X)."""
        ...

    @property
    def values(self) -> NDArray[np.float32]:
        """Targets 0..1, shape (B, K, Z/2, Y/2, X/2)."""
        ...

    @property
    def weights(self) -> NDArray[np.float32]:
        """Weight of every cell in the loss, shape (B, Z/2, Y/2, X/2)."""
        ...


class Sampler(Protocol):
    """A source of batches that is a pure function of (its seed, step, rank)."""

    def sample(self, step: int, rank: int = 0) -> BatchArrays:
        """Return the batch of a step for one of several processes."""
        ...


def prefetch_batches(
    sampler: Sampler, first_step: int, last_step: int, *, rank: int
) -> Generator[BatchArrays, None, None]:
    """Yield the batches of steps `first_step` ... `last_step` - 1, each drawn while the one before it is used.

    One background thread calls the sampler, in order. An error of the sampler is raised where its batch is due.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="cryofind-sampler") as thread:
        pending = None
        try:
            for step in range(first_step, last_step):
                batch = (pending or thread.submit(sampler.sample, step, rank)).result()
                pending = thread.submit(sampler.sample, step + 1, rank) if step + 1 < last_step else None
                yield batch
        finally:
            if pending is not None:
                pending.cancel()
