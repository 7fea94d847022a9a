"""The history of a training: `metrics.jsonl`, one JSON object a line."""

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from cryofind.atomic import write_text
from cryofind.errors import OutputError


class MetricsFile:
    """Rows `{"step", "name", "value"}`, appended and flushed one by one; a context manager.

    Parameters
    ----------
    path
        The file.
    resumed_step
        Steps that are done: rows of later steps, written before an interruption, are dropped on opening.
    """

    def __init__(self, path: Path, resumed_step: int) -> None:
        self._path = path
        self._resumed_step = resumed_step
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        rows = [row for row in read_metrics(self._path) if row["step"] <= self._resumed_step]
        write_text(self._path, "".join(json.dumps(row) + "\n" for row in rows if self._resumed_step > 0))
        self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def append(self, step: int, values: dict[str, float]) -> None:
        """Append one row per value of a step (counted from 1); a value that is not finite is written as null.

        Raises
        ------
        OutputError
            If the file system refuses.
        """
        if self._file is None:
            raise ValueError("the metrics file is not open")
        rows = [
            {"step": step, "name": name, "value": float(value) if math.isfinite(value) else None}
            for name, value in values.items()
        ]
        try:
            self._file.writelines(json.dumps(row) + "\n" for row in rows)
            self._file.flush()
        except OSError as error:
            raise OutputError(self._path, f"cannot be written ({error.strerror})", "free space") from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a metrics file, [] if there is none; lines torn by a crash are left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows
