"""Weight soups: one network whose weights are the means of several networks' weights.

Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time" (arXiv:2203.05482); here the uniform soup. It needs networks in one valley of the loss, which those that
were fine-tuned from one start are: between others the mean is worse than all of them.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def average_networks(networks: Sequence[nn.Module]) -> nn.Module:
    """Return a copy of the first of several networks, with the mean of all their weights.

    Parameters
    ----------
    networks
        One or more of one architecture, in float32, their norms not folded.

    Returns
    -------
    torch.nn.Module
        In eval mode. Each number is summed in float64 and rounded once, so that the mean of copies of one network is
        that network, bit for bit. Mean and variance of a BatchNorm are averaged as weights are: features of the mean
        vary less than those of its members do on average, but hardly so where networks are near each other. Whole
        numbers (how many batches a norm has seen) are the first network's.

    Raises
    ------
    ValueError
        If names or shapes of the weights differ.
    """
    states = [network.state_dict() for network in networks]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    if any(other != shapes[0] for other in shapes):
        raise ValueError("only networks whose weights have the same names and shapes can be averaged")
    soup = copy.deepcopy(networks[0]).eval()
    with torch.no_grad():
        for name, tensor in soup.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(_mean([state[name] for state in states]))
    return soup


def measure_kinship(first: nn.Module, second: nn.Module) -> float:
    """Return the cosine between the kernels of two networks of one architecture, -1 to 1.

    About 0 between networks that were trained from different random starts, 1 between a network and itself. Norms and
    biases do not count: they start alike, whatever the seed.
    """
    state = second.state_dict()
    products = torch.zeros(3, dtype=torch.float64)
    for name, tensor in first.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim > 1:
            one, other = tensor.double().flatten(), state[name].double().flatten()
            products += torch.stack([one @ other, one @ one, other @ other])
    shared, *own = products.tolist()
    return float(shared / max((own[0] * own[1]) ** 0.5, torch.finfo(torch.float64).tiny))


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    total = tensors[0].double()
    for tensor in tensors[1:]:
        total = total + tensor
    return total / len(tensors)
