"""copick projects on the local file system: the configuration file, read and written.

Source: copick 1.31 and 2.0 alpha, `CopickConfig` and `PickableObject`. Keys that are not used here are passed over.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryofind.atomic import write_json
from cryofind.errors import CryofindError, ProjectError
from cryofind.io.entries import Project
from cryofind.io.files import read_json_document
from cryofind.io.layout import RUNS_FOLDER, scan_layout
from cryofind.types import ParticleSpec

logger = logging.getLogger("cryofind")

CONFIG_NAME = "copick.json"


def read_copick_project(path: Path) -> Project:
    """Return the project of a copick configuration file.

    `overlay_root` and `static_root` may be `local:///absolute`, `file:///absolute`, or plain paths; relative ones start
    at the configuration file. What the overlay has, hides the same in the static root.

    Raises
    ------
    ProjectError
        If the configuration cannot be understood (with the field), or lies elsewhere than on this computer.
    """
    document = read_json_document(path, ProjectError)
    if not is_copick_config(document):
        raise ProjectError(path, "has no 'pickable_objects', so it is no copick configuration", "give another file")
    _check_config_type(path, document)
    objects = _parse_objects(path, document["pickable_objects"])
    overlay = _parse_root(path, document, "overlay_root")
    static = _parse_root(path, document, "static_root")
    if overlay is None:
        raise ProjectError(f"{path}: overlay_root", "is missing", "add the folder that holds ExperimentRuns")
    overlay = _choose_overlay(path, overlay, static)
    contents = scan_layout([root for root in (overlay, static) if root is not None and root.is_dir()])
    name = document.get("name")
    return Project(
        name=name if isinstance(name, str) and name else path.stem,
        kind="copick",
        path=path,
        objects=objects,
        overlay_root=overlay,
        static_root=static,
        **vars(contents),
    )


def _choose_overlay(path: Path, overlay: Path, static: Path | None) -> Path:
    """Return the overlay root; of a project that was moved as a whole, the folder of its configuration."""
    there = [root.resolve() for root in (overlay, static) if root is not None and root.is_dir()]
    own = path.absolute().parent
    has_runs = (own / RUNS_FOLDER).is_dir()
    if not there and not has_runs:
        raise ProjectError(f"{path}: overlay_root", f"'{overlay}' is not a folder", "mend the path")
    if not there:
        logger.warning("%s: overlay_root '%s' is not there; the %s beside it is read", path, overlay, RUNS_FOLDER)
        return own
    if has_runs and own.resolve() not in there:
        logger.warning(
            "%s: reads %s, not the %s beside it; set overlay_root to '.' to change that", path, there[0], RUNS_FOLDER
        )
    return overlay


def read_roots(path: Path) -> tuple[Path | None, Path | None]:
    """Return `overlay_root` and `static_root` of a configuration, whether or not they are there.

    Raises
    ------
    ProjectError
        If it is no JSON object, or a root cannot be understood.
    """
    document = read_json_document(path, ProjectError)
    return _parse_root(path, document, "overlay_root"), _parse_root(path, document, "static_root")


def point_copick_config(path: Path, overlay_root: Path) -> None:
    """Let a configuration name another folder as `overlay_root`.

    Raises
    ------
    ProjectError
        If it is no JSON object.
    OutputError
        If the file system refuses.
    """
    document = read_json_document(path, ProjectError)
    write_json(path, {**document, "overlay_root": _root_url(overlay_root)})


def is_copick_config(document: dict[str, Any]) -> bool:
    """Say whether a JSON object looks like a copick configuration."""
    return "pickable_objects" in document


def write_copick_config(
    path: str | Path,
    *,
    name: str,
    objects: Sequence[ParticleSpec],
    overlay_root: str | Path,
    static_root: str | Path | None = None,
) -> None:
    """Write a copick configuration for the local file system.

    Parameters
    ----------
    path
        The JSON file.
    name
        Of the project.
    objects
        What may be picked.
    overlay_root, static_root
        Folders that hold `ExperimentRuns`; made absolute, because copick itself reads them so.

    Raises
    ------
    OutputError
        If the file system refuses.
    """
    document: dict[str, Any] = {
        "name": name,
        "description": "written by cryofind",
        "version": "1.31.0",
        "config_type": "filesystem",
        "pickable_objects": [_describe_object(spec) for spec in objects],
        "overlay_root": _root_url(overlay_root),
        "overlay_fs_args": {"auto_mkdir": True},
    }
    if static_root is not None:
        document |= {"static_root": _root_url(static_root), "static_fs_args": {"auto_mkdir": True}}
    write_json(Path(path), document)


def _root_url(root: str | Path) -> str:
    return f"local://{Path(root).expanduser().absolute()}/"


def _describe_object(spec: ParticleSpec) -> dict[str, Any]:
    metadata: dict[str, Any] = {"score_weight": spec.score_weight}
    if spec.score_threshold is not None:
        metadata["score_threshold"] = spec.score_threshold
    description: dict[str, Any] = {
        "name": spec.name,
        "is_particle": spec.is_particle,
        "label": spec.label,
        "color": list(spec.color),
        "metadata": metadata,
    }
    if spec.radius_angstrom is not None:
        description["radius"] = spec.radius_angstrom
    return description


def _check_config_type(path: Path, document: dict[str, Any]) -> None:
    kind = document.get("config_type", "filesystem")
    if kind != "filesystem":
        raise ProjectError(
            f"{path}: config_type",
            f"is {str(kind)[:60]!r}, expected 'filesystem'",
            "download the project first (copick sync) and give the local configuration",
        )


def _parse_root(path: Path, document: dict[str, Any], field: str) -> Path | None:
    text = document.get(field)
    if text is None:
        return None
    where = f"{path}: {field}"
    if not isinstance(text, str) or not text or "\0" in text:
        raise ProjectError(where, f"is {str(text)[:80]!r}, expected a path", "mend the configuration")
    scheme, separator, rest = text.partition("://")
    if separator and scheme not in {"local", "file"}:
        raise ProjectError(
            where, f"is on '{scheme}://', only local files can be read", "copy it here (copick sync) or mount it"
        )
    return Path(path.parent, Path(rest if separator else text).expanduser()).absolute()


def _parse_objects(path: Path, entries: Any) -> tuple[ParticleSpec, ...]:
    where = f"{path}: pickable_objects"
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ProjectError(where, "is not a list of objects", "mend the configuration")
    specs = tuple(_parse_object(f"{where}[{n}]", entry) for n, entry in enumerate(entries))
    for field in ("name", "label"):
        values = [getattr(spec, field) for spec in specs]
        repeated = next((value for value in values if values.count(value) > 1), None)
        if repeated is not None:
            raise ProjectError(where, f"{field} {repeated!r} is there twice", f"give every object its own {field}")
    return specs


def _parse_object(where: str, entry: dict[str, Any]) -> ParticleSpec:
    name = entry.get("name")
    if not isinstance(name, str):
        raise ProjectError(f"{where}.name", f"is {str(name)[:60]!r}, expected a name", "mend the configuration")
    metadata = entry.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ProjectError(f"{where}.metadata", "is not an object", "mend the configuration")
    weight_field = "score_weight" if "score_weight" in metadata else "weight"
    weight = _parse_number(f"{where}.metadata.{weight_field}", metadata.get(weight_field))
    try:
        return ParticleSpec(
            name,
            _parse_number(f"{where}.radius", entry.get("radius")),
            _parse_label(f"{where}.label", entry.get("label", 1)),
            _parse_color(f"{where}.color", entry.get("color")),
            1.0 if weight is None else weight,
            _parse_number(f"{where}.metadata.score_threshold", metadata.get("score_threshold")),
            bool(entry.get("is_particle", True)),
        )
    except ProjectError:
        raise
    except CryofindError as error:
        raise ProjectError(f"{where} ({error.subject})", error.problem, error.advice) from error


def _parse_number(where: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProjectError(where, f"is {str(value)[:60]!r}, expected a number", "mend the configuration")
    try:
        return float(value)
    except OverflowError as error:
        raise ProjectError(where, "is out of range", "mend the configuration") from error


def _parse_label(where: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ProjectError(where, f"is {str(value)[:60]!r}, expected a whole number", "mend the configuration")
    return value


def _parse_color(where: str, value: Any) -> tuple[int, int, int, int]:
    if value is None:
        return 100, 100, 100, 255
    is_color = isinstance(value, list | tuple) and len(value) in (3, 4)
    if not is_color or not all(isinstance(part, int) and 0 <= part <= 255 for part in value):
        raise ProjectError(where, f"is {str(value)[:60]}, expected four numbers of 0 to 255", "mend the configuration")
    red, green, blue, alpha = (*value, 255)[:4]
    return red, green, blue, alpha
