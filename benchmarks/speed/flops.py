"""Floating-point operations of a network's convolutions, counted from their shapes.

A multiplication and an addition count as two. The usual formula: a convolution takes 2 x output voxels x input channels
x output channels x kernel voxels, taps that fall on zero padding included; a transposed one the same with input
voxels. Additions of biases and skips, activations and norms, below one per cent, are left out.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn


def count_flops(network: nn.Module, shape_zyx: Sequence[int]) -> int:
    """Return the operations for one block of that shape; nothing is computed, only shapes are followed."""
    total = 0

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        transposed = isinstance(module, nn.ConvTranspose3d)
        voxels = math.prod((inputs[0] if transposed else output).shape[2:])
        total += 2 * voxels * module.weight.numel()  # type: ignore[union-attr, operator]

    bare = network.to("meta")
    hooks = [
        module.register_forward_hook(note)  # type: ignore[arg-type]
        for module in bare.modules()
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d)
    ]
    with torch.no_grad():
        bare.eval()(torch.empty((1, 1, *shape_zyx), device="meta"))
    for hook in hooks:
        hook.remove()
    return total
