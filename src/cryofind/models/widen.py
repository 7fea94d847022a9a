"""A wider and deeper residual U-Net that says exactly what a trained smaller one says: a start for further training.

Chen, Goodfellow & Shlens 2016, "Net2Net: accelerating learning via knowledge transfer" (arXiv:1511.05641).
"""

import torch
from torch import Tensor, nn

from cryofind.models.unet import ResidualUNet

# Copies of a channel share what comes from it unequally, so that they do not stay copies when they are trained.
LEAST_SHARE = 0.25
_SEED = 20160423


def can_widen(small: nn.Module, wide: nn.Module) -> bool:
    """Say whether a network can start as a copy of a smaller one: as many levels, multiples of the widths."""
    if not (isinstance(small, ResidualUNet) and isinstance(wide, ResidualUNet)):
        return False
    same_levels = len(_widths(small)) == len(_widths(wide))
    return (
        same_levels
        and all(w % s == 0 for s, w in zip(_widths(small), _widths(wide), strict=True))
        and all(s <= w for s, w in zip(_block_counts(small), _block_counts(wide), strict=True))
    )


def widen_weights(small: ResidualUNet, wide: ResidualUNet) -> dict[str, Tensor]:
    """Return the weights with which `wide` computes what `small` computes, to rounding; the head has small's outputs.

    Channels are repeated, and what is computed from them is divided among the copies. Residual blocks that `small`
    lacks stay as `wide` has them, which in a fresh network passes features on.

    Parameters
    ----------
    small
        The trained network.
    wide
        A fresh one; it is not changed.

    Raises
    ------
    ValueError
        If `can_widen` says no.
    """
    if not can_widen(small, wide):
        raise ValueError(
            "only a residual U-Net of as many levels, of multiples of the widths, can be a copy of another"
        )
    generator = torch.Generator().manual_seed(_SEED)
    known, fresh = small.state_dict(), wide.state_dict()
    return {
        name: _widen(name, known[name], tensor, generator) if name in known else tensor
        for name, tensor in fresh.items()
    }


def _widen(name: str, known: Tensor, like: Tensor, generator: torch.Generator) -> Tensor:
    if known.ndim == 0:
        return known.clone()
    is_transposed = name.startswith("ups.") and known.ndim > 1
    if is_transposed:  # ConvTranspose3d keeps its inputs first
        known, like = known.transpose(0, 1), like.transpose(0, 1)
    wider = known.clone() if name.startswith("head.") else _repeat(known, like.shape[0])
    if known.ndim > 1:
        wider = _divide_inputs(wider, like.shape[1], generator)
    return wider.transpose(0, 1).contiguous() if is_transposed else wider


def _repeat(tensor: Tensor, count: int) -> Tensor:
    return tensor.repeat(count // tensor.shape[0], *[1] * (tensor.ndim - 1))


def _divide_inputs(weight: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return a weight (outputs, count, ...) whose repeated inputs together do what each input does in `weight`."""
    outputs, inputs = weight.shape[:2]
    copies = count // inputs
    shares = LEAST_SHARE + torch.rand(outputs, copies, inputs, generator=generator)
    shares /= shares.sum(dim=1, keepdim=True)
    divided = shares[..., None, None, None] * weight[:, None]
    return divided.reshape(outputs, count, *weight.shape[2:])


def _widths(network: ResidualUNet) -> list[int]:
    return [network.head.in_channels, *(down[0].out_channels for down in network.downs)]  # type: ignore[index]


def _block_counts(network: ResidualUNet) -> list[int]:
    return [len(blocks) for blocks in (*network.encoders, *network.decoders)]
