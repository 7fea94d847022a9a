"""Processes that work side by side for this one, and end with it."""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager


@contextmanager
def start_processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Yield processes that work for this one.

    When the block ends, what has not begun is dropped and what has is waited for. When it is left by an error or an
    interruption, all of them are ended; should this process be killed, they end by themselves.
    """
    before = multiprocessing.active_children()
    # spawn, not fork: threads of the numerical libraries do not survive a fork
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent)
    try:
        yield pool
    except BaseException:
        for process in multiprocessing.active_children():
            if process not in before:
                process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Let this process end when the one that started it has, however that came."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)  # nobody is left to hear of an error, or to whom work could be given back

    threading.Thread(target=wait, name="cryofind-parent", daemon=True).start()
