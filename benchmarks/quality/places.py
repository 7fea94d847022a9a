"""Where the benchmark keeps what, and how it runs commands."""

import os
from dataclasses import dataclass
from pathlib import Path

from cryofind.cli import main

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]


@dataclass(frozen=True)
class Places:
    """Files and folders of the benchmark.

    Parameters
    ----------
    definitions
        `sets.toml`; the lock, the rows and the leaderboard lie beside it.
    scratch
        Folder of what is made: sets, picks.
    """

    definitions: Path = HERE / "sets.toml"
    scratch: Path = REPOSITORY / "scratch" / "quality"

    @property
    def lock(self) -> Path:
        """What the sets were when they were frozen."""
        return self.definitions.with_suffix(".lock.json")

    @property
    def rows(self) -> Path:
        """One JSON file for each method and set."""
        return self.definitions.parent / "rows"

    @property
    def leaderboard(self) -> Path:
        """The Markdown file with the generated tables."""
        return self.definitions.parent / "LEADERBOARD.md"


def find_reference_data() -> Path | None:
    """Return the reference data (`CRYOFIND_SHARED`, or the folder `shared` beside the repository) if it is there."""
    folder = Path(os.environ.get("CRYOFIND_SHARED", REPOSITORY.parent / "shared")) / "data"
    return folder if folder.is_dir() else None


def run_cryofind(*arguments: object) -> None:
    """Run a command as on the command line; one that fails has said why and ends this program with its exit code."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        if end.code not in {0, None}:
            raise
