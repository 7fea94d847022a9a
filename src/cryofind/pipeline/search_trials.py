"""The trials of a search: `trials.jsonl`, one JSON object a line, of which the last one of a trial counts."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

from cryofind.atomic import advise_on
from cryofind.errors import OutputError

State = Literal["running", "stopped", "complete", "pruned", "failed"]
FINISHED = ("complete", "pruned", "failed")


@dataclass(frozen=True)
class Trial:
    """One training, or several with different seeds, of one recipe.

    Parameters
    ----------
    number
        From 1, in the order of their beginning.
    parameters
        Values of the searched keys, JSON-ready.
    state
        `running` until its end is known, `stopped` when it is to go on later, else how it ended.
    value
        Weighted F-beta of the held-out runs, the mean over seeds; of one that was pruned the last that was seen. None
        of one that failed or has not ended.
    intermediate
        Steps done, over all seeds, and the validation there.
    seconds
        Time spent, over all calls.
    problem
        Why it failed.
    """

    number: int
    parameters: dict[str, Any]
    state: State = "running"
    value: float | None = None
    intermediate: tuple[tuple[int, float], ...] = field(default=())
    seconds: float = 0.0
    problem: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.state in FINISHED


def read_trials(path: Path) -> list[Trial]:
    """Return the trials of a file by number, [] if there is none; lines torn by a crash are left out."""
    if not path.exists():
        return []
    trials: dict[int, Trial] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            intermediate = tuple((int(step), float(value)) for step, value in row["intermediate"])
            trial = Trial(**{**row, "intermediate": intermediate})
        except (ValueError, TypeError, KeyError):
            continue
        if trial.state in get_args(State):
            trials[trial.number] = trial
    return [trials[number] for number in sorted(trials)]


def append_trial(path: Path, trial: Trial) -> None:
    """Append a line for a trial, synced; a torn line before it stays a line of its own.

    Raises
    ------
    OutputError
        If the file system refuses.
    """
    line = json.dumps(asdict(trial), allow_nan=False) + "\n"
    try:
        with open(path, "ab+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(path, f"cannot be written ({error.strerror or error})", advise_on(error)) from error


def find_best(trials: Sequence[Trial]) -> Trial | None:
    """Return the complete trial of the greatest value, the first of equal ones; None without any."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return max(complete, key=lambda trial: trial.value or 0.0, default=None)


def expect_seconds(trials: Sequence[Trial]) -> float:
    """Return how long a trial takes: the median of the complete ones, 0 without any."""
    return median([trial.seconds for trial in trials if trial.state == "complete"] or [0.0])
