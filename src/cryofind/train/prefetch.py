"""Batches: what a sampler gives, made in the background while the network computes."""

import os
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from cryofind.train.changes import BatchTensors, DrawnBatch, apply_changes

CPU = torch.device("cpu")
THREAD_NAME = "cryofind-sampler"
# More threads than these would only wait for one another: what Python does itself, one thread does at a time.
MAX_THREADS_FOR_A_GPU = 4
# Batches that lie ready beyond those that threads are making.
READY_BATCHES = 1


class Sampler(Protocol):
    """A source of batches that is a pure function of (its seed, step, rank).

    It leaves the work on grey values to the device of the network. On a GPU several threads ask it at once, each for
    another step.
    """

    def draw(self, step: int, rank: int = 0, out: BatchTensors | None = None) -> DrawnBatch:
        """Return the batch of a step for one of several processes, unchanged yet, on the CPU.

        It may be written over `out`, a batch of this sampler that nobody needs any more.
        """
        ...


class ReadyBatch(NamedTuple):
    """A batch on the device of the network: as `BatchTensors`; `seconds` is how long a thread made it."""

    images: Tensor
    values: Tensor
    weights: Tensor
    seconds: float


class _MadeBatch(NamedTuple):
    tensors: BatchTensors
    is_there: torch.cuda.Event | None  # what the GPU must have done before
    seconds: float


def prefetch_batches(
    sampler: Sampler, first_step: int, last_step: int, *, rank: int, device: torch.device = CPU
) -> Generator[ReadyBatch, None, None]:
    """Yield the batches of steps `first_step` ... `last_step` - 1, made while those before them are used.

    One background thread makes them for a CPU, where every other would take its time from the network; several do for
    a GPU, and copy and change the batch there on a stream of their own. Closing the generator waits for the batches
    that threads are making, and for no other; afterwards no thread is left. A batch may be written over as soon as
    the next one is asked for.

    Raises
    ------
    Exception
        Any error of the sampler, of its own type, where its batch is due: the steps before it are not lost.
    """
    maker = _BatchMaker(sampler, rank, device)
    steps = iter(range(first_step, last_step))
    threads = _count_threads(device)
    pending: deque[Future[_MadeBatch]] = deque()
    with _start_threads(threads) as pool:

        def submit_next() -> None:
            if (step := next(steps, None)) is not None:
                pending.append(pool.submit(maker.make, step))

        for _ in range(threads + READY_BATCHES):
            submit_next()
        while pending:
            made = pending.popleft().result()
            submit_next()
            yield maker.hand_over(made)
            maker.take_back(made)


@contextmanager
def _start_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Yield threads; when the block ends, however, what has not begun is dropped and what has is waited for."""
    pool = ThreadPoolExecutor(
        max_workers=count,
        thread_name_prefix=THREAD_NAME,
        initializer=_compute_alone,
        initargs=(torch.get_num_threads(),),
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _compute_alone(threads_of_others: int) -> None:
    """Keep torch from starting helpers for this thread, which would take the cores from the network."""
    torch.set_num_threads(1)
    # That counts for this thread and for those that begin later; for the latter it is taken back.
    taking_back = threading.Thread(target=torch.set_num_threads, args=(threads_of_others,))
    taking_back.start()
    taking_back.join()


def _count_threads(device: torch.device) -> int:
    if device.type == "cpu":
        return 1
    return max(1, min(MAX_THREADS_FOR_A_GPU, len(os.sched_getaffinity(0)) - 1))


class _BatchMaker:
    """Makes batches for a device, in any thread."""

    def __init__(self, sampler: Sampler, rank: int, device: torch.device) -> None:
        self._sampler = sampler
        self._rank = rank
        self._device = device
        self._spare: deque[BatchTensors] = deque()
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def make(self, step: int) -> _MadeBatch:
        """Return the batch of a step, on the device or on its way there."""
        started = time.perf_counter()
        drawn = self._sampler.draw(step, self._rank, self._take_spare())
        if self._stream is None:
            tensors = apply_changes(drawn.moved_to(self._device))
            return _MadeBatch(tensors, None, time.perf_counter() - started)
        with torch.cuda.stream(self._stream):
            tensors = apply_changes(drawn.pinned().moved_to(self._device))
            is_there = self._stream.record_event()
        return _MadeBatch(tensors, is_there, time.perf_counter() - started)

    def hand_over(self, made: _MadeBatch) -> ReadyBatch:
        """Return a batch that what the calling thread does next on the device may use."""
        if made.is_there is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(made.is_there)
            for tensor in made.tensors:
                tensor.record_stream(stream)
        return ReadyBatch(*made.tensors, made.seconds)

    def take_back(self, made: _MadeBatch) -> None:
        """Accept a batch that is no longer needed: memory asked for anew costs half as much time as filling it."""
        if self._device.type == "cpu":
            self._spare.append(made.tensors)

    def _take_spare(self) -> BatchTensors | None:
        try:
            return self._spare.popleft()
        except IndexError:
            return None
