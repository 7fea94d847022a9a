"""copick's folders: `ROOT/ExperimentRuns/RUN/{VoxelSpacing*,Picks,Segmentations}`. The Kaggle data use the same.

Source: copick's file system layout. Names that begin with a dot are skipped (they may be half written), and so is what
links out of its root or has a name that is not safe; the latter two are logged.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryofind.errors import NameRefused, ProjectError
from cryofind.io.entries import PicksEntry, SegmentationEntry, TomogramEntry
from cryofind.types import check_name, check_run_name

logger = logging.getLogger("cryofind")

RUNS_FOLDER = "ExperimentRuns"
# The Kaggle files carry no user and session in their names; inside they say these.
UNNAMED_USER, UNNAMED_SESSION = "curation", "0"

_SPACING_FOLDER = re.compile(r"VoxelSpacing(\d+(?:\.\d+)?)")
_SEGMENTATION = re.compile(r"(\d+(?:\.\d+)?)_([^_]+)_([^_]+)_([^_]+?)(-multilabel)?\.zarr")


@dataclass(frozen=True)
class LayoutContents:
    """What was found below one or more roots, sorted by run."""

    runs: tuple[str, ...]
    tomograms: tuple[TomogramEntry, ...]
    segmentations: tuple[SegmentationEntry, ...]
    picks_entries: tuple[PicksEntry, ...]


def scan_layout(roots: Sequence[Path]) -> LayoutContents:
    """Return the contents of the roots; what an earlier root has, hides the same in a later one.

    Raises
    ------
    ProjectError
        If two runs differ in upper and lower case only.
    """
    folders: dict[str, list[tuple[Path, Path]]] = {}
    for root in roots:
        for run_folder in _list_folder(root / RUNS_FOLDER, root):
            if run_folder.is_dir() and _is_safe(run_folder.name, run_folder):
                folders.setdefault(run_folder.name, []).append((run_folder, root))
    runs = tuple(sorted(folders))
    check_distinct(runs, roots[0])
    tomograms: dict[Path, TomogramEntry] = {}
    segmentations: dict[Path, SegmentationEntry] = {}
    picks: dict[tuple[str, str], PicksEntry] = {}
    for run in runs:
        for folder, root in folders[run]:
            for tomogram in _scan_tomograms(run, folder, root):
                tomograms.setdefault(tomogram.path.relative_to(root), tomogram)
            for segmentation in _scan_segmentations(run, folder, root):
                segmentations.setdefault(segmentation.path.relative_to(root), segmentation)
            for entry in _scan_picks(run, folder, root):
                picks.setdefault((run, entry.uri), entry)
    return LayoutContents(runs, tuple(tomograms.values()), tuple(segmentations.values()), tuple(picks.values()))


def check_distinct(runs: Sequence[str], where: Path) -> None:
    """Refuse runs that are equal, or differ in upper and lower case only: some file systems mix them up.

    Raises
    ------
    ProjectError
        Naming the two.
    """
    by_folded: dict[str, str] = {}
    for run in runs:
        other = by_folded.setdefault(run.casefold(), run)
        if by_folded[run.casefold()] is not run:
            raise ProjectError(f"{where}: run '{run}'", f"cannot be told from '{other}'", "rename one of them")


def tomogram_zarr_path(root: str | Path, run: str, spacing_angstrom: float, flavour: str) -> Path:
    """Return copick's path of a tomogram: `ROOT/ExperimentRuns/RUN/VoxelSpacing10.000/FLAVOUR.zarr`.

    Raises
    ------
    NameRefused
        If a name is not safe in a path.
    """
    folder = Path(root) / RUNS_FOLDER / check_run_name(run) / f"VoxelSpacing{spacing_angstrom:.3f}"
    return folder / f"{check_name(flavour, 'tomogram type')}.zarr"


def segmentation_zarr_path(
    root: str | Path,
    run: str,
    spacing_angstrom: float,
    user: str,
    session: str,
    name: str,
    *,
    is_multilabel: bool = True,
) -> Path:
    """Return copick's path of a segmentation: `.../Segmentations/10.000_USER_SESSION_NAME-multilabel.zarr`.

    Raises
    ------
    NameRefused
        If a name is not safe in a path.
    """
    owner = f"{check_name(user, 'user name')}_{check_name(session, 'session name')}"
    flag = "-multilabel" if is_multilabel else ""
    file_name = f"{spacing_angstrom:.3f}_{owner}_{check_name(name, 'segmentation name')}{flag}.zarr"
    return Path(root) / RUNS_FOLDER / check_run_name(run) / "Segmentations" / file_name


def _scan_tomograms(run: str, run_folder: Path, root: Path) -> Iterator[TomogramEntry]:
    for spacing_folder in _list_folder(run_folder, root):
        match = _SPACING_FOLDER.fullmatch(spacing_folder.name)
        if match is None:
            continue
        for path in _list_folder(spacing_folder, root):
            is_tomogram = path.suffix == ".zarr" and not path.stem.endswith("_features")
            if is_tomogram and path.is_dir():
                yield TomogramEntry(run, path.stem, float(match.group(1)), path)


def _scan_segmentations(run: str, run_folder: Path, root: Path) -> Iterator[SegmentationEntry]:
    for path in _list_folder(run_folder / "Segmentations", root):
        match = _SEGMENTATION.fullmatch(path.name)
        if match is not None and path.is_dir():
            spacing, user, session, name, flag = match.groups()
            yield SegmentationEntry(run, name, user, session, float(spacing), flag is not None, path)


def _scan_picks(run: str, run_folder: Path, root: Path) -> Iterator[PicksEntry]:
    # Files with user and session come first: they hide a Kaggle file of the same picks.
    paths = [path for path in _list_folder(run_folder / "Picks", root) if path.suffix == ".json"]
    for path in sorted(paths, key=lambda path: "_" not in path.stem):
        parts = path.stem.split("_")
        if len(parts) == 1:
            parts = [UNNAMED_USER, UNNAMED_SESSION, *parts]
        if len(parts) != 3:
            logger.warning("%s is skipped: its name is not USER_SESSION_OBJECT.json", path)
            continue
        user, session, name = parts
        if _is_safe(name, path, check=check_name):
            yield PicksEntry(run, name, user, session, path)


def _list_folder(folder: Path, root: Path) -> list[Path]:
    """Return what may be read in a folder, sorted by name; nothing if there is no such folder."""
    if not _stays_inside(folder, root):
        return []
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ProjectError(folder, f"cannot be listed ({error.strerror})", "check the permissions") from error
    return [path for path in map(folder.joinpath, names) if _stays_inside(path, root)]


def _stays_inside(path: Path, root: Path) -> bool:
    if not path.is_symlink():
        return True
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        return True
    logger.warning("%s is skipped: it links out of %s", path, root)
    return False


def _is_safe(name: str, path: Path, check: Callable[[str], str] = check_run_name) -> bool:
    try:
        check(name)
    except NameRefused as error:
        logger.warning("%s is skipped: %s", path, error.problem)
        return False
    return True
