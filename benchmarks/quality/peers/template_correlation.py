"""Fast local correlation: how well templates fit at every voxel, whatever the brightness and contrast there.

Roseman, Ultramicroscopy 94, 225 (2003). The volume is worked on in tiles whose Fourier transforms fit into the cache of
a core (overlap-save); a tile gives exactly what the whole volume would.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfftn, next_fast_len, rfftn

Volume = NDArray[np.float32]
Slices = tuple[slice, ...]

# Voxels along y and x of a tile's transform: measured to be the fastest for tomograms of 92 sections.
TILE_VOXELS = 72
# Where the volume varies less than this share of its standard deviation there is nothing to correlate with.
LEAST_DEVIATION = 0.05
# Shells of frequency from 0 to half a cycle in a voxel.
SHELLS = 32


def flatten_spectrum(volume_zyx: Volume) -> Volume:
    """Return a volume with mean 0 and the same power at every resolution up to two voxels, nothing beyond.

    What has scaled signal and noise alike, a deconvolution or the filter of a denoiser, is undone by it; templates are
    then what the microscope passes. Without it broad brightness outweighs detail: on a validation run, of the flavour
    `denoised`, twice as many places looked like thyroglobulin.

    Parameters
    ----------
    volume_zyx
        float32, (z, y, x), of cubic voxels.
    """
    spectrum = rfftn(volume_zyx - volume_zyx.mean())
    z, y = (np.fft.fftfreq(size) for size in volume_zyx.shape[:2])
    x = np.fft.rfftfreq(volume_zyx.shape[2])
    shells = np.rint(2 * SHELLS * np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)).astype(np.int32)
    counts = np.maximum(np.bincount(shells.ravel()), 1)
    power = np.bincount(shells.ravel(), np.square(np.abs(spectrum)).ravel()) / counts
    gains = 1 / np.sqrt(np.maximum(power, 1e-9 * power.max()))
    gains[SHELLS + 1 :] = 0
    spectrum *= gains.astype(np.float32)[shells]
    return np.asarray(irfftn(spectrum, s=volume_zyx.shape), np.float32)


def correlate_locally(volume_zyx: Volume, templates: Iterable[Volume], mask_zyx: Volume, *, workers: int = 1) -> Volume:
    """Return the greatest locally normalised correlation, -1 to 1, of any of the templates at every voxel.

    It is the correlation coefficient, weighted by the mask, of a template that is centred on the voxel and the volume
    around it. What lies beyond the faces counts as the mean of the volume.

    Parameters
    ----------
    volume_zyx
        float32, (z, y, x).
    templates
        Of the mask's shape, which is odd along every axis; the centre is the middle voxel.
    mask_zyx
        Weights, 0 or more, symmetric about the centre.
    workers
        Threads.
    """
    deviation = float(volume_zyx.std()) or 1.0
    centred = (volume_zyx - volume_zyx.mean()) / np.float32(deviation)
    tiles = Tiles.cut(centred, mask_zyx.shape)
    best = np.full(volume_zyx.shape, -np.inf, np.float32)
    with ThreadPoolExecutor(workers) as threads:
        for template in templates:
            tiles.correlate(weigh_template(template, mask_zyx), best, threads)
    return best / local_deviation(centred, mask_zyx)


def weigh_template(template_zyx: Volume, mask_zyx: Volume) -> Volume:
    """Return the array whose products with a volume sum to their correlation times the volume's standard deviation."""
    weights = mask_zyx / mask_zyx.sum(dtype=np.float64)
    centred = template_zyx - np.sum(weights * template_zyx)
    return np.asarray(weights * centred / np.sqrt(np.sum(weights * centred**2)), np.float32)


def local_deviation(centred_zyx: Volume, mask_zyx: Volume) -> Volume:
    """Return the standard deviation under the mask around every voxel of a volume of mean 0 and deviation 1."""
    weights = np.asarray(mask_zyx / mask_zyx.sum(dtype=np.float64), np.float32)
    means, squares = np.empty_like(centred_zyx), np.empty_like(centred_zyx)
    with ThreadPoolExecutor(1) as threads:
        for values, found in ((centred_zyx, means), (np.square(centred_zyx), squares)):
            found.fill(-np.inf)
            Tiles.cut(values, mask_zyx.shape).correlate(weights, found, threads)
    return np.sqrt(np.maximum(squares - np.square(means), np.float32(LEAST_DEVIATION**2)))


@dataclass(frozen=True, eq=False)
class Tiles:
    """Overlapping parts of a volume, padded with 0, and their Fourier transforms.

    Parameters
    ----------
    shape_zyx
        Of a part.
    outputs
        Which voxels of the volume each part answers for.
    spectra
        Transforms of the parts, in their order.
    """

    shape_zyx: tuple[int, ...]
    outputs: tuple[Slices, ...]
    spectra: tuple[NDArray[np.complex64], ...]

    @classmethod
    def cut(cls, volume_zyx: Volume, template_shape: tuple[int, ...]) -> "Tiles":
        """Return the tiles of a volume for templates of a shape, odd along every axis."""
        overlap = np.array(template_shape) - 1
        # As many tiles as that size asks for, and then no larger than needed.
        counts = np.ceil(volume_zyx.shape / np.maximum(TILE_VOXELS - overlap, overlap + 1)).astype(int)
        counts[0] = 1
        shape = tuple(next_fast_len(int(size)) for size in np.ceil(volume_zyx.shape / counts) + overlap)
        steps = np.array(shape) - overlap
        along = [
            [slice(start, min(start + step, size)) for start in range(0, size, step)]
            for size, step in zip(volume_zyx.shape, steps, strict=True)
        ]
        outputs = tuple(product(*along))
        padded = np.pad(volume_zyx, [(size // 2, size // 2) for size in overlap])
        parts = (
            padded[tuple(slice(one.start, one.start + size) for one, size in zip(output, shape, strict=True))]
            for output in outputs
        )
        return cls(shape, outputs, tuple(rfftn(part, s=shape) for part in parts))

    def correlate(self, weighted_zyx: Volume, best_zyx: Volume, threads: ThreadPoolExecutor) -> None:
        """Raise `best_zyx`, in place, to the sums of products of an array and the volume around every voxel."""
        spectrum = rfftn(weighted_zyx, s=self.shape_zyx).conj()

        def correlate_tile(tile: int) -> None:
            output = self.outputs[tile]
            sums = irfftn(self.spectra[tile] * spectrum, s=self.shape_zyx, overwrite_x=True)
            inner = sums[tuple(slice(0, one.stop - one.start) for one in output)]
            np.maximum(best_zyx[output], inner, out=best_zyx[output])

        list(threads.map(correlate_tile, range(len(self.outputs))))
