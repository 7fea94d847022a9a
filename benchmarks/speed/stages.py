"""Seconds of each stage on this computer, from a phantom to its score; `make bench`.

The network is untrained: that changes its answers, not its speed; peaks are sought in the true labels. `--full`
takes a tomogram of the challenge's size.
"""

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from cryofind import czii
from cryofind.config import Config, ModelConfig
from cryofind.locate import find_picks
from cryofind.models import build_network
from cryofind.predict import predict_probabilities
from cryofind.preprocess import preprocess_tomogram
from cryofind.scoring import score
from cryofind.testing import Phantom, make_phantom
from cryofind.types import ProbabilityVolume

Result = TypeVar("Result")


def timed(title: str, work: Callable[[], Result]) -> Result:
    started = time.perf_counter()
    result = work()
    print(f"{title:<28} {time.perf_counter() - started:8.2f} s")
    return result


def run_stages(shape_zyx: tuple[int, int, int], networks: list[str]) -> None:
    config = Config()
    print(f"{' x '.join(map(str, shape_zyx))} voxels, {torch.get_num_threads()} threads")
    phantom = timed("make phantom", lambda: make_phantom(seed=0, shape_zyx=shape_zyx))
    spacing = phantom.tomogram.grid.spacing_angstrom
    prepared = timed(
        "preprocess", lambda: preprocess_tomogram(phantom.tomogram, config.preprocess, spacing_angstrom=spacing)
    )
    volume = np.asarray(prepared.volume_zyx, dtype=np.float32)
    for name in networks:
        network = build_network(ModelConfig(network=name), len(czii.OBJECTS)).eval()
        timed(
            f"predict {name}",
            lambda network=network: predict_probabilities(  # type: ignore[misc]
                [network],
                volume,
                prepared.grid,
                run=prepared.run,
                objects=czii.OBJECT_NAMES,
                activation="softmax",
                config=config.predict,
            ),
        )
    probabilities = ideal_probabilities(phantom)
    picks = timed("locate", lambda: find_picks(probabilities, czii.OBJECTS, config.locate, grid=prepared.grid))
    timed(f"score {len(picks)} candidates", lambda: score(picks, phantom.picks, czii.OBJECTS))


def ideal_probabilities(phantom: Phantom) -> ProbabilityVolume:
    """Return what a good network would say, so that there is something to locate."""
    coarse = phantom.labels.labels_zyx[::2, ::2, ::2]
    channels = [gaussian_filter((coarse == spec.label).astype(np.float32), 1.0) for spec in czii.OBJECTS]
    return ProbabilityVolume(
        phantom.tomogram.run, np.stack(channels), phantom.tomogram.grid.coarsened(2), czii.OBJECT_NAMES
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="184 x 630 x 630 voxels")
    parser.add_argument("--network", action="append", help="res16 and res32 when not given; repeatable")
    arguments = parser.parse_args()
    shape = czii.TOMOGRAM_GRID.shape_zyx if arguments.full else (64, 256, 256)
    run_stages(shape, arguments.network or ["res16", "res32"])


if __name__ == "__main__":
    main()
