"""Items through three steps, of which the slow one in the middle does not wait for files.

While an item is worked on, one background thread writes what came out of the item before it and reads the next one.
"""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

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
    may_read_ahead
        Whether an item may be loaded while the one before it is worked on; asked right before that.
    """

    read: Callable[[Item], Loaded]
    work: Callable[[Loaded], Worked]
    write: Callable[[Worked], Result]
    may_read_ahead: Callable[[Item], bool]


def run_overlapped(
    items: Sequence[Item], steps: Steps[Item, Loaded, Worked, Result]
) -> Generator[tuple[Item, Result | CryofindError], None, None]:
    """Yield every item with its result or the error that stopped it, in order; at most one item is loaded ahead.

    Only a `CryofindError` stops its item alone. Any other error, and an interruption, ends everything; what has been
    worked on by then is still written.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="cryofind-files") as files:
        ahead: Future[Loaded | CryofindError] | None = None
        unsettled: list[tuple[Item, Future[Result | CryofindError]]] = []
        try:
            for number, item in enumerate(items):
                loaded = (ahead or files.submit(_go_on, steps.read, item)).result()
                ahead = None
                if number + 1 < len(items) and steps.may_read_ahead(items[number + 1]):
                    ahead = files.submit(_go_on, steps.read, items[number + 1])
                if unsettled and unsettled[0][1].done():
                    yield _settle(unsettled)
                worked = _go_on(steps.work, loaded)
                if unsettled:
                    yield _settle(unsettled)
                unsettled.append((item, files.submit(_go_on, steps.write, worked)))
                # Lest they stay in memory until the next item is there.
                del loaded, worked
            if unsettled:
                yield _settle(unsettled)
        finally:
            if ahead is not None:
                ahead.cancel()


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
