"""What is looked for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cryofind.errors import ConfigError, advise_known_names
from cryofind.types.names import check_name

Rgba = tuple[int, int, int, int]

# Okabe and Ito's palette, without black: for objects that bring no colour of their own.
PALETTE = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


@dataclass(frozen=True)
class ParticleSpec:
    """One kind of object: a protein complex to pick, or a structure to segment.

    Parameters
    ----------
    name
        Name as copick allows it (no underscore, no white space).
    radius_angstrom
        Radius of the particle, Angstrom, positive; None for a structure that has none (a membrane).
    label
        Value of its voxels in multilabel segmentations, 1 to 255, unique in a project.
    color
        Red, green, blue, alpha, 0 to 255.
    score_weight
        Weight in the weighted F-beta; 0 leaves it out of the score.
    score_threshold
        copick's metadata of that name: read, kept and written, and filled from the thresholds of a model's card. It
        selects nothing; what selects picks is the card of the model that picked them.
    is_particle
        True for points, False for a segmentation target.

    Raises
    ------
    NameRefused
        If the name is not safe.
    ConfigError
        If a number is out of range.
    """

    name: str
    radius_angstrom: float | None
    label: int
    color: Rgba = (100, 100, 100, 255)
    score_weight: float = 1.0
    score_threshold: float | None = None
    is_particle: bool = True

    def __post_init__(self) -> None:
        check_name(self.name)
        radius = self.radius_angstrom
        if self.is_particle and radius is None:
            raise ConfigError(f"object '{self.name}': radius", "is missing", "give it in Angstrom")
        if radius is not None and not (math.isfinite(radius) and radius > 0):
            raise ConfigError(f"object '{self.name}': radius", f"is {radius}", "give a positive number of Angstrom")
        if not 1 <= self.label <= 255:
            raise ConfigError(f"object '{self.name}': label", f"is {self.label}", "use a whole number from 1 to 255")
        if not (math.isfinite(self.score_weight) and self.score_weight >= 0):
            raise ConfigError(f"object '{self.name}': score_weight", f"is {self.score_weight}", "use 0 or more")

    @property
    def particle_radius_angstrom(self) -> float:
        """The radius, Angstrom; for code that only meets particles."""
        if self.radius_angstrom is None:
            raise ConfigError(f"object '{self.name}': radius", "is missing", "give it in Angstrom")
        return self.radius_angstrom


def find_spec(specs: Sequence[ParticleSpec], name: str) -> ParticleSpec:
    """Return the spec of that name.

    Raises
    ------
    ConfigError
        If there is none, with the nearest known name.
    """
    for spec in specs:
        if spec.name == name:
            return spec
    known = [spec.name for spec in specs]
    raise ConfigError(f"object '{name}'", "is not one of the objects", advise_known_names(name, known))
