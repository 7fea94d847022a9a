"""Errors that end in what to do next.

Every error that a user can cause is a `CryofindError`: one line that names the thing (a file, a field, an option),
says what was found and what was expected, and ends in advice. The command line prints it and exits with
`exit_code`; a library user catches `CryofindError`.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path

EXIT_PARTIAL = 1
EXIT_USAGE = 2


class CryofindError(Exception):
    """Something the user can mend.

    Parameters
    ----------
    subject
        What it is about: a path, `path: field`, or an option.
    problem
        What was found and what was expected, without a full stop.
    advice
        What to do next, as a sentence without a full stop.
    """

    exit_code = EXIT_USAGE

    def __init__(self, subject: str | Path, problem: str, advice: str) -> None:
        self.subject = str(subject)
        self.problem = problem
        self.advice = advice
        super().__init__(f"{self.subject}: {problem}; {advice}")

    def __reduce__(self) -> tuple[type["CryofindError"], tuple[str, str, str]]:
        return type(self), (self.subject, self.problem, self.advice)  # so that it comes back from another process


class TomogramError(CryofindError):
    """A file or array that cannot be used as a tomogram."""


class VoxelSizeError(TomogramError):
    """A voxel spacing that a file does not say, or not so that it can be believed."""


class MemoryLimitError(TomogramError):
    """A tomogram that takes more memory than there is now; what is known of it stays true."""


class ProcessError(CryofindError):
    """A process that ended before its work was done; what is known of its items stays true."""


class PicksError(CryofindError):
    """A list of picks that cannot be read or does not fit its tomogram."""


class ProjectError(CryofindError):
    """A project (copick configuration, Kaggle folder, folder of files) that cannot be understood."""


class ConfigError(CryofindError):
    """A recipe or `--set` value that does not fit the configuration."""


class DivergedError(CryofindError):
    """A training whose loss is not finite and stays so."""


class ModelError(CryofindError):
    """A model that is missing, damaged, or does not fit the task."""


class SubmissionError(CryofindError):
    """A submission file that would lose points or be refused."""


class OutputError(CryofindError):
    """An output that cannot be written, or would overwrite something else."""


class NameRefused(CryofindError):
    """A run, object, user or session name that cannot be used safely in files."""


class InSampleError(CryofindError):
    """A number asked for on data that the model was trained on."""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` most likely stands for, or None."""
    by_folded = {candidate.casefold().replace("_", "-"): candidate for candidate in known}
    folded = name.strip().casefold().replace("_", "-").replace(" ", "-")
    matches = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.6)
    return by_folded[matches[0]] if matches else None


def advise_known_names(name: str, known: Iterable[str]) -> str:
    """Return advice for an unknown name: the nearest known one, or the list of all."""
    known = list(known)
    nearest = nearest_name(name, known)
    if nearest is not None:
        return f"did you mean '{nearest}'?"
    return f"known: {', '.join(known) or 'none'}"
