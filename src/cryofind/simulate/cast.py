"""Everything that may lie in the ice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryofind.simulate.body import Body
from cryofind.types import ParticleSpec


@dataclass(frozen=True, eq=False)
class Cast:
    """What a recipe's tomograms are filled with; can be sent to another process.

    Parameters
    ----------
    bodies
        Body of every species, by name.
    specs
        Objects of the project: label of every species and of membranes.
    distractors
        Bodies that are not to be found.
    """

    bodies: Mapping[str, Body]
    specs: Sequence[ParticleSpec]
    distractors: Sequence[Body] = ()
