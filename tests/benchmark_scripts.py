"""Benchmarks as modules: scripts of one folder, which see each other and those of folders that they add to the path."""

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@contextmanager
def import_scripts(folder: str, names: Sequence[str]) -> Iterator[SimpleNamespace]:
    """Import scripts of a folder of `benchmarks`; at the end they and all scripts they imported are forgotten."""
    path, known = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS / folder))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - known:
            if BENCHMARKS in Path(getattr(sys.modules[name], "__file__", None) or "").parents:
                del sys.modules[name]
