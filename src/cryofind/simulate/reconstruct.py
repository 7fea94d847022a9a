"""From the images of a tilt series to tomograms: CTF deconvolution, weighted back-projection, SIRT.

Voxels of a tomogram are contrast for each voxel of path: a density whose projections are sums over voxels is given
back as it was, as far as the tilts sample it. Particles are dark (negative).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, irfft2, rfft, rfft2

from cryofind.simulate.ctf import ctf_2d, squared_frequencies
from cryofind.simulate.microscope import TiltSeries
from cryofind.simulate.projector import Projector, run_in_threads
from cryofind.simulate.recipe import ReconstructionRecipe
from cryofind.types import VoxelGrid

Volume = NDArray[np.float32]
Images = NDArray[np.float32]
Solve = Callable[[Images], Volume]

# Pixels and voxels with a smaller sum of weights are hardly seen, and would be given huge factors.
LEAST_SUM = 0.1


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Tomograms of one tilt series, float32, shape (z, y, x).

    Parameters
    ----------
    full
        By flavour, `wbp` and `ctfdeconvolved`: what was asked for.
    halves
        Two CTF-deconvolved tomograms from two halves of the dose, to denoise; empty unless `denoised` was asked for.
    tilt_series
        How the images were taken (`TiltSeries.describe`) and corrected: a number for each tilt, JSON-ready.
    """

    full: dict[str, Volume]
    halves: tuple[Volume, ...]
    tilt_series: dict[str, list[float]]


def reconstruct(
    series: TiltSeries,
    grid: VoxelGrid,
    recipe: ReconstructionRecipe,
    flavours: Collection[str],
    random: np.random.Generator,
) -> Reconstruction:
    """Reconstruct the tomograms that the flavours need.

    The angles are the nominal ones. The defocus is an estimate: the truth plus an error of the series of random sign
    and one of each tilt, because deconvolving with the very function that made the image would promise too much.

    Parameters
    ----------
    series
        Contrast images in two halves.
    grid
        Of the tomograms.
    recipe
        Drawn: method, errors of the defocus, constant of the deconvolution.
    flavours
        `wbp`: no CTF correction. `ctfdeconvolved`: with it. `denoised`: two halves with it.
    random
        Source of the errors of the defocus.
    """
    estimated = estimate_defocus(series, recipe, random)
    projector = Projector(grid.shape_zyx, series.tilts_degrees)
    solve = _solver(projector, series.tilts_degrees, recipe)
    first, second = series.halves_tyx
    full: dict[str, Volume] = {}
    halves: tuple[Volume, ...] = ()
    if "wbp" in flavours:
        full["wbp"] = solve(_prepare_images(None, first, second))
    if "ctfdeconvolved" in flavours or "denoised" in flavours:
        factors = _Deconvolution(series, grid.spacing_angstrom, estimated, recipe)
        if "denoised" in flavours:
            halves = tuple(solve(_prepare_images(factors, half)) for half in (first, second))
        if "ctfdeconvolved" in flavours:
            # Everything is linear: the tomogram of the whole dose is the mean of the halves'.
            full["ctfdeconvolved"] = _mean(*halves) if halves else solve(_prepare_images(factors, first, second))
    described = {**series.describe(), "estimated_defocus_micrometre": np.round(estimated, 4).tolist()}
    return Reconstruction(full, halves, described)


def estimate_defocus(
    series: TiltSeries, recipe: ReconstructionRecipe, random: np.random.Generator
) -> NDArray[np.float64]:
    """Return the defocus that one would have found for each tilt, micrometre, shape (T,)."""
    sign = random.choice([-1.0, 1.0])
    jitter = random.normal(0, recipe.defocus_error_jitter_micrometre.value, len(series.defocus_micrometre))
    return np.asarray(series.defocus_micrometre + sign * recipe.defocus_error_micrometre.value + jitter)


def deconvolution_factor(
    ctf_yx: NDArray[np.float32], constant: float, high_pass_yx: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return ctf / (ctf^2 + c / h), the Wiener factor at a signal-to-noise ratio of h / c; signs are set right.

    The high-pass h falls from 1 to 0 at low frequencies, where the ratio is worse than anywhere; 1 when None.
    """
    if high_pass_yx is None:
        return np.asarray(ctf_yx / (ctf_yx**2 + np.float32(constant)), np.float32)
    return np.asarray(ctf_yx * high_pass_yx / (ctf_yx**2 * high_pass_yx + np.float32(constant)), np.float32)


def high_pass_factor(shape_yx: tuple[int, int], spacing_angstrom: float, length_angstrom: float) -> Images:
    """Return (1 - cos(pi k L)) / 2 up to k = 1 / L and 1 above, as the deconvolution of Warp has it (`tom_deconv`).

    Tegunov and Cramer, Nature Methods 16, 1146 (2019). On the half-plane of `rfft2`.
    """
    k = np.sqrt(squared_frequencies(shape_yx, spacing_angstrom))
    return np.asarray((1 - np.cos(np.pi * np.minimum(1, k * length_angstrom))) / 2, np.float32)


def weight_images(images_tyx: Images, tilts_degrees: NDArray[np.float64], depth_voxels: int) -> Images:
    """Return images filtered along x so that their back-projection is a reconstruction.

    The weight is the ramp |k| times the tilt step in radian, and 1 / (T depth) at the least. So far down all T views
    see the same Fourier components of a box of that depth (the limit of the exact filter of Harauz and van Heel, Optik
    73, 146 (1986)); a ramp down to 0 would take away what is larger than the box is deep.

    The filter is circular along x, without padding: the ends of a row act on each other. That is accepted, because the
    sample goes on beyond the box (`Projector`), so that an image is about as bright at one end as at the other, and
    because the kernel of the ramp falls with the square of the distance: what suffers lies at the sides of the box.

    Parameters
    ----------
    images_tyx
        Shape (T, y, x), mean 0.
    tilts_degrees
        Shape (T,), ascending, at least two.
    depth_voxels
        Of the tomogram, along z.
    """
    count, _, columns = images_tyx.shape
    step = np.deg2rad(tilts_degrees[-1] - tilts_degrees[0]) / (count - 1)
    weights = np.maximum(step * np.fft.rfftfreq(columns), 1 / (count * depth_voxels)).astype(np.float32)
    weighted = np.empty_like(images_tyx)

    def weight(tilt: int) -> None:
        weighted[tilt] = irfft(rfft(images_tyx[tilt]) * weights, n=columns)

    run_in_threads(weight, range(count))
    return weighted


def solve_sirt(projector: Projector, images_tyx: Images, iterations: int) -> Volume:
    """Reconstruct by SIRT from 0: x += C A^T R (b - A x), R and C being 1 over the sums of rows and columns of A.

    Gregor and Benson, IEEE Trans. Med. Imaging 27, 918 (2008). Negative voxels are allowed.
    """
    image_factors = _inverse_or_zero(projector.image_sums_tx)[:, None, :]
    volume_factors = _inverse_or_zero(projector.volume_sums_zx)[:, None, :]
    volume = projector.back_project(images_tyx * image_factors)
    volume *= volume_factors
    for _ in range(iterations - 1):
        residual = projector.project(volume)
        np.subtract(images_tyx, residual, out=residual)
        residual *= image_factors
        change = projector.back_project(residual)
        change *= volume_factors
        volume += change
    return volume


def _solver(projector: Projector, tilts_degrees: NDArray[np.float64], recipe: ReconstructionRecipe) -> Solve:
    if recipe.method == "sirt":
        return lambda images: solve_sirt(projector, images, recipe.sirt_iterations)
    depth = projector.shape_zyx[0]
    return lambda images: projector.back_project(weight_images(images, tilts_degrees, depth))


class _Deconvolution:
    """The factor on the Fourier transform of each tilt image that undoes the estimated contrast transfer.

    The envelope is left alone: it has next to no effect at these spacings.
    """

    def __init__(
        self,
        series: TiltSeries,
        spacing_angstrom: float,
        defocus_micrometre: NDArray[np.float64],
        recipe: ReconstructionRecipe,
    ) -> None:
        self.shape_yx = series.halves_tyx[0].shape[1:]
        self.spacing_angstrom = spacing_angstrom
        self.defocus_micrometre = defocus_micrometre
        self.constant = recipe.deconvolution_constant.value
        length = recipe.deconvolution_high_pass_angstrom.value
        self.high_pass = high_pass_factor(self.shape_yx, spacing_angstrom, length) if length > 0 else None
        self.optics = replace(series.optics, envelope_b_square_angstrom=0.0)

    def apply(self, image_yx: Images, tilt: int) -> Images:
        ctf = ctf_2d(self.shape_yx, self.spacing_angstrom, self.defocus_micrometre[tilt], self.optics)
        spectrum = rfft2(image_yx) * deconvolution_factor(ctf, self.constant, self.high_pass)
        return np.asarray(irfft2(spectrum, s=self.shape_yx))


def _prepare_images(deconvolution: "_Deconvolution | None", *halves_tyx: Images) -> Images:
    """Return the mean of halves, each image with mean 0, deconvolved if asked for."""
    prepared = np.empty_like(halves_tyx[0])

    def prepare(tilt: int) -> None:
        image = _mean(*(half[tilt] for half in halves_tyx))
        image -= image.mean()
        prepared[tilt] = image if deconvolution is None else deconvolution.apply(image, tilt)

    run_in_threads(prepare, range(len(prepared)))
    return prepared


def _mean(*arrays: NDArray[np.float32]) -> NDArray[np.float32]:
    mean = arrays[0].copy()
    for array in arrays[1:]:
        mean += array
    mean /= np.float32(len(arrays))
    return mean


def _inverse_or_zero(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    inverse = 1 / np.maximum(sums, np.float32(LEAST_SUM))
    return np.asarray(np.where(sums > LEAST_SUM, inverse, 0), np.float32)
