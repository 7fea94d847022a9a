"""The folders of the CZII challenge as Kaggle gives them: `train/static`, `train/overlay`, `test/static`.

Each holds `ExperimentRuns` as copick lays it out. The objects are the challenge's; picks carry no user and session in
their names. Folder names say 10.000 A, the metadata 10.012 A: the metadata win, as everywhere.
"""

from pathlib import Path

from cryofind import czii
from cryofind.errors import ProjectError
from cryofind.io.entries import Project
from cryofind.io.layout import RUNS_FOLDER, scan_layout

_PARTS = ("train", "test")
_LAYERS = ("overlay", "static")


def find_kaggle_roots(folder: Path) -> tuple[Path, ...]:
    """Return the folders with `ExperimentRuns` in a Kaggle layout, those that hide others first; () if it is none.

    Raises
    ------
    ProjectError
        If it holds both `train` and `test`: the same runs may be in both, and what is picked must be said.
    """
    both = [part for part in _PARTS if any((folder / part / layer / RUNS_FOLDER).is_dir() for layer in _LAYERS)]
    if len(both) > 1:
        raise ProjectError(folder, "holds both train and test", f"give {folder / 'train'} or {folder / 'test'}")
    candidates = [
        folder,
        *(folder / layer for layer in _LAYERS),
        *(folder / part / layer for part in _PARTS for layer in _LAYERS),
        *(folder / part for part in _PARTS),
    ]
    return tuple(candidate for candidate in candidates if (candidate / RUNS_FOLDER).is_dir())


def read_kaggle_project(folder: Path, roots: tuple[Path, ...]) -> Project:
    """Return the project of a Kaggle layout with the roots that `find_kaggle_roots` found.

    Raises
    ------
    ProjectError
        If two runs differ in upper and lower case only, or a folder cannot be listed.
    """
    overlay = next((root for root in roots if root.name == "overlay"), None)
    static = next((root for root in roots if root.name == "static"), None)
    if len(roots) == 1 and overlay is None and static is None:
        overlay = roots[0]
    contents = scan_layout(roots)
    return Project(
        name=folder.absolute().name,
        kind="kaggle",
        path=folder,
        objects=czii.OBJECTS,
        overlay_root=overlay,
        static_root=static,
        **vars(contents),
    )
