"""Probability volumes that cannot be searched."""

import numpy as np
import pytest

from cryofind.config import LocateConfig
from cryofind.errors import ConfigError, ModelError
from cryofind.locate import find_picks
from cryofind.types import ParticleSpec, ProbabilityVolume, VoxelGrid

GRID = VoxelGrid.isotropic((4, 4, 4), 10.0)


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("method", ["peaks", "watershed"])
def test_damaged_probabilities_name_run_and_object(bad: float, dtype: type[np.floating], method: str) -> None:
    volume = np.zeros((1, 4, 4, 4), dtype)
    volume[0, 1, 2, 3] = bad
    config = LocateConfig.model_validate({"method": method})
    with pytest.raises(ModelError, match="run 'TS_1', object 'ribosome': 1 of 64 probabilities"):
        find_picks(
            ProbabilityVolume("TS_1", volume, GRID, ("ribosome",)),
            [ParticleSpec("ribosome", 150.0, 1)],
            config,
            grid=GRID,
        )


def test_a_channel_without_spec_is_named() -> None:
    volume = ProbabilityVolume("TS_1", np.zeros((1, 4, 4, 4), np.float32), GRID, ("ribosom",))
    with pytest.raises(ConfigError, match="did you mean 'ribosome'"):
        find_picks(volume, [ParticleSpec("ribosome", 150.0, 1)], LocateConfig(), grid=GRID)
