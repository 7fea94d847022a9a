"""Progress of long work: a bar on a terminal, one log line every 30 seconds elsewhere. Always on stderr."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

logger = logging.getLogger("cryofind")

LOG_INTERVAL_SECONDS = 30.0

_forbidden = False


class Progress(Protocol):
    """A job of known length that reports how far it is."""

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        """Say that `steps` more are done; `note` is shown beside the bar."""


def forbid_bars() -> None:
    """Show no bars in this process from now on, for instance because another one has the terminal."""
    global _forbidden
    _forbidden = True


@contextmanager
def report_progress(title: str, total: int) -> Iterator[Progress]:
    """Show the progress of `total` steps while the block runs."""
    if sys.stderr.isatty() and not _forbidden and logger.isEnabledFor(logging.INFO):
        with _terminal_bar(title, total) as bar:
            yield bar
    else:
        yield _LogLines(title, total)


@contextmanager
def _terminal_bar(title: str, total: int) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as rich_progress:
        yield _Bar(rich_progress, rich_progress.add_task(title, total=total, note=""))


class _Bar:
    def __init__(self, rich_progress, task_id) -> None:  # type: ignore[no-untyped-def]
        self._rich_progress = rich_progress
        self._task_id = task_id

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        self._rich_progress.update(self._task_id, advance=steps, note=note)


class _LogLines:
    def __init__(self, title: str, total: int) -> None:
        self._title, self._total, self._done = title, total, 0
        self._started = self._last_line = time.monotonic()

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        self._done += steps
        now = time.monotonic()
        if now - self._last_line < LOG_INTERVAL_SECONDS:
            return
        self._last_line = now
        remaining = (now - self._started) / max(self._done, 1) * (self._total - self._done)
        logger.info("%s: %d of %d, %.0f s left %s", self._title, self._done, self._total, remaining, note)
