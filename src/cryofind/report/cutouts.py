"""Central slices of cut-outs and averages as small pictures."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cryofind.report.averages import CentralSlices
from cryofind.report.slabs import encode_picture, find_grey_range, stretch_grey

Pictures = tuple[tuple[str, str], ...]

SIDE_PIXELS = 84


def draw_slices_of(slices: CentralSlices, grey_range: tuple[float, float] | None = None) -> Pictures:
    """Return the three slices as square pictures, each with the plane it shows.

    Parameters
    ----------
    slices
        Of a cut-out or a mean: boxes as wide as they are high in Angstrom.
    grey_range
        Values that are black and white; None for those of the slices themselves.
    """
    planes = (slices.xy, slices.xz, slices.yz)
    low, high = grey_range or find_grey_range(planes)
    names = ("xy", "xz", "yz")
    size = (SIDE_PIXELS, SIDE_PIXELS)
    return tuple(
        (encode_picture(stretch_grey(plane, low, high), size), name) for plane, name in zip(planes, names, strict=True)
    )


def share_of_width(slices: CentralSlices, radius_angstrom: float) -> float:
    """Return a radius as a share of the pictures' width."""
    width_angstrom: float = slices.xy.shape[1] * slices.spacing_zyx_angstrom[2]
    return radius_angstrom / width_angstrom


def pool_slices(parts: Sequence[CentralSlices], grey_ranges: Sequence[tuple[float, float]]) -> CentralSlices | None:
    """Return the mean over runs, each on a grey scale from 0 to 1, weighted by how many picks are in it.

    None if there is nothing, or the runs have voxels of different sizes.
    """
    used = [(part, greys) for part, greys in zip(parts, grey_ranges, strict=True) if part.count]
    if not used or len({part.xy.shape + part.xz.shape for part, _ in used}) > 1:
        return None
    total = sum(part.count for part, _ in used)

    def mean(planes: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        scaled = [
            part.count * (plane - low) / max(high - low, 1e-12)
            for (part, (low, high)), plane in zip(used, planes, strict=True)
        ]
        return np.asarray(np.sum(scaled, axis=0) / total, dtype=np.float32)

    return CentralSlices(
        mean([part.xy for part, _ in used]),
        mean([part.xz for part, _ in used]),
        mean([part.yz for part, _ in used]),
        used[0][0].spacing_zyx_angstrom,
        total,
    )
