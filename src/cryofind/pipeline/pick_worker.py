"""One of several processes of `cryofind pick`: it picks on one device what the first process hands it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from cryofind.config import Config
from cryofind.errors import CryofindError
from cryofind.io import TomogramEntry
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.loading import load_model
from cryofind.pipeline.overlap import Steps, run_overlapped
from cryofind.pipeline.pick_run import RunPicking
from cryofind.pipeline.picked_runs import Record, RunInProgress
from cryofind.pipeline.picker import PickResult
from cryofind.predict.needs import MemoryNeeds
from cryofind.progress import forbid_bars

logger = logging.getLogger("cryofind")


@dataclass(frozen=True)
class WorkOrder:
    """What every process is told when it starts.

    Parameters
    ----------
    out, selection, with_segmentation, recipe_sha256
        As of `RunPicking`.
    budget_bytes
        Main memory for this process.
    models
        Folders of the members.
    config
        The recipe.
    entries
        All tomograms; which of them is picked next is asked for.
    log_level
        Of the first process, which says what is said here.
    """

    out: Path
    selection: InputSelection
    with_segmentation: bool
    recipe_sha256: str
    budget_bytes: float
    models: tuple[Path, ...]
    config: Config
    entries: tuple[TomogramEntry, ...]
    log_level: int


@dataclass(frozen=True)
class Started:
    """The process is ready: what runs the networks, as a record and as a line."""

    engine: dict[str, str]
    line: str


@dataclass(frozen=True)
class Refused:
    """The process cannot pick anything."""

    error: CryofindError


@dataclass(frozen=True)
class Wanted:
    """The number of the next tomogram is asked for; `ahead`: to be read while another is picked."""

    ahead: bool


@dataclass(frozen=True)
class Returned:
    """A tomogram that was given ahead and is left to others."""

    number: int


@dataclass(frozen=True)
class Settled:
    """What became of a tomogram."""

    number: int
    outcome: Record | CryofindError


@dataclass(frozen=True)
class Said:
    """A line of the log."""

    level: int
    line: str


@dataclass(frozen=True)
class Finished:
    """There is nothing more to do."""


Message = Started | Refused | Wanted | Returned | Settled | Said | Finished


class _FirstProcessGone(Exception):
    """Nobody hears what this process says."""


class Line:
    """The connection to the first process, for all threads of this one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, message: Message) -> None:
        """Send a message."""
        with self._sending, _noticing_its_end():
            self._connection.send(message)

    def ask(self, *, ahead: bool) -> int | None:
        """Return the number of the next tomogram; for one thread only."""
        self.send(Wanted(ahead))
        with _noticing_its_end():
            number: int | None = self._connection.recv()
        return number


@contextmanager
def _noticing_its_end() -> Iterator[None]:
    try:
        yield
    except (EOFError, BrokenPipeError, ConnectionResetError) as error:
        raise _FirstProcessGone from error


def work(order: WorkOrder, device: str, threads: int | None, connection: Connection) -> None:
    """Pick what is handed out until there is no more.

    Parameters
    ----------
    order
        What every process is told.
    device
        Where networks run here.
    threads
        Threads of torch; None: as many as it takes by itself.
    connection
        To the first process.
    """
    forbid_bars()
    line = Line(connection)
    logger.handlers[:] = [_Forwarding(line)]
    logger.setLevel(order.log_level)
    logger.propagate = False
    with suppress(_FirstProcessGone):
        try:
            picking = _get_ready(order, device, threads)
        except CryofindError as error:
            line.send(Refused(error))
            return
        choice = picking.picker.ready_networks.choice
        line.send(Started(choice.as_record(), choice.describe()))
        _pick_all(order, picking, line)
        line.send(Finished())


def _get_ready(order: WorkOrder, device: str, threads: int | None) -> RunPicking:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    if device.startswith("cuda"):
        # So that nothing lands on the first GPU by default.
        torch.cuda.set_device(torch.device(device))
    picker = load_model(*order.models, config=order.config).on_device(device)
    needs = MemoryNeeds.of(picker.ready_networks, picker.config.predict)
    return RunPicking(
        order.out, picker, order.selection, order.with_segmentation, order.recipe_sha256, needs, order.budget_bytes
    )


def _pick_all(order: WorkOrder, picking: RunPicking, line: Line) -> None:
    numbers = {entry.run: number for number, entry in enumerate(order.entries)}

    def write(run: RunInProgress[PickResult]) -> Record:
        record = picking.write(run)
        # At once: should this process be killed over the next tomogram, this one is done.
        line.send(Settled(numbers[run.entry.run], record))
        return record

    steps = Steps(picking.read, picking.pick, write, picking.writes_volumes)
    outcomes = run_overlapped(_Supply(order, picking, line), steps)
    with closing(outcomes):
        for entry, outcome in outcomes:
            if isinstance(outcome, CryofindError):
                line.send(Settled(numbers[entry.run], outcome))


@dataclass(frozen=True, eq=False)
class _Supply:
    """Tomograms that the first process hands out."""

    order: WorkOrder
    picking: RunPicking
    line: Line

    def take(self) -> TomogramEntry | None:
        number = self.line.ask(ahead=False)
        return None if number is None else self.order.entries[number]

    def take_ahead(self, current: TomogramEntry) -> TomogramEntry | None:
        number = self.line.ask(ahead=True)
        if number is None:
            return None
        entry = self.order.entries[number]
        if self.picking.may_read_ahead(current, entry):
            return entry
        self.line.send(Returned(number))
        return None


class _Forwarding(logging.Handler):
    """Hands lines of the log to the first process."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line."""
        self._line.send(Said(record.levelno, record.getMessage()))
