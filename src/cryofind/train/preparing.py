"""A network as its training needs it."""

from typing import Any

import torch
from torch import nn


def lay_out_channels_last(network: nn.Module) -> None:
    """Order the weights of a network in memory with the channels last, where that says anything."""
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    for parameter in network.parameters():
        if parameter.ndim > 1 and parameter[0, 0].numel() == 1:
            # the strides of a 1x1x1 kernel are ambiguous; DDP warns unless they are those of its gradient
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)


def group_parameters(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return groups for an optimizer: weights decay, biases and norms do not."""
    kernels = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
