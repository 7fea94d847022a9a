"""BatchNorm folded into the convolution before it: the same numbers with fewer passes over memory."""

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Return a copy of the network in eval mode with every foldable BatchNorm merged into its convolution.

    Foldable is a norm with running statistics that directly follows a convolution in an `nn.Sequential`; all norms of
    the package's own networks are. Others, as in plug-ins, stay as they are.
    """
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        if isinstance(module, nn.Sequential):
            _fold_neighbours(module)
    return folded


def _fold_neighbours(sequence: nn.Sequential) -> None:
    names = list(sequence._modules)
    for first, second in pairwise(names):
        convolution, norm = sequence._modules[first], sequence._modules[second]
        if not (isinstance(convolution, _CONVOLUTIONS) and isinstance(norm, _NORMS)):
            continue
        is_transposed = isinstance(convolution, _TRANSPOSED)
        if norm.running_mean is None or (is_transposed and convolution.groups > 1):
            continue
        sequence._modules[first] = fuse_conv_bn_eval(convolution, norm, transpose=is_transposed)
        sequence._modules[second] = nn.Identity()
