"""Items through three steps, of which the slow one in the middle does not wait for files.

While an item is worked on, one background thread writes what came out of the item before it and reads the next one.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from cryofind.errors import CryofindError

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Worked = TypeVar("Worked")
Result = TypeVar("Result")
Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Steps(Generic[Item, Loaded, Worked, Result]):
    """What is done with every item, one step after the other.

    Parameters
    ----------
    read
        Loads an item; called in the background thread.
    work
        The slow step; called in the caller's thread.
    write
        Stores what came out and returns the result; called in the background thread.
    writes_first
        Whether what came out of an item is written before the next one is worked on: for what is too large to lie
        in memory meanwhile.
    """

    read: Callable[[Item], Loaded]
    work: Callable[[Loaded], Worked]
    write: Callable[[Worked], Result]
    writes_first: bool = False


class Supply(Protocol[Item]):
    """Where items come from; asked in the caller's thread."""

    def take(self) -> Item | None:
        """Return the next item, None if there is none."""

    def take_ahead(self, current: Item) -> Item | None:
        """Return the next item if it may be loaded while the current one is worked on, else None: it stays."""


class Queue(Generic[Item]):
    """A supply of items that are known.

    Parameters
    ----------
    items
        In order.
    may_read_ahead
        Whether the second item may be loaded while the first is worked on.
    """

    def __init__(self, items: Iterable[Item], may_read_ahead: Callable[[Item, Item], bool]) -> None:
        self._items = deque(items)
        self._may_read_ahead = may_read_ahead

    def take(self) -> Item | None:
        """Return the next item, None if there is none."""
        return self._items.popleft() if self._items else None

    def take_ahead(self, current: Item) -> Item | None:
        """Return the next item if it may be loaded while the current one is worked on, else None: it stays."""
        may_be_read = bool(self._items) and self._may_read_ahead(current, self._items[0])
        return self._items.popleft() if may_be_read else None


def run_overlapped(
    supply: Supply[Item], steps: Steps[Item, Loaded, Worked, Result]
) -> Generator[tuple[Item, Result | CryofindError], None, None]:
    """Yield every item with its result or the error that stopped it, in order; at most one item is loaded ahead.

    Only a `CryofindError` stops its item alone. Any other error, and an interruption, ends everything; what has been
    worked on by then is still written.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="cryofind-files") as files:
        ahead: tuple[Item, Future[Loaded | CryofindError]] | None = None
        unsettled: list[tuple[Item, Future[Result | CryofindError]]] = []

        def start(item: Item | None) -> tuple[Item, Future[Loaded | CryofindError]] | None:
            return None if item is None else (item, files.submit(_go_on, steps.read, item))

        try:
            while (current := ahead or start(supply.take())) is not None:
                item, loading = current
                loaded = loading.result()
                ahead = start(supply.take_ahead(item))
                if unsettled and (steps.writes_first or unsettled[0][1].done()):
                    yield _settle(unsettled)
                worked = _go_on(steps.work, loaded)
                if unsettled:
                    yield _settle(unsettled)
                unsettled.append((item, files.submit(_go_on, steps.write, worked)))
                # Lest they stay in memory until the next item is there.
                del current, loading, loaded, worked
            if unsettled:
                yield _settle(unsettled)
        finally:
            if ahead is not None:
                ahead[1].cancel()


def _go_on(step: Callable[[Given], Made], given: Given | CryofindError) -> Made | CryofindError:
    """Return what a step makes of what the one before it gave, or the error that stopped either."""
    if isinstance(given, CryofindError):
        return given
    try:
        return step(given)
    except CryofindError as error:
        return _without_frames(error)


def _without_frames(error: CryofindError) -> CryofindError:
    """Return the error without the frames it came through, which would keep their volumes in memory."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


def _settle(
    unsettled: list[tuple[Item, Future[Result | CryofindError]]],
) -> tuple[Item, Result | CryofindError]:
    item, written = unsettled.pop(0)
    return item, written.result()
