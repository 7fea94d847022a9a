"""Small denoisers and halves for tests."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from cryofind.models.denoiser import DenoisingUNet

Volume = NDArray[np.float32]


def randomize(network: DenoisingUNet, seed: int = 0) -> DenoisingUNet:
    """Give every weight a random value, so that every path through the network counts."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        fan = max(parameter[0].numel(), 1)
        parameter.requires_grad_(False).copy_(torch.randn(parameter.shape, generator=generator) / fan**0.5)
    return network.eval()


def make_halves(shape_zyx: tuple[int, int, int], *, seed: int, noise: float = 1.0) -> tuple[Volume, Volume, Volume]:
    """Return a smooth random volume of deviation 1, and two copies of it with independent white noise."""
    random = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(random.standard_normal(shape_zyx), 2.0, mode="wrap")
    truth = (truth / truth.std()).astype(np.float32)
    half1, half2 = (truth + noise * random.standard_normal(shape_zyx, dtype=np.float32) for _ in range(2))
    return truth, half1, half2
