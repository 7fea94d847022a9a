"""Fixtures that every test may use."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of reference data beside the repository; skip where it is missing."""
    root = Path(os.environ.get("CRYOFIND_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not root.is_dir():
        pytest.skip("reference data not found (set CRYOFIND_SHARED)")
    return root


@pytest.fixture(autouse=True)
def _restore_log_level() -> Iterator[None]:
    """Keep a script that was run by one test from silencing the warnings that the next one looks for."""
    logger = logging.getLogger("cryofind")
    level = logger.level
    yield
    logger.setLevel(level)
