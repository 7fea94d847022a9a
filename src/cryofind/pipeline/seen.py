"""What a model has seen: recognised by voxels and picks, whatever a run's name, file or flavour."""

from collections.abc import Iterable

from cryofind.io import fingerprint_volume
from cryofind.models import SeenRun
from cryofind.types import Picks, Tomogram


def remember_run(tomogram: Tomogram, truth: Picks, *, role: str) -> SeenRun:
    """Return what lets a run be recognised later. A run without picks is recognised by its voxels alone."""
    return SeenRun.model_validate(
        {
            "run": tomogram.run,
            "role": role,
            "volume_sha256": (fingerprint_volume(tomogram.volume_zyx),),
            "picks_sha256": truth.fingerprint() if len(truth) else "",
        }
    )


def is_seen(run: SeenRun, seen: Iterable[SeenRun]) -> bool:
    """Say whether a run is among those that a model has seen in training, validation or tuning."""
    return any(
        set(run.volume_sha256) & set(other.volume_sha256)
        or (run.picks_sha256 and run.picks_sha256 == other.picks_sha256)
        for other in seen
    )
