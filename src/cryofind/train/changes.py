"""Random changes of grey values, of a whole batch at once and on any device.

What is random is drawn on the CPU, a few numbers a crop (`Changes`); what is much work is done where the network is. A
batch is therefore the same on every device, to rounding.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryofind.train.augment import Intensity
from cryofind.train.spectrum import GAIN_STEPS, SpectrumChange, change_spectra

# White noise from which crops take theirs. Two windows of it are added, so that 2^44 different noises can come.
NOISE_WINDOWS = 2**22
_NOISE_SEED = 20241106
# Of `Changes`: on a GPU, the CPU would have to wait for it to give them back.
_READ_BY_THE_CPU = {"noise_starts", "noise_deviations"}


class BatchTensors(NamedTuple):
    """A batch as the loss needs it, float32.

    Parameters
    ----------
    images
        Crops, shape (B, 1, Z, Y, X).
    values
        What the network should say of every object, 0 to 1, shape (B, K, Z/2, Y/2, X/2).
    weights
        Weight of every cell in the loss, shape (B, Z/2, Y/2, X/2).
    """

    images: Tensor
    values: Tensor
    weights: Tensor


class Changes(NamedTuple):
    """How the grey values of B crops change, in this order: scale and shift, noise, spectrum, mixing.

    Parameters
    ----------
    factors, shifts
        Float32, shape (B,): grey value x factor + shift.
    noise_deviations
        Standard deviations of the noise, float32, shape (B,); empty for none.
    noise_starts
        Where in the common noise the two windows of a crop start, 0 to `NOISE_WINDOWS` - 1: shape (B, 2), int64.
    spectrum_rows
        Which M crops change their spectrum, int64, shape (M,).
    spectrum_gains, spectrum_wedges
        How, as of `cryofind.train.spectrum.change_spectra`: shapes (M, `GAIN_STEPS`) and (M, 2, 3).
    partners, shares
        Every crop becomes share x itself + (1 - share) x partner, targets and weights too: int64 and float32, shape
        (B,); empty for no mixing.
    """

    factors: Tensor
    shifts: Tensor
    noise_deviations: Tensor
    noise_starts: Tensor
    spectrum_rows: Tensor
    spectrum_gains: Tensor
    spectrum_wedges: Tensor
    partners: Tensor
    shares: Tensor


class CropChange(NamedTuple):
    """How the grey values of one crop change: see `Changes`; None for no noise and for the spectrum as it is."""

    intensity: Intensity
    noise_starts: NDArray[np.int64] | None
    spectrum: SpectrumChange | None


def gather_changes(drawn: Sequence[CropChange], mixing: tuple[NDArray[np.int64], NDArray[np.float32]]) -> Changes:
    """Return the changes of a batch; `mixing` is that of `cryofind.train.augment.draw_mixing`."""
    factors, shifts, deviations = np.array([one.intensity for one in drawn], dtype=np.float32).T
    starts = [one.noise_starts for one in drawn if one.noise_starts is not None]
    rows = [row for row, one in enumerate(drawn) if one.spectrum is not None]
    spectra = [one.spectrum for one in drawn if one.spectrum is not None]
    gains, wedges = [one.gains for one in spectra], [one.wedge_normals_zyx for one in spectra]
    return Changes(
        factors=torch.tensor(factors),
        shifts=torch.tensor(shifts),
        noise_deviations=torch.tensor(deviations[: len(starts)]),
        noise_starts=torch.from_numpy(np.reshape(starts, (-1, 2)).astype(np.int64)),
        spectrum_rows=torch.tensor(rows, dtype=torch.int64),
        spectrum_gains=torch.from_numpy(np.reshape(gains, (-1, GAIN_STEPS)).astype(np.float32)),
        spectrum_wedges=torch.from_numpy(np.reshape(wedges, (-1, 2, 3)).astype(np.float32)),
        partners=torch.from_numpy(mixing[0]),
        shares=torch.from_numpy(mixing[1]),
    )


class DrawnBatch(NamedTuple):
    """Crops as they lie in their tomograms, their targets, and how they are to change (None: not at all)."""

    crops: BatchTensors
    changes: Changes | None = None

    def moved_to(self, device: torch.device) -> "DrawnBatch":
        """Return the batch on a device; the copy is not waited for where the batch is in pinned memory."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "DrawnBatch":
        """Return the batch in memory that a GPU can copy from by itself."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> "DrawnBatch":
        """Return the batch with a function applied to all tensors but those that stay on the CPU."""
        crops = BatchTensors(*map(function, self.crops))
        if self.changes is None:
            return DrawnBatch(crops)
        fields = self.changes._asdict()
        mapped = {name: function(tensor) for name, tensor in fields.items() if name not in _READ_BY_THE_CPU}
        return DrawnBatch(crops, Changes(**{**fields, **mapped}))


def apply_changes(batch: DrawnBatch) -> BatchTensors:
    """Return the changed batch, computed on the device where it is; the tensors of `batch` are written over."""
    if batch.changes is None:
        return batch.crops
    images, changes = batch.crops.images, batch.changes
    images.mul_(_per_crop(changes.factors)).add_(_per_crop(changes.shifts))
    if changes.noise_deviations.numel():
        _add_noise(images, changes)
    if changes.spectrum_rows.numel():
        _change_spectra(images, changes)
    if changes.partners.numel():
        for tensor in batch.crops:
            _mix(tensor, changes.partners, changes.shares)
    return batch.crops


def _per_crop(numbers: Tensor, dimensions: int = 5) -> Tensor:
    return numbers.view(-1, *[1] * (dimensions - 1))


def _add_noise(images: Tensor, changes: Changes) -> None:
    voxels = images[0].numel()
    common = common_noise(voxels, str(images.device))
    numbers = zip(
        images.view(-1, voxels), changes.noise_starts.tolist(), changes.noise_deviations.tolist(), strict=True
    )
    for image, starts, deviation in numbers:
        for start in starts:
            image.add_(common[start : start + voxels], alpha=deviation / math.sqrt(2))


def _change_spectra(images: Tensor, changes: Changes) -> None:
    # A CPU takes one crop at a time, which stays in its cache.
    at_once = 1 if images.device.type == "cpu" else len(changes.spectrum_rows)
    together = (changes.spectrum_rows, changes.spectrum_gains, changes.spectrum_wedges)
    parts = (torch.split(tensor, at_once) for tensor in together)
    for rows, gains, wedges in zip(*parts, strict=True):
        images[rows] = change_spectra(images[rows], gains, wedges)


@lru_cache(maxsize=4)
def common_noise(voxels: int, device: str) -> Tensor:
    """Return white noise of mean 0 and deviation 1, shape (`NOISE_WINDOWS` + voxels,): the same on every device.

    Drawing normal numbers anew for every crop takes a third of the time in which a CPU makes a batch.
    """
    generator = torch.Generator().manual_seed(_NOISE_SEED)
    return torch.randn(NOISE_WINDOWS + voxels, generator=generator).to(device)


def _mix(tensor: Tensor, partners: Tensor, shares: Tensor) -> None:
    share = _per_crop(shares, tensor.ndim)
    tensor.copy_(share * tensor + (1 - share) * tensor[partners])
