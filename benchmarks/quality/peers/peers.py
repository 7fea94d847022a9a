"""The published recipes, each composed of the parts beside this file.

Sources: write-ups and repositories of the CZII challenge (Kaggle discussion numbers 561568, 561510, 561515; public
notebook "Baseline UNet train + submit"). What is smaller here than there, for a CPU, is said at each.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from augmentations import X, Y, Z, affine, draw_turns, flips, leave_grey, noise_and_contrast, quarter_turns, rotations
from crops import DrawTurn, Random, Triple
from decoding import Decode, components, peaks, smooth_peaks
from inference import ONE_VIEW, SEVEN_VIEWS, View, Windows, flipped
from losses import MakeLoss, tversky_and_cross_entropy, weighted_dense_cross_entropy
from networks import build_flexible_unet, build_unet
from numpy.typing import NDArray
from schedules import LearningRate, constant, cosine, halve_on_plateau
from targets import DrawTarget, balls, single_cells
from torch import nn

Optimizer = Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Peer:
    """A recipe.

    Parameters
    ----------
    build
        Network of so many channels, the background first.
    crop_zyx, crops
        Size of a crop, voxels, and crops in a batch.
    ratios
        How often crops are centred in a particle of each object, 1 for those not named and for the background; None:
        crops lie anywhere.
    target_factor
        Radius of the target, in radii; centres of crops are drawn from within.
    stride
        Voxels along an edge of a cell of the output.
    mixes
        Whether crops of a batch are mixed in pairs, targets too (Beta(1, 1)).
    rate
        Factor on the optimizer's learning rate, of the share of the budget that is spent and of F4 so far.
    views
        Of test-time augmentation.
    decoders
        From probabilities to candidates; the best on validation runs is taken.
    """

    build: Callable[[int], nn.Module]
    crop_zyx: Triple
    crops: int
    draw_turn: DrawTurn
    draw_target: DrawTarget
    make_loss: MakeLoss
    make_optimizer: Optimizer
    windows: Windows
    decoders: tuple[Decode, ...]
    ratios: Mapping[str, float] | None = field(default_factory=dict)
    target_factor: float = 0.5
    stride: int = 1
    mixes: bool = False
    change_grey: Callable[[NDArray, Random], NDArray] = leave_grey
    rate: LearningRate = constant
    views: tuple[View, ...] = ONE_VIEW


ADAM = partial(torch.optim.Adam, lr=1e-3)
ADAM_W = partial(torch.optim.AdamW, lr=1e-3)
WINDOWS = Windows((104, 256, 256), (16, 32, 32), multiple=4)
HARD_TWICE = {"beta-amylase": 0.0, "beta-galactosidase": 2.0, "thyroglobulin": 2.0}

PEERS = {
    # The second place's main network, alone 0.767 on the private set. There: two crops of 128 x 256 x 256, four
    # flavours. Their window of 128 x 384 x 384 is divided otherwise here.
    "monai-unet": Peer(
        build=partial(build_unet, widths=(48, 64, 80, 80)),
        crop_zyx=(64, 128, 128),
        crops=2,
        ratios={"ribosome": 2.0, "virus-like-particle": 2.0},
        draw_turn=draw_turns(quarter_turns(0.5), flips(0.3), affine(0.3, 0.1, 0.1)),
        change_grey=noise_and_contrast,
        draw_target=balls(0.5),
        make_loss=tversky_and_cross_entropy(false_positive=0.3, false_negative=0.7, weights=HARD_TWICE),
        make_optimizer=ADAM_W,
        windows=WINDOWS,
        views=SEVEN_VIEWS,
        decoders=(components(0.15, 0.5), smooth_peaks(0.5)),
    ),
    # The public notebook, 0.522 with its fixed rule: components of more than 500 voxels above 0.5. There: 16 crops.
    "public-baseline": Peer(
        build=partial(build_unet, widths=(48, 64, 80, 80)),
        crop_zyx=(96, 96, 96),
        crops=4,
        draw_turn=draw_turns(quarter_turns(0.5, (Z, X)), flips(0.5, (Z,))),
        draw_target=balls(0.8),
        target_factor=0.8,
        make_loss=tversky_and_cross_entropy(false_positive=0.5, false_negative=0.5, weights={}, share=0.0),
        make_optimizer=ADAM_W,
        windows=WINDOWS,
        decoders=(components(0.5, 0.8), smooth_peaks(0.8)),
    ),
    # The first place's segmentation, 0.766 for one network. There: 32 crops; windows of 192 x 128 x 128.
    "winning-segmentation": Peer(
        build=build_flexible_unet,
        crop_zyx=(96, 96, 96),
        crops=4,
        ratios=None,
        draw_turn=draw_turns(flips(0.5), quarter_turns(0.75), rotations(0.5, 0.78, ((Y, X),))),
        draw_target=single_cells,
        stride=2,
        mixes=True,
        make_loss=weighted_dense_cross_entropy(256.0),
        make_optimizer=ADAM,
        rate=cosine,
        windows=Windows((192, 192, 192), (32, 32, 32), multiple=32),
        decoders=(peaks,),
    ),
    # The eighth place's smallest network, 0.744 on the public set. There: 16 to 24 crops of 128^3; windows of
    # 160 x 384 x 384.
    "eighth-place": Peer(
        build=partial(build_unet, widths=(32, 64, 128, 128), dropout=0.3),
        crop_zyx=(96, 96, 96),
        crops=4,
        draw_turn=flips(0.5),
        draw_target=balls(0.5),
        make_loss=tversky_and_cross_entropy(false_positive=0.5, false_negative=0.5, weights={}),
        make_optimizer=ADAM_W,
        rate=halve_on_plateau,
        windows=WINDOWS,
        views=(*ONE_VIEW, flipped(1), flipped(2)),
        decoders=(components(0.1, 0.5, split=True), smooth_peaks(0.5)),
    ),
}
