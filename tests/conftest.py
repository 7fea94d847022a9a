"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of reference data beside the repository; skip where it is missing."""
    root = Path(os.environ.get("CRYOFIND_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not root.is_dir():
        pytest.skip("reference data not found (set CRYOFIND_SHARED)")
    return root
