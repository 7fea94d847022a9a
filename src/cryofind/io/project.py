"""Opening whatever the user points at: a copick configuration, Kaggle's folders, loose tomograms, a single one."""

from pathlib import Path

from cryofind.errors import CryofindError, ProjectError
from cryofind.io.copick import CONFIG_NAME, is_copick_config, read_copick_project
from cryofind.io.entries import PicksEntry, Project, SegmentationEntry, TomogramEntry
from cryofind.io.files import is_folder, read_json_document
from cryofind.io.kaggle import find_kaggle_roots, read_kaggle_project
from cryofind.io.layout import check_distinct
from cryofind.io.mrc import MRC_SUFFIXES
from cryofind.io.ome_zarr import is_zarr
from cryofind.io.tomograms import find_names
from cryofind.types import check_run_name

__all__ = ["PicksEntry", "Project", "SegmentationEntry", "TomogramEntry", "open_project"]

_EXPECTED = f"a copick configuration, a Kaggle folder, {', '.join(MRC_SUFFIXES)} files or OME-Zarr folders"


def open_project(path: str | Path) -> Project:
    """Return the project at a path, whatever its kind; only names and metadata are read.

    Parameters
    ----------
    path
        A copick configuration file or a folder with one (`copick.json`, or its only one), a folder in the layout of the
        Kaggle data (or one that holds `ExperimentRuns`), a folder of tomogram files, one tomogram file, or one OME-Zarr
        folder.

    Raises
    ------
    ProjectError
        If there is nothing of the kind, or two runs have the same name.
    TomogramError
        If a single file is neither a configuration nor a tomogram.
    """
    path = Path(path)
    try:
        return _open(path)
    except PermissionError as error:
        raise ProjectError(error.filename or path, f"cannot be read ({error.strerror})", "check the rights") from error


def _open(path: Path) -> Project:
    if not is_folder(path, ProjectError):
        return read_copick_project(path) if path.suffix.lower() == ".json" else _open_single(path)
    if is_zarr(path):
        return _open_single(path)
    config = _find_config(path)
    if config is not None:
        return read_copick_project(config)
    roots = find_kaggle_roots(path)
    return read_kaggle_project(path, roots) if roots else _open_loose(path)


def _open_single(path: Path) -> Project:
    if not path.is_dir() and path.suffix.lower() not in MRC_SUFFIXES:
        raise ProjectError(
            path, f"is neither a tomogram nor a project ({path.suffix or 'no suffix'})", f"give {_EXPECTED}"
        )
    run, flavour = find_names(path)
    entry = TomogramEntry(check_run_name(run), flavour, None, path)
    return Project(run, "tomogram", path, (), (run,), (entry,))


def _find_config(folder: Path) -> Path | None:
    if (folder / CONFIG_NAME).is_file():
        return folder / CONFIG_NAME
    configs = [path for path in sorted(folder.glob("*.json")) if path.is_file() and _is_config(path)]
    if len(configs) > 1:
        names = ", ".join(path.name for path in configs)
        raise ProjectError(folder, f"holds several copick configurations ({names})", "give one of them")
    return configs[0] if configs else None


def _is_config(path: Path) -> bool:
    try:
        return is_copick_config(read_json_document(path, ProjectError))
    except CryofindError:
        return False


def _open_loose(folder: Path) -> Project:
    paths = [path for path in _list(folder) if _is_loose_tomogram(path)]
    if not paths:
        raise ProjectError(folder, "holds no tomograms and no project", f"give {_EXPECTED}")
    entries = [TomogramEntry(check_run_name(find_names(path)[0]), "", None, path) for path in paths]
    runs = tuple(entry.run for entry in entries)
    check_distinct(runs, folder)
    return Project(folder.absolute().name, "folder", folder, (), tuple(sorted(runs)), tuple(entries))


def _list(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ProjectError(folder, f"cannot be listed ({error.strerror})", "check the permissions") from error


def _is_loose_tomogram(path: Path) -> bool:
    if path.is_dir():
        return is_zarr(path)
    return path.is_file() and path.suffix.lower() in MRC_SUFFIXES
