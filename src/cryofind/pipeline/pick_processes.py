"""Several processes that pick the tomograms of one call, one for each device; this is the side that hands out.

Whoever is free gets the next tomogram, so that a slow device or a large tomogram keeps no other waiting.
"""

import logging
import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from cryofind.errors import CryofindError, MemoryLimitError, ProcessError
from cryofind.io import TomogramEntry
from cryofind.pipeline.pick_worker import (
    Finished,
    Message,
    Refused,
    Returned,
    Said,
    Settled,
    Started,
    Wanted,
    WorkOrder,
)
from cryofind.pipeline.pick_worker import work as work_elsewhere
from cryofind.pipeline.picked_runs import Record

logger = logging.getLogger("cryofind")

# After this a process that was asked to end is killed.
PATIENCE_SECONDS = 5.0

Outcome = tuple[TomogramEntry, Record | CryofindError]


class Desk:
    """Who has which tomogram, by number.

    Parameters
    ----------
    count
        Number of tomograms, all of which wait.
    workers
        Number of processes.
    """

    def __init__(self, count: int, workers: int) -> None:
        self._waiting = deque(range(count))
        self._held: dict[int, set[int]] = {worker: set() for worker in range(workers)}

    def hand_out(self, worker: int, *, ahead: bool) -> int | None:
        """Return the next number, which is the worker's from now on; ahead only where enough is left for all others."""
        if not self._waiting or (ahead and len(self._waiting) < len(self._held)):
            return None
        number = self._waiting.popleft()
        self._held[worker].add(number)
        return number

    def take_back(self, worker: int, number: int) -> None:
        """Let a number wait again, as the first."""
        self._held[worker].remove(number)
        self._waiting.appendleft(number)

    def settle(self, worker: int, number: int) -> None:
        """Note that a worker is done with a number."""
        self._held[worker].remove(number)

    def dismiss(self, worker: int) -> list[int]:
        """Return what a worker had when it left; without any other worker, all that waits too."""
        left = sorted(self._held.pop(worker))
        if not self._held:
            left += self._waiting
            self._waiting.clear()
        return left


@dataclass(frozen=True, eq=False)
class _Worker:
    device: str
    process: BaseProcess
    connection: Connection


@dataclass(eq=False)
class PickProcesses:
    """The processes of one call.

    Parameters
    ----------
    order
        What each of them is told.
    devices
        Where each of them runs its networks.
    engine
        What runs the networks on the first device, once that is known.
    """

    order: WorkOrder
    devices: Sequence[str]
    engine: dict[str, str] = field(default_factory=dict, init=False)
    _workers: dict[int, _Worker] = field(default_factory=dict, init=False, repr=False)
    _leaving: list[_Worker] = field(default_factory=list, init=False, repr=False)
    _begun: set[int] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        self._desk = Desk(len(self.order.entries), len(self.devices))

    def run(self) -> Generator[Outcome, None, None]:
        """Yield every tomogram with its record or the error that stopped it, as they come.

        When the generator is closed or interrupted, all processes end at once.

        Raises
        ------
        CryofindError
            If a process cannot make its networks ready; for want of memory only if none can.
        """
        try:
            for number, device in enumerate(self.devices):
                self._workers[number] = self._start(device)
            while self._workers:
                yield from self._serve_whoever_calls()
        finally:
            self._end_all()

    def _start(self, device: str) -> _Worker:
        # Not forked: neither CUDA nor threads survive that.
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        arguments = (self.order, device, self._share_threads(device), there)
        process = context.Process(target=work_elsewhere, args=arguments, daemon=True, name=f"cryofind-{device}")
        # Ctrl-C reaches all processes of a terminal: they start with it blocked, and this one ends them. What Python
        # starts beside the first of them would unblock it again.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        # So that the connection ends with the process.
        there.close()
        return _Worker(device, process, here)

    def _share_threads(self, device: str) -> int | None:
        import torch

        on_cpu = list(self.devices).count("cpu")
        return max(1, torch.get_num_threads() // on_cpu) if device == "cpu" else None

    def _serve_whoever_calls(self) -> Generator[Outcome, None, None]:
        calling = wait([worker.connection for worker in self._workers.values()])
        for number, worker in list(self._workers.items()):
            if worker.connection not in calling:
                continue
            try:
                message: Message = worker.connection.recv()
            except (EOFError, OSError):
                yield from self._report_loss(number)
            else:
                yield from self._answer(number, message)

    def _answer(self, number: int, message: Message) -> Generator[Outcome, None, None]:
        match message:
            case Wanted(ahead):
                self._reply(number, self._desk.hand_out(number, ahead=ahead))
            case Returned(entry_number):
                self._desk.take_back(number, entry_number)
            case Settled(entry_number, outcome):
                self._desk.settle(number, entry_number)
                yield self.order.entries[entry_number], outcome
            case Said(level, line):
                logger.log(level, "%s", line)
            case Started(engine, line):
                self._begun.add(number)
                logger.info("%s", line)
                self.engine = engine if number == 0 or not self.engine else self.engine
            case Refused(error):
                yield from self._do_without(number, error)
            case Finished():
                self._desk.dismiss(number)
                self._leaving.append(self._workers.pop(number))

    def _reply(self, number: int, entry_number: int | None) -> None:
        try:
            self._workers[number].connection.send(entry_number)
        except OSError:
            logger.debug("a process ended before its answer came")  # said by the end of its connection

    def _do_without(self, number: int, error: CryofindError) -> Generator[Outcome, None, None]:
        """Leave the work of a process that has not the memory to the others; yield what nobody is left for."""
        if not isinstance(error, MemoryLimitError) or (len(self._workers) == 1 and not self._begun):
            raise error
        worker = self._workers.pop(number)
        self._leaving.append(worker)
        logger.warning("no tomogram is picked on %s: %s", worker.device, error)
        for entry_number in self._desk.dismiss(number):
            yield self.order.entries[entry_number], error

    def _report_loss(self, number: int) -> Generator[Outcome, None, None]:
        """Yield what a process left undone that ended too early."""
        worker = self._workers.pop(number)
        _end(worker)
        device, how = worker.device, _describe_end(worker.process.exitcode)
        logger.warning("the process on %s %s", device, how)
        advice = "run the same command again; should it happen again, allow less memory (predict.memory_gigabytes)"
        if number not in self._begun:
            how += " before it could begin"
            advice = "name one device (predict.devices), or guard a script by `if __name__ == '__main__':`"
        for entry_number in self._desk.dismiss(number):
            entry = self.order.entries[entry_number]
            yield (
                entry,
                ProcessError(
                    f"run '{entry.run}'",
                    f"was not picked, the process on {device} {how}",
                    advice,
                ),
            )

    def _end_all(self) -> None:
        for worker in self._workers.values():
            worker.process.terminate()
        for worker in (*self._workers.values(), *self._leaving):
            _end(worker)
        self._workers.clear()
        self._leaving.clear()


def _end(worker: _Worker) -> None:
    """Wait for the end of a process that is about to end, and see to it."""
    worker.process.join(PATIENCE_SECONDS)
    if worker.process.exitcode is None:
        worker.process.kill()
        worker.process.join()
    worker.connection.close()


def _describe_end(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"was killed by signal {-exit_code}"
    return f"ended with exit code {exit_code}"
