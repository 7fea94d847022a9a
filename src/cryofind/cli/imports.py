"""Importing much at once, quickly."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Import what a command needs without garbage collection, and leave all that was imported out of later ones.

    Importing makes a million objects that stay until the end. Going through them again and again, the last time when
    the process ends, takes a fifth of the time of importing torch.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()
