"""Candidates found by torch against the same volumes searched by numpy."""

import weakref
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import ndimage
from torch.utils._python_dispatch import TorchDispatchMode

from cryofind.config import LocateConfig
from cryofind.errors import ConfigError, ModelError
from cryofind.locate import Candidates, locate_candidates
from cryofind.pipeline.device_candidates import can_locate_on_device, locate_on_device
from cryofind.predict import device_peaks
from cryofind.types import ParticleSpec, ProbabilityVolume, VoxelGrid

Volumes = NDArray[np.floating]

RADII_ANGSTROM = (60.0, 65.0, 90.0, 130.0, 150.0, 135.0)
SPECS = tuple(ParticleSpec(f"object-{number}", radius, number) for number, radius in enumerate(RADII_ANGSTROM, start=1))
SPECS_WITH_MEMBRANE = (*SPECS[:2], ParticleSpec("membrane", None, 7, is_particle=False), *SPECS[3:])
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
RUN = "TS_1"

# Few distinct values, so that plateaus of all shapes occur, 0.02 being the floor.
COARSE_VOLUMES = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=5),
    elements=st.sampled_from([0.0, 0.01, 0.02, 0.25, 0.5, 1.0]),
)


def draw_noise(count: int, shape_zyx: tuple[int, int, int], *, sigma: float, seed: int = 0) -> Volumes:
    """Return smooth noise between 0 and 1, most of it near 0."""
    noise = np.random.default_rng(seed).standard_normal((count, *shape_zyx))
    smooth = np.stack([ndimage.gaussian_filter(channel, sigma) for channel in noise])
    return np.asarray(1 / (1 + np.exp(2 - 2 * smooth / smooth.std())), dtype=np.float32)


def draw_blobs(count: int, shape_zyx: tuple[int, int, int], *, seed: int = 0) -> Volumes:
    """Return noisy balls with flat tops, one in three of them across a face."""
    random = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*map(np.arange, shape_zyx), indexing="ij"), axis=-1)
    volumes = 0.05 * random.random((count, *shape_zyx))
    for channel, centre in product(range(count), random.uniform(0, shape_zyx, (6, 3))):
        distances = np.linalg.norm(places - centre, axis=-1)
        volumes[channel] = np.maximum(volumes[channel], 0.9 / (1 + np.exp(2 * (distances - 4))))
    return np.asarray(np.clip(volumes + 0.03 * random.random(volumes.shape), 0, 1), dtype=np.float32)


def make_grid(shape_zyx: tuple[int, ...], spacing_zyx: tuple[float, float, float] = (20.0, 20.0, 20.0)) -> VoxelGrid:
    z, y, x = shape_zyx
    return VoxelGrid((z, y, x), spacing_zyx, (10.0, 10.0, 10.0))


def assert_same_candidates(
    probabilities: torch.Tensor,
    specs: tuple[ParticleSpec, ...],
    config: LocateConfig,
    grid: VoxelGrid | None = None,
) -> Candidates:
    grid = grid or make_grid(tuple(probabilities.shape[1:]))
    objects = tuple(spec.name for spec in specs[: len(probabilities)])
    found = locate_on_device(probabilities, objects, grid, specs, config, run=RUN)
    # numpy has no bfloat16; as float32 it is the same numbers.
    on_host = probabilities.cpu().float() if probabilities.dtype == torch.bfloat16 else probabilities.cpu()
    expected = locate_candidates(ProbabilityVolume(RUN, on_host.numpy(), grid, objects), specs, config)
    np.testing.assert_array_equal(found.channels, expected.channels)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_allclose(found.positions_zyx_angstrom, expected.positions_zyx_angstrom, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.centred_zyx_angstrom, expected.centred_zyx_angstrom, rtol=0, atol=1e-3)
    assert [array.dtype for array in vars(found).values()] == [array.dtype for array in vars(expected).values()]
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("draw", ["blobs", "fine noise", "coarse noise"])
@pytest.mark.parametrize("recentre_factor", [0.75, 0.0])
def test_the_candidates_of_six_channels(dtype: torch.dtype, draw: str, recentre_factor: float) -> None:
    shape = (14, 26, 22)
    volumes = (
        draw_blobs(6, shape) if draw == "blobs" else draw_noise(6, shape, sigma=0.6 if draw == "fine noise" else 2.5)
    )
    config = LocateConfig(recentre_factor=recentre_factor)
    found = assert_same_candidates(torch.from_numpy(volumes).to(dtype), SPECS_WITH_MEMBRANE, config)
    assert set(found.channels) == {0, 1, 3, 4, 5}
    is_recentred = (found.positions_zyx_angstrom != found.centred_zyx_angstrom).any(axis=1)
    assert set(found.channels[is_recentred]) == ({3, 4, 5} if recentre_factor else set())


def test_one_channel_with_cells_that_are_no_cubes_and_one_that_is_not_refined() -> None:
    probabilities = torch.from_numpy(draw_blobs(1, (12, 20, 24), seed=3))
    grid = make_grid((12, 20, 24), (30.0, 20.0, 15.0))
    assert len(assert_same_candidates(probabilities, SPECS[4:], LocateConfig(), grid).scores) > 0
    assert len(assert_same_candidates(probabilities, SPECS[4:], LocateConfig(refine=False), grid).scores) > 0


@settings(deadline=None, max_examples=60)
@given(COARSE_VOLUMES, st.sampled_from(DTYPES), st.sampled_from([0.02, 0.009, 0.3]))
def test_plateaus_of_all_shapes(volumes: Volumes, dtype: torch.dtype, floor: float) -> None:
    config = LocateConfig(floor=floor, floors={SPECS[0].name: 0.4})
    assert_same_candidates(torch.from_numpy(volumes).to(dtype), SPECS, config)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_plateaus_that_rounding_makes(dtype: torch.dtype) -> None:
    rounded = torch.from_numpy(0.4 + 0.002 * draw_noise(2, (12, 16, 18), sigma=1.0)).to(dtype)
    crests = device_peaks.find_crests(rounded, (0, 1), floors=(0.02, 0.02))
    found = assert_same_candidates(rounded, SPECS, LocateConfig())
    assert np.count_nonzero(crests.equal_neighbours) > 100
    assert 0 < len(found.scores) < len(crests)


@pytest.mark.parametrize("shape", [(5, 6, 7), (1, 6, 7), (5, 1, 2), (1, 1, 1)])
def test_a_peak_at_every_face_edge_and_corner(shape: tuple[int, int, int]) -> None:
    cells = set(product(*({0, size // 2, size - 1} for size in shape)))
    volumes = np.zeros((1, *shape), np.float32)
    volumes[0] = 0.01 * np.random.default_rng(1).random(shape)
    for number, cell in enumerate(sorted(cells)):
        volumes[(0, *cell)] = 0.5 + number / 100
    assert_same_candidates(torch.from_numpy(volumes), SPECS, LocateConfig())
    for cell in cells:
        alone = np.zeros((1, *shape), np.float32)
        alone[(0, *cell)] = 0.7
        assert len(assert_same_candidates(torch.from_numpy(alone), SPECS[4:], LocateConfig()).scores) == 1


@pytest.mark.parametrize("value", [0.0, 0.0199, 1.0])
def test_volumes_of_one_value(value: float) -> None:
    found = assert_same_candidates(torch.full((2, 4, 5, 6), value), SPECS, LocateConfig())
    assert len(found.scores) == (2 if value == 1 else 0)


def test_channels_that_are_all_no_particles_yield_nothing() -> None:
    membranes = tuple(ParticleSpec(name, None, 1, is_particle=False) for name in ("membrane", "tubule"))
    assert len(assert_same_candidates(torch.ones(2, 3, 4, 5), membranes, LocateConfig()).scores) == 0


@pytest.mark.parametrize("working_bytes", [1, 50_000, 400_000])
def test_small_working_memory_changes_nothing(working_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_peaks, "WORKING_BYTES", working_bytes)
    rounded = torch.from_numpy(draw_blobs(3, (9, 14, 12), seed=5)).to(torch.bfloat16)
    assert_same_candidates(rounded, (SPECS[0], *SPECS[3:5]), LocateConfig())


class PeakMemory(TorchDispatchMode):
    """Follows the bytes of all tensors that operators return and that are still alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        self.peak_bytes = 0

    def __torch_dispatch__(
        self,
        operator: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = operator(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            storage = result.untyped_storage()
            self.alive[id(result)] = weakref.ref(result), storage.data_ptr()
            sizes = {place: tensor.untyped_storage().nbytes() for tensor, place in self._living()}
            self.peak_bytes = max(self.peak_bytes, sum(sizes.values()))
        return result

    def _living(self) -> list[tuple[torch.Tensor, int]]:
        living = [(reference(), place) for reference, place in self.alive.values()]
        return [(tensor, place) for tensor, place in living if tensor is not None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [None, 0.5])
def test_working_memory_is_bounded_however_many_crests_there_are(
    dtype: torch.dtype, value: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    working_bytes, shape = 3 * 2**20, (24, 48, 48)
    monkeypatch.setattr(device_peaks, "WORKING_BYTES", working_bytes)
    volumes = draw_noise(3, shape, sigma=0.9) if value is None else np.full((3, *shape), value, np.float32)
    probabilities = torch.from_numpy(volumes).to(dtype)
    with PeakMemory() as memory:
        locate_on_device(
            probabilities, [spec.name for spec in SPECS[1:4]], make_grid(shape), SPECS, LocateConfig(), run=RUN
        )
    # On a CPU what was handed to the host counts too: five numbers of a crest.
    host_bytes = 40 * probabilities.numel() if value is not None else 0
    assert 0.3 * working_bytes < memory.peak_bytes < working_bytes + host_bytes


def test_volumes_of_any_memory_layout_are_left_as_they_were() -> None:
    probabilities = torch.from_numpy(draw_noise(8, (12, 18, 16), sigma=1.0)).permute(0, 3, 1, 2)[1:7, 1:, ::2]
    before = probabilities.clone()
    assert not probabilities.is_contiguous()
    assert_same_candidates(probabilities, SPECS, LocateConfig())
    assert torch.equal(probabilities, before)


def test_the_floor_is_not_rounded_with_the_probabilities() -> None:
    below = torch.tensor(0.3, dtype=torch.bfloat16)
    floor = 0.301
    assert torch.tensor(floor).to(torch.bfloat16) == below
    assert float(below) < floor
    probabilities = torch.zeros((1, 3, 3, 8), dtype=torch.bfloat16)
    probabilities[0, 1, 1, 1] = below
    probabilities[0, 1, 1, 5] = 0.5
    assert len(assert_same_candidates(probabilities, SPECS, LocateConfig(floor=floor)).scores) == 1


@pytest.mark.parametrize("bad", [float("nan"), -float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_damaged_probabilities_are_refused_in_the_same_words(bad: float, dtype: torch.dtype) -> None:
    probabilities = torch.zeros((6, 4, 4, 4), dtype=dtype)
    probabilities[2, 0, 0, 0] = bad
    assert len(assert_same_candidates(probabilities, SPECS_WITH_MEMBRANE, LocateConfig()).scores) == 0
    probabilities[4, 1, 2, 3] = bad
    probabilities[4, 3, 3, 3] = bad
    objects = tuple(spec.name for spec in SPECS_WITH_MEMBRANE)
    grid = make_grid((4, 4, 4))
    with pytest.raises(ModelError) as ours:
        locate_on_device(probabilities, objects, grid, SPECS_WITH_MEMBRANE, LocateConfig(), run=RUN)
    volume = ProbabilityVolume(RUN, probabilities.float().numpy(), grid, objects)
    with pytest.raises(ModelError) as theirs:
        locate_candidates(volume, SPECS_WITH_MEMBRANE, LocateConfig())
    assert str(ours.value) == str(theirs.value)
    assert "run 'TS_1', object 'object-5': 2 of 64" in str(ours.value)


def test_what_cannot_be_done_on_a_device_is_refused() -> None:
    grid, cells = make_grid((4, 4, 4)), torch.zeros((1, 4, 4, 4))
    assert can_locate_on_device(LocateConfig())
    for config in (LocateConfig(method="watershed"), LocateConfig(smoothing_angstrom=5.0)):
        assert not can_locate_on_device(config)
        with pytest.raises(ValueError, match="not for a device"):
            locate_on_device(cells, ("object-1",), grid, SPECS, config, run=RUN)
    with pytest.raises(ValueError, match="expected 2 x grid"):
        locate_on_device(cells, ("object-1", "object-2"), grid, SPECS, LocateConfig(), run=RUN)
    with pytest.raises(ConfigError, match="did you mean 'object-1'"):
        locate_on_device(cells, ("object1",), grid, SPECS[:1], LocateConfig(), run=RUN)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_candidates_on_a_gpu(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_peaks, "WORKING_BYTES", 2**22)
    for volumes in (draw_blobs(6, (24, 40, 44)), draw_noise(6, (24, 40, 44), sigma=0.6)):
        assert_same_candidates(torch.from_numpy(volumes).to("cuda", dtype), SPECS_WITH_MEMBRANE, LocateConfig())
