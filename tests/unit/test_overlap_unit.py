"""Items through three steps: what overlaps, what order is kept, and what an error or interruption leaves."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from cryofind.errors import CryofindError, TomogramError
from cryofind.pipeline.overlap import Queue, Steps, run_overlapped

PATIENCE_SECONDS = 20


def fail(item: object) -> CryofindError:
    return TomogramError(f"item {item}", "is bad", "mend it")


def make_steps(
    read: Callable[[int], int] = lambda item: item,
    work: Callable[[int], int] = lambda item: item,
    write: Callable[[int], int] = lambda item: item,
) -> Steps[int, int, int, int]:
    return Steps(read, work, write)


def run_all(
    items: Sequence[int], steps: Steps[int, int, int, int], *, reads_ahead: bool = True
) -> list[tuple[int, int | CryofindError]]:
    outcomes = run_overlapped(Queue(items, lambda item, following: reads_ahead), steps)
    with closing(outcomes):
        return list(outcomes)


def test_the_next_is_read_while_one_is_worked_on() -> None:
    was_read = {item: threading.Event() for item in range(3)}

    def read(item: int) -> int:
        was_read[item].set()
        return item

    def work(item: int) -> int:
        # Without overlap this would wait for what only comes after it.
        assert item == 2 or was_read[item + 1].wait(PATIENCE_SECONDS)
        assert not any(was_read[later].is_set() for later in range(item + 2, 3))
        return item * 10

    assert run_all(range(3), make_steps(read, work)) == [(0, 0), (1, 10), (2, 20)]


def test_one_is_written_while_the_next_is_worked_on() -> None:
    works_on_second = threading.Event()

    def work(item: int) -> int:
        if item == 1:
            works_on_second.set()
        return item

    def write(item: int) -> int:
        assert works_on_second.wait(PATIENCE_SECONDS)
        return item

    # Read ahead, for else the second would be read after the first is written, by the same thread.
    assert [item for item, _ in run_all(range(3), make_steps(work=work, write=write))] == [0, 1, 2]


def test_what_is_large_is_written_before_the_next_is_worked_on() -> None:
    written: list[int] = []

    def work(item: int) -> int:
        assert written == list(range(item))
        return item

    def write(item: int) -> int:
        time.sleep(0.02)  # a write that goes on beside the work would still be about to note
        written.append(item)
        return item

    run_all(range(3), Steps(lambda item: item, work, write, writes_first=True))
    assert written == [0, 1, 2]


def test_nothing_is_read_ahead_where_that_is_not_allowed() -> None:
    events: list[str] = []

    def note(name: str) -> Callable[[int], int]:
        def step(item: int) -> int:
            events.append(f"{name} {item}")
            return item

        return step

    assert len(run_all(range(2), make_steps(note("read"), note("work"), note("write")), reads_ahead=False)) == 2
    assert events == ["read 0", "work 0", "write 0", "read 1", "work 1", "write 1"]


@pytest.mark.parametrize("reads_ahead", [True, False])
@pytest.mark.parametrize("bad_step", ["read", "work", "write"])
def test_an_error_stops_its_own_item_only(bad_step: str, reads_ahead: bool) -> None:
    def step(name: str) -> Callable[[int], int]:
        def act(item: int) -> int:
            if name == bad_step and item in {1, 2}:
                raise fail(item)
            return item

        return act

    steps = make_steps(step("read"), step("work"), step("write"))
    outcomes = dict(run_all(range(4), steps, reads_ahead=reads_ahead))
    assert list(outcomes) == [0, 1, 2, 3]
    assert [outcomes[item] for item in (0, 3)] == [0, 3]
    assert [str(outcomes[item]).split(":")[0] for item in (1, 2)] == ["item 1", "item 2"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_ends_all_but_what_was_worked_on_is_written(error: type[BaseException]) -> None:
    written: list[int] = []

    def work(item: int) -> int:
        if item == 1:
            raise error
        return item

    def write(item: int) -> int:
        written.append(item)
        return item

    with pytest.raises(error):
        run_all(range(5), make_steps(work=work, write=write))
    assert written == [0]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cryofind-files")]


def test_an_error_of_the_program_in_the_background_is_not_swallowed() -> None:
    def read(item: int) -> int:
        return 1 // item

    with pytest.raises(ZeroDivisionError):
        run_all([1, 0], make_steps(read))


def test_without_items_nothing_happens() -> None:
    assert run_all([], make_steps()) == []


def test_an_error_keeps_no_volume_in_memory() -> None:
    volumes: list[weakref.ref[np.ndarray[Any, Any]]] = []

    def work(item: int) -> int:
        volume = np.zeros(10)
        volumes.append(weakref.ref(volume))
        try:
            raise ValueError("inner")
        except ValueError as error:
            raise fail(item) from error

    outcomes = run_all(range(3), make_steps(work=work))
    assert all(isinstance(outcome, CryofindError) for _, outcome in outcomes)
    gc.collect()
    assert [volume() for volume in volumes] == [None, None, None]
