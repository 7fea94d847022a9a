"""Picks of one run and one object as copick JSON (`CopickPicksFile`), and overlays of many."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofind.atomic import write_text
from cryofind.coordinates import rotations_xyz_from_zyx, rotations_zyx_from_xyz, xyz_from_zyx, zyx_from_xyz
from cryofind.errors import NameRefused, PicksError
from cryofind.io.text import read_text
from cryofind.types import Picks, check_name, check_run_name

# Copick's names for who made the picks that this package writes as its own.
OWN_USER, OWN_SESSION = "cryofind", "1"

_IDENTITY = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
_ROTATION_TOLERANCE = 1e-3  # files round their matrices to a few decimals
_MEND = "mend the file or write it again"


def read_picks_json(path: str | Path, *, run: str | None = None, object_name: str | None = None) -> Picks:
    """Read the picks of one run and one object.

    As in copick, a point lies at `location` plus the translation of its `transformation_`. Rotations are kept only if
    the file trusts them (`trust_orientation`) and at least one is not the identity.

    Parameters
    ----------
    path
        JSON file, UTF-8.
    run, object_name
        Names to use instead of the file's.

    Returns
    -------
    Picks
        All selected; scores as written, 1 where there is none.

    Raises
    ------
    PicksError
        If the file cannot be read, is not JSON (with line and column), or a field is missing, of the wrong type, not
        finite or not in Angstrom (with the field).
    """
    path = Path(path)
    document = _require(path, "", _load_json(path), dict, "an object { }")
    run = _require_name(path, document, "run_name", run)
    object_name = _require_name(path, document, "pickable_object_name", object_name)
    _check_unit(path, document)
    trusted = _require(path, "trust_orientation", document.get("trust_orientation", True), bool, "true or false")
    points = _require(path, "points", _member(path, "", document, "points"), list, "a list [ ]")
    locations, matrices, scores = _read_points(path, points)
    rotations_xyz = matrices[:, :3, :3]
    oriented = trusted and not np.array_equal(rotations_xyz, np.broadcast_to(np.eye(3), rotations_xyz.shape))
    if oriented:
        _check_rotations(path, rotations_xyz)
    return Picks.build(
        run,
        object_name,
        zyx_from_xyz(locations + matrices[:, :3, 3]),
        scores=scores,
        rotations_zyx=rotations_zyx_from_xyz(rotations_xyz) if oriented else None,
    )


def write_picks_json(
    path: str | Path,
    picks: Picks,
    *,
    user: str,
    session: str,
    voxel_spacing_angstrom: float | None = None,
    run: str | None = None,
    object_name: str | None = None,
) -> None:
    """Write picks of one run and one object; all rows, selected or not, with their scores.

    Parameters
    ----------
    path
        Where to write; parents are created.
    picks
        Rows of one run and one object. Their rotations, if any, are written and trusted.
    user, session
        Who made them; names as copick allows them.
    voxel_spacing_angstrom
        Voxel spacing of the tomogram they were picked in, Angstrom.
    run, object_name
        Names for the file; needed only when `picks` is empty.

    Raises
    ------
    NameRefused
        If a name is not safe.
    ValueError
        If the picks are of several runs or objects, or empty without names.
    """
    run = _single(picks.run_names, run, "run")
    object_name = _single(picks.object_names, object_name, "object")
    oriented = picks.rotations_zyx is not None
    document = {
        "pickable_object_name": check_name(object_name),
        "user_id": check_name(user, "user name"),
        "session_id": check_name(session, "session name"),
        "run_name": check_run_name(run),
        "voxel_spacing": voxel_spacing_angstrom,
        "unit": "angstrom",
        "trust_orientation": oriented,
        "points": _points_document(picks),
    }
    write_text(Path(path), json.dumps(document, allow_nan=False) + "\n")


def write_picks_overlay(
    root: str | Path,
    picks: Picks,
    *,
    user: str,
    session: str,
    voxel_spacings: Mapping[str, float] | None = None,
    runs: Sequence[str] = (),
    objects: Sequence[str] = (),
) -> tuple[Path, ...]:
    """Write picks into a copick overlay: `ExperimentRuns/RUN/Picks/USER_SESSION_OBJECT.json`.

    Parameters
    ----------
    root
        The overlay's root folder.
    picks
        Any runs and objects.
    user, session
        Who made them.
    voxel_spacings
        Voxel spacing by run, Angstrom, where known.
    runs, objects
        Every combination of these gets a file too, without points if there are no picks, so that no older file of the
        same name survives.

    Returns
    -------
    tuple of Path
        The written files, by run and object.

    Raises
    ------
    NameRefused
        If a name is not safe; nothing is written then.
    """
    spacings = voxel_spacings or {}
    pairs = {(str(r), str(o)) for r, o in zip(picks.runs, picks.objects, strict=True)}
    pairs |= {(r, o) for r in runs for o in objects}
    # All names are checked before the first file is written, so that a refused one leaves nothing behind.
    paths = {pair: picks_json_path(Path(root), pair[0], user, session, pair[1]) for pair in sorted(pairs)}
    for (run, name), path in paths.items():
        rows = picks.where((picks.runs == run) & (picks.objects == name))
        write_picks_json(
            path,
            rows,
            user=user,
            session=session,
            voxel_spacing_angstrom=spacings.get(run),
            run=run,
            object_name=name,
        )
    return tuple(paths.values())


def picks_json_path(root: Path, run: str, user: str, session: str, object_name: str) -> Path:
    """Return copick's path of the picks of one run and one object.

    Raises
    ------
    NameRefused
        If a name is not safe in a path.
    """
    file_name = f"{check_name(user, 'user name')}_{check_name(session, 'session name')}_{check_name(object_name)}.json"
    return root / "ExperimentRuns" / check_run_name(run) / "Picks" / file_name


def _load_json(path: Path) -> Any:
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _unique_members(path, pairs))
    except json.JSONDecodeError as error:
        where = f"{path}: line {error.lineno}, column {error.colno}"
        raise PicksError(where, f"is not JSON ({error.msg})", _MEND) from error
    except RecursionError as error:
        raise PicksError(path, "is nested too deeply for picks", _MEND) from error
    except ValueError as error:
        raise PicksError(path, f"is not JSON that can be read ({error})", _MEND) from error


def _unique_members(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise PicksError(f"{path}: {repeated}", "is given twice in one object { }", "keep one of them")
    return members


def _read_points(path: Path, points: list[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return locations xyz (N, 3), transforms (N, 4, 4) and scores (N,)."""
    locations = np.zeros((len(points), 3))
    matrices = np.tile(np.eye(4), (len(points), 1, 1))
    scores = np.ones(len(points))
    for index, point in enumerate(points):
        where = f"points[{index}]"
        _require(path, where, point, dict, "an object { }")
        location = _require(path, f"{where}.location", _member(path, where, point, "location"), dict, "an object { }")
        for axis, name in enumerate("xyz"):
            value = _member(path, f"{where}.location", location, name)
            locations[index, axis] = _number(path, f"{where}.location.{name}", value)
        matrix = point.get("transformation_", _IDENTITY)
        if matrix != _IDENTITY:
            matrices[index] = _read_matrix(path, f"{where}.transformation_", matrix)
        if point.get("score") is not None:
            scores[index] = _number(path, f"{where}.score", point["score"])
    return locations, matrices, scores


def _read_matrix(path: Path, field: str, matrix: Any) -> list[list[float]]:
    is_square = isinstance(matrix, list) and len(matrix) == 4
    if not (is_square and all(isinstance(row, list) and len(row) == 4 for row in matrix)):
        raise PicksError(f"{path}: {field}", f"is {_shown(matrix)}, expected 4 rows of 4 numbers", _MEND)
    rows = [[_number(path, f"{field}[{r}][{c}]", v) for c, v in enumerate(row)] for r, row in enumerate(matrix)]
    if rows[3] != [0, 0, 0, 1]:
        raise PicksError(f"{path}: {field}[3]", f"is {_shown(matrix[3])}, expected [0, 0, 0, 1]", _MEND)
    return rows


def _check_rotations(path: Path, rotations_xyz: NDArray[np.float64]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        products = rotations_xyz @ np.swapaxes(rotations_xyz, -1, -2)
        is_orthogonal = np.abs(products - np.eye(3)).max(axis=(1, 2)) <= _ROTATION_TOLERANCE
        is_rotation = is_orthogonal & (np.linalg.det(np.where(np.isfinite(rotations_xyz), rotations_xyz, 0.0)) > 0)
    if not is_rotation.all():
        index = int(np.argmin(is_rotation))
        raise PicksError(
            f"{path}: points[{index}].transformation_",
            "is no rotation, although trust_orientation is true",
            "set trust_orientation to false if the orientations mean nothing",
        )


def _require_name(path: Path, document: dict[str, Any], field: str, override: str | None) -> str:
    check = check_run_name if field == "run_name" else check_name
    if override is not None:
        return check(override)
    name = _require(path, field, _member(path, "", document, field), str, "a name in quotes")
    try:
        return check(name)
    except NameRefused as error:
        raise PicksError(f"{path}: {field}", f"is {name[:60]!r}: {error.problem}", error.advice) from error


def _check_unit(path: Path, document: dict[str, Any]) -> None:
    unit = _member(path, "", document, "unit")
    if unit != "angstrom":
        advice = 'convert the coordinates to Angstrom and set unit to "angstrom"'
        raise PicksError(f"{path}: unit", f'is {_shown(unit)}, expected "angstrom"', advice)


def _member(path: Path, where: str, members: dict[str, Any], name: str) -> Any:
    if name not in members:
        field = f"{where}.{name}" if where else name
        raise PicksError(f"{path}: {field}", "is missing", _MEND)
    return members[name]


def _require(path: Path, field: str, value: Any, kind: type, expected: str) -> Any:
    if not isinstance(value, kind):
        subject = f"{path}: {field}" if field else path
        raise PicksError(subject, f"is {_shown(value)}, expected {expected}", _MEND)
    return value


def _number(path: Path, field: str, value: Any) -> float:
    if type(value) in (int, float):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise PicksError(f"{path}: {field}", f"is {_shown(value)}, expected a finite number", _MEND)


def _shown(value: Any) -> str:
    """Return a short form of a JSON value for a message."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**64:
        return "a number beyond any length"
    if isinstance(value, dict):
        return "an object { }"
    if isinstance(value, list) and len(value) > 4:
        return f"a list of {len(value)}"
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _single(names: tuple[str, ...], given: str | None, what: str) -> str:
    known = set(names) | ({given} if given is not None else set())
    if len(known) != 1:
        raise ValueError(f"picks of one {what} expected, found {sorted(known)}")
    return known.pop()


def _points_document(picks: Picks) -> list[dict[str, Any]]:
    points_xyz = xyz_from_zyx(picks.positions_zyx_angstrom).tolist()
    if picks.rotations_zyx is None:
        matrices: list[Any] = [_IDENTITY] * len(picks)
    else:
        transforms = np.tile(np.eye(4), (len(picks), 1, 1))
        transforms[:, :3, :3] = rotations_xyz_from_zyx(picks.rotations_zyx)
        matrices = transforms.tolist()
    return [
        {"location": {"x": x, "y": y, "z": z}, "transformation_": matrix, "instance_id": 0, "score": score}
        for (x, y, z), matrix, score in zip(points_xyz, matrices, picks.scores.tolist(), strict=True)
    ]
