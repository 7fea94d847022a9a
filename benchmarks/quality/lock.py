"""What the sets were when they were frozen, and whether they still are."""

import json
import logging
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from hardware import describe_processor
from places import Places
from sets import OpenSet, SetMissingError, SetSpec, describe_origin

from cryofind.atomic import write_json
from cryofind.errors import ConfigError, OutputError
from cryofind.io import fingerprint_volume
from cryofind.pipeline.records import hash_document, timestamp
from cryofind.simulate import SIMULATOR_VERSION

logger = logging.getLogger("cryofind")

Hashes = dict[str, str]
SHOWN = 12  # digits of a hash that messages and tables show


@dataclass(frozen=True)
class Content:
    """SHA-256 by run of the true picks (to 0.1 Angstrom) and of the voxels (`cryofind.io.fingerprint_volume`)."""

    picks: Hashes
    voxels: Hashes

    @property
    def picks_sha256(self) -> str:
        """One hash for the picks of all runs."""
        return hash_document(self.picks)

    @property
    def voxels_sha256(self) -> str:
        """One hash for the voxels of all runs."""
        return hash_document(self.voxels)


def measure_content(opened: OpenSet) -> Content:
    """Return the hashes of what a set holds; about a second a tomogram."""
    picks = {run: opened.truth.of_run(run).fingerprint() for run in opened.runs}
    voxels = {entry.run: fingerprint_volume(np.asarray(entry.read().volume_zyx)) for entry in opened.entries}
    return Content(picks, voxels)


def read_lock(places: Places) -> dict[str, Any]:
    """Return what was frozen, by set.

    Raises
    ------
    ConfigError
        If the file is damaged.
    """
    if not places.lock.exists():
        return {}
    try:
        document = json.loads(places.lock.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(places.lock, f"cannot be read ({error})", "restore it from the repository") from error
    if not isinstance(document, dict):
        raise ConfigError(places.lock, "is not a JSON object", "restore it from the repository")
    return document


def refuse_unfrozen(places: Places, name: str) -> None:
    """Refuse a set, before it is made, whose content is not in the lock.

    Raises
    ------
    SetMissingError
        If it was never frozen.
    """
    if name not in read_lock(places):
        raise SetMissingError(f"set {name}", f"is not in {places.lock}", "freeze it: run.py sets NAME --freeze")


def check_identity(places: Places, name: str, spec: SetSpec) -> None:
    """Refuse a set, before it is made, that would be made otherwise than when it was frozen.

    Raises
    ------
    ConfigError
        With what was found and what was expected.
    """
    frozen = read_lock(places).get(name)
    identity = hash_document(describe_origin(places, spec))
    if frozen is not None and frozen["identity"] != identity:
        found = f"is {identity[:SHOWN]} by recipe, seed and simulator version {SIMULATOR_VERSION}"
        expected = f"expected {frozen['identity'][:SHOWN]} (version {frozen['simulator_version']})"
        raise ConfigError(f"set {name}", f"{found}, {expected}", "restore its recipe, or make it anew and freeze it")


def check_content(places: Places, opened: OpenSet, content: Content) -> bool:
    """Return whether even the voxels of a set in the lock are those that were frozen; other picks are refused.

    Voxels of simulated sets may differ by the rounding of another processor: that is a warning.

    Raises
    ------
    OutputError
        If its picks, or the voxels of reference data, are others.
    """
    frozen = read_lock(places)[opened.name]
    _refuse_other(opened, "picks", frozen["picks"], content.picks)
    if content.voxels == frozen["voxels"]:
        return True
    if opened.spec.reference:
        _refuse_other(opened, "voxels", frozen["voxels"], content.voxels)
    differing = sum(content.voxels[run] != frozen["voxels"].get(run) for run in content.voxels)
    message = "set %s: voxels of %d of %d runs are not those frozen on %s; here: %s"
    machines = (frozen["processor"], describe_processor())
    logger.warning(message, opened.name, differing, len(content.voxels), *machines)
    return False


def freeze(places: Places, opened: OpenSet, content: Content) -> None:
    """Write a set into the lock; what is there with another content stays.

    Raises
    ------
    OutputError
        If the set was frozen with other picks or voxels.
    """
    lock = read_lock(places)
    frozen = lock.get(opened.name)
    if frozen is not None:
        for kind in ("picks", "voxels"):
            _refuse_other(opened, kind, frozen[kind], getattr(content, kind))
        if frozen["identity"] == opened.identity:
            return
    lock[opened.name] = {
        "identity": opened.identity,
        "simulator_version": opened.made_from.get("simulator_version"),
        "frozen": timestamp(),
        "processor": describe_processor(),
        **asdict(content),
    }
    write_json(places.lock, dict(sorted(lock.items())))


def _refuse_other(opened: OpenSet, kind: str, frozen: Hashes, found: Hashes) -> None:
    differing = [run for run in sorted(found.keys() | frozen.keys()) if found.get(run) != frozen.get(run)]
    if not differing:
        return
    run = differing[0]
    shown = [str(hashes.get(run, "none"))[:SHOWN] for hashes in (found, frozen)]
    problem = f"{kind} of {len(differing)} runs are not the frozen ones: {run} has {shown[0]}, expected {shown[1]}"
    advice = (
        f"make it anew elsewhere; for a new set remove '{opened.name}' from sets.lock.json and its rows, and freeze it"
    )
    raise OutputError(f"set {opened.name}: {opened.project.path}", problem, advice)
