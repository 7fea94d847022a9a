"""What a particle looks like in a tomogram: its density, seen through the microscope and the missing wedge."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfftn, next_fast_len, rfftn

from cryofind.errors import ProjectError
from cryofind.simulate.body import Body
from cryofind.simulate.ctf import Optics, phase_shift
from cryofind.simulate.render import render_body
from cryofind.types import VoxelGrid

Volume = NDArray[np.float32]
Floats = NDArray[np.float64]

# The flavour that the contrast transfer was left in.
UNCORRECTED = "wbp"
# The mask reaches this far beyond the particle, so that its outline counts. On a validation run 0 took more of what is
# none for apo-ferritin and beta-amylase, 40 for thyroglobulin.
MARGIN_ANGSTROM = 20.0
# What the contrast transfer spreads is let run out over this distance before it is cut off.
SPREAD_ANGSTROM = 160.0


@dataclass(frozen=True)
class Imaging:
    """What is known of how a tomogram was taken.

    Parameters
    ----------
    tilt_degrees
        Half of the range of tilts about y.
    defocus_micrometre
        Mean of what was estimated, underfocus positive.
    optics
        Of the microscope.
    flips_phases
        Whether the tomogram is corrected for the signs of the contrast transfer.
    """

    tilt_degrees: float
    defocus_micrometre: float
    optics: Optics
    flips_phases: bool

    def factor(self, shape_zyx: tuple[int, ...], spacing_angstrom: float) -> Volume:
        """Return what a density's Fourier components become in the tomogram, on the half-space of `rfftn`, float32.

        The contrast transfer function of `cryofind.simulate.ctf.ctf_2d`, negative since particles are dark, or less
        its magnitude; 0 in the wedge that no tilt has seen, with an edge as wide as a component, and beyond a
        resolution of two voxels.
        """
        z, y = (np.fft.fftfreq(size, spacing_angstrom).astype(np.float32) for size in shape_zyx[:2])
        x = np.fft.rfftfreq(shape_zyx[2], spacing_angstrom).astype(np.float32)
        squared = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2
        transfer = np.sin(phase_shift(squared, self.defocus_micrometre, self.optics))
        if self.flips_phases:
            transfer = np.abs(transfer)
        slope = np.tan(np.deg2rad(self.tilt_degrees))
        transfer *= squared <= (0.5 / spacing_angstrom) ** 2
        depth = (x * slope - np.abs(z[:, None, None])) / np.hypot(1, slope)
        return np.asarray(-transfer * np.clip(depth * shape_zyx[0] * spacing_angstrom + 0.5, 0, 1), np.float32)


def read_imaging(path: Path, flavour: str) -> Imaging:
    """Return the imaging of a simulated run from its record: nominal tilts and estimated defocus, not the true ones.

    Raises
    ------
    ProjectError
        If there is no such record.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        microscope, series = record["parameters"]["microscope"], record["tilt_series"]
        optics = Optics(
            microscope["voltage_kilovolts"],
            microscope["spherical_aberration_millimetre"],
            microscope["amplitude_contrast"],
        )
        tilts, defocus = series["tilts_degrees"], series["estimated_defocus_micrometre"]
    except (OSError, ValueError, KeyError) as error:
        raise ProjectError(path, f"cannot be read ({error!r})", "give a project of `cryofind simulate`") from error
    return Imaging((max(tilts) - min(tilts)) / 2, float(np.mean(defocus)), optics, flavour != UNCORRECTED)


def draw_mask(body: Body, spacing_angstrom: float) -> Volume:
    """Return a ball about a body, its edge soft over one voxel, in the smallest cube of odd size that holds it."""
    radius_voxels = (body.radius_angstrom + MARGIN_ANGSTROM) / spacing_angstrom
    reach = int(np.ceil(radius_voxels + 0.5)) - 1
    steps = np.arange(-reach, reach + 1)
    distances = np.sqrt(steps[:, None, None] ** 2 + steps[:, None] ** 2 + steps**2)
    return np.asarray(np.clip(radius_voxels - distances + 0.5, 0, 1), np.float32)


def draw_templates(
    body: Body, rotations: Iterable[Floats], spacing_angstrom: float, size: int, imaging: Imaging
) -> Iterator[Volume]:
    """Yield what a body looks like in every rotation, float32 (size, size, size), centred on the middle voxel.

    It is drawn in a wider box, so that what the contrast transfer spreads does not come in again at the other side.
    """
    wide = next_fast_len(size + int(SPREAD_ANGSTROM / spacing_angstrom), real=True)
    start = (wide - size) // 2
    middle = np.full(3, (start + size // 2) * spacing_angstrom)
    inner = (slice(start, start + size),) * 3
    grid = VoxelGrid.isotropic((wide,) * 3, spacing_angstrom)
    # A drawn voxel holds a mean over itself; one of a tomogram that was resampled does not.
    along = [np.sinc(frequencies(wide)) for frequencies in (np.fft.fftfreq, np.fft.fftfreq, np.fft.rfftfreq)]
    factor = imaging.factor(grid.shape_zyx, spacing_angstrom) / np.einsum("z,y,x->zyx", *along).astype(np.float32)
    for rotation in rotations:
        density = np.zeros(grid.shape_zyx, np.float32)
        render_body(density, None, grid, body, rotation, middle)
        yield irfftn(rfftn(density) * factor, s=grid.shape_zyx)[inner]
