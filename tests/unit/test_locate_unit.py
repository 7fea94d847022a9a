"""Candidates from probability volumes: maxima, positions between cells, spacing, regions."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cryofind.config import LocateConfig
from cryofind.locate import find_peaks, find_picks, find_regions, recentre_peaks, refine_peaks, suppress_neighbours
from cryofind.types import ParticleSpec, Picks, ProbabilityVolume, VoxelGrid

Floats = NDArray[np.float64]

SMALL = ParticleSpec("small", 60.0, 1)
LARGE = ParticleSpec("large", 150.0, 2)
MEMBRANE = ParticleSpec("membrane", None, 3, is_particle=False)
SPACING_ANGSTROM = 10.0


def draw_gaussian(shape_zyx: tuple[int, int, int], centre_zyx: Floats, sigma: float, height: float = 0.9) -> Floats:
    indices = np.stack(np.meshgrid(*map(np.arange, shape_zyx), indexing="ij"), axis=-1)
    squared = ((indices - centre_zyx) ** 2).sum(axis=-1)
    return np.asarray(height * np.exp(-squared / (2 * sigma**2)))


def draw_ball(shape_zyx: tuple[int, int, int], centre_zyx: Floats, radius: float) -> NDArray[np.bool_]:
    indices = np.stack(np.meshgrid(*map(np.arange, shape_zyx), indexing="ij"), axis=-1)
    return np.asarray(((indices - centre_zyx) ** 2).sum(axis=-1) <= radius**2)


def find(
    *volumes: NDArray[np.floating],
    specs: tuple[ParticleSpec, ...] = (SMALL, LARGE),
    grid: VoxelGrid | None = None,
    **options: object,
) -> Picks:
    """Run find_picks on channels that lie on a tomogram's own grid, 10 Angstrom."""
    own_grid = VoxelGrid.isotropic(volumes[0].shape, SPACING_ANGSTROM)
    names = tuple(spec.name for spec in specs[: len(volumes)])
    volume = ProbabilityVolume("TS_1", np.stack(volumes), own_grid, names)
    return find_picks(volume, specs, LocateConfig.model_validate(options), grid=grid or own_grid)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_plateau_is_one_peak_at_its_mean(dtype: type[np.floating]) -> None:
    volume = np.zeros((9, 9, 9), dtype)
    volume[2:4, 2:5, 2:5] = 0.5
    volume[7, 7, 7] = 0.25
    peaks = find_peaks(volume, floor=0.1)
    assert peaks.cells_zyx.tolist() == [[2, 3, 3], [7, 7, 7]]
    assert peaks.centres_zyx.tolist() == [[2.5, 3, 3], [7, 7, 7]]
    assert peaks.scores.dtype == np.float32
    np.testing.assert_allclose(refine_peaks(volume, peaks), [[2.5, 3.0, 3.0], [7.0, 7.0, 7.0]])


def test_a_bent_plateau_is_one_peak() -> None:
    volume = np.zeros((3, 8, 8), np.float32)
    volume[1, 1:7, 1] = volume[1, 1:7, 6] = volume[1, 6, 1:7] = 0.5
    assert len(find_peaks(volume, floor=0.1)) == 1


def test_a_plateau_beside_something_higher_is_no_peak() -> None:
    volume = np.zeros((3, 3, 12), np.float32)
    volume[1, 1, 1:10] = 0.5
    volume[1, 1, 10] = 0.6
    assert find_peaks(volume, floor=0.1).cells_zyx.tolist() == [[1, 1, 10]]


def test_peaks_at_faces_and_corners_are_found() -> None:
    volume = np.zeros((5, 5, 5), np.float32)
    volume[0, 0, 0], volume[4, 4, 4], volume[2, 0, 2] = 0.5, 0.6, 0.7
    peaks = find_peaks(volume, floor=0.1)
    assert peaks.cells_zyx.tolist() == [[0, 0, 0], [2, 0, 2], [4, 4, 4]]
    np.testing.assert_array_equal(refine_peaks(volume, peaks), peaks.cells_zyx)


def test_a_volume_one_cell_thick_works() -> None:
    volume = np.zeros((1, 1, 7), np.float32)
    volume[0, 0, 3] = 0.5
    assert find_peaks(volume, floor=0.1).cells_zyx.tolist() == [[0, 0, 3]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_nothing_above_the_floor_gives_no_picks(dtype: type[np.floating]) -> None:
    volume = np.full((4, 4, 4), 0.019, dtype)
    assert len(find_peaks(volume, floor=0.02)) == 0
    assert len(find(volume, volume)) == 0
    assert len(find(volume, method="watershed")) == 0


def test_the_floor_itself_counts_and_negative_zero_does_not() -> None:
    volume = np.full((3, 3, 3), -0.0, np.float16)
    volume[1, 1, 1] = 0.5
    assert len(find_peaks(volume, floor=0.5)) == 1


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.5])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_gaussian_blobs_are_placed_within_a_twentieth_of_a_cell(sigma: float, dtype: type[np.floating]) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        centre = 8 + random.uniform(-0.5, 0.5, 3)
        volume = draw_gaussian((17, 17, 17), centre, sigma).astype(dtype)
        peaks = find_peaks(volume, floor=0.3)
        assert np.abs(refine_peaks(volume, peaks)[0] - centre).max() < 0.05


def test_refinement_can_be_switched_off() -> None:
    volume = draw_gaussian((11, 11, 11), np.array([5.0, 5.0, 5.4]), 1.5)
    assert find(volume, refine=False).positions_zyx_angstrom.tolist() == [[50.0, 50.0, 50.0]]
    assert find(volume).positions_zyx_angstrom[0, 2] == pytest.approx(54.0, abs=0.5)


def test_positions_come_from_the_stride_two_grid_and_stay_in_the_box() -> None:
    tomogram_grid = VoxelGrid.isotropic((9, 9, 9), 10.0)
    coarse = tomogram_grid.coarsened(2)
    volume = np.zeros((1, *coarse.shape_zyx), np.float32)
    volume[0, 1, 2, 3] = 0.9  # input index 2 j + 0.5
    volume[0, 4, 0, 0] = 0.8  # 85 Angstrom of 90: inside
    picks = find_picks(
        ProbabilityVolume("TS_1", volume, coarse, ("small",)), [SMALL], LocateConfig(), grid=tomogram_grid
    )
    assert picks.positions_zyx_angstrom.tolist() == [[25.0, 45.0, 65.0], [85.0, 5.0, 5.0]]
    smaller = VoxelGrid.isotropic((8, 9, 9), 10.0)
    picks = find_picks(ProbabilityVolume("TS_1", volume, coarse, ("small",)), [SMALL], LocateConfig(), grid=smaller)
    assert picks.positions_zyx_angstrom.tolist() == [[25.0, 45.0, 65.0]]


def test_border_picks_are_dropped() -> None:
    volume = np.zeros((21, 21, 21), np.float32)
    volume[10, 10, 10], volume[10, 10, 1] = 0.5, 0.9
    assert find(volume, border_angstrom=30.0).positions_zyx_angstrom.tolist() == [[100.0, 100.0, 100.0]]


def test_the_better_of_two_near_picks_of_one_object_stays() -> None:
    volume = np.zeros((5, 5, 40), np.float32)
    volume[2, 2, 5], volume[2, 2, 11], volume[2, 2, 20] = 0.5, 0.9, 0.4
    kept = find(volume, separation_factor=1.1)  # 66 Angstrom: 5 goes, 20 stays
    assert kept.positions_zyx_angstrom[:, 2].tolist() == [110.0, 200.0]
    np.testing.assert_allclose(kept.scores, [0.9, 0.4], rtol=1e-6)
    assert len(find(volume, separation_factor=1.0)) == 3  # exactly at the least distance both stay
    assert len(find(volume, separation_factor=0.0)) == 3


def test_the_better_of_two_near_picks_of_two_objects_stays() -> None:
    small, large = np.zeros((2, 5, 5, 40), np.float32)
    small[2, 2, 5], large[2, 2, 7] = 0.5, 0.9  # 20 Angstrom apart, limit 30
    small[2, 2, 20], large[2, 2, 24] = 0.5, 0.9  # 40 Angstrom apart
    kept = find(small, large, cross_separation_factor=0.5, separation_factor=1.0)
    assert list(kept.objects) == ["small", "large", "large"]
    assert len(find(small, large, cross_separation_factor=0.0, separation_factor=1.0)) == 4


def test_a_pick_that_loses_to_another_object_suppresses_nothing_itself() -> None:
    small, large = np.zeros((2, 5, 5, 40), np.float32)
    small[2, 2, 10], large[2, 2, 8], small[2, 2, 14] = 0.5, 0.9, 0.4
    kept = find(small, large, cross_separation_factor=0.5, recentre_factor=0.0)
    assert list(kept.objects) == ["small", "large"]
    assert kept.of_object("small").positions_zyx_angstrom[:, 2].tolist() == [140.0]


def test_picks_are_sorted_by_object_then_score_and_capped() -> None:
    random = np.random.default_rng(0)
    volumes = random.uniform(0, 1, (2, 20, 20, 20)).astype(np.float32)
    picks = find(volumes[0], volumes[1], max_candidates=7, separation_factor=0.5, recentre_factor=0.0)
    assert list(picks.objects) == ["small"] * 7 + ["large"] * 7
    assert (np.diff(picks.scores[:7]) <= 0).all()
    assert picks.selected.all()
    assert picks.run_names == ("TS_1",)


def test_structures_that_are_not_particles_give_no_picks() -> None:
    volume = np.full((4, 4, 4), 0.5, np.float32)
    specs = (MEMBRANE, SMALL)
    assert find(volume, volume, specs=specs).object_names == ("small",)
    assert len(find(volume, specs=(MEMBRANE,))) == 0


def test_smoothing_merges_a_noisy_blob_into_one_peak() -> None:
    noise = np.random.default_rng(0).uniform(0.5, 1.0, (21, 21, 21))
    volume = draw_gaussian((21, 21, 21), np.array([10.0, 10.0, 10.0]), 3.0) * noise
    assert len(find(volume, separation_factor=0.0)) > 1
    smoothed = find(volume, separation_factor=0.0, smoothing_angstrom=20.0)
    assert len(smoothed) == 1
    np.testing.assert_allclose(smoothed.positions_zyx_angstrom[0], 100.0, atol=5.0)


def test_regions_of_touching_balls_are_split_at_the_plane_between() -> None:
    shape = (24, 24, 40)
    centres = np.array([[12.0, 12.0, 11.0], [12.0, 12.0, 27.0]])
    volume = np.zeros(shape, np.float32)
    for centre in centres:
        volume[draw_ball(shape, centre, 8.5)] = 0.8
    regions = find_regions(volume, threshold=0.3, radius_angstrom=150.0, spacing_zyx_angstrom=(10.0, 10.0, 10.0))
    assert len(regions) == 2
    order = np.argsort(regions.centroids_zyx[:, 2])
    np.testing.assert_allclose(regions.centroids_zyx[order], centres, atol=0.4)
    assert regions.volumes_cells.sum() == np.count_nonzero(volume)
    np.testing.assert_allclose(regions.scores, 0.8, rtol=1e-6)


def test_a_large_single_ball_is_not_split() -> None:
    shape = (40, 40, 40)
    centre = np.array([20.0, 19.7, 20.2])
    volume = np.where(draw_ball(shape, centre, 14.0), 0.8, 0).astype(np.float32)
    regions = find_regions(volume, threshold=0.3, radius_angstrom=150.0, spacing_zyx_angstrom=(10.0, 10.0, 10.0))
    assert len(regions) == 1
    np.testing.assert_allclose(regions.centroids_zyx[0], centre, atol=0.2)


def test_watershed_weighs_by_probability_and_limits_volumes() -> None:
    volume = np.zeros((15, 15, 30), np.float32)
    volume[7, 7, 5], volume[7, 7, 6] = 0.9, 0.3
    volume[draw_ball((15, 15, 30), np.array([7.0, 7.0, 20.0]), 3.0)] = 0.5
    both = find(volume, method="watershed", watershed_threshold=0.3)
    assert len(both) == 2
    assert both.positions_zyx_angstrom[0, 2] == pytest.approx(52.5, abs=0.01)
    only_ball = find(volume, method="watershed", min_volume_factor=0.3)
    np.testing.assert_allclose(only_ball.positions_zyx_angstrom, [[70.0, 70.0, 200.0]], atol=1e-6)
    only_specks = find(volume, method="watershed", max_volume_factor=0.5)
    assert only_specks.scores.tolist() == [pytest.approx(0.9)]


def test_watershed_regions_touch_by_corners() -> None:
    volume = np.zeros((5, 5, 5), np.float32)
    volume[1, 1, 1] = volume[2, 2, 2] = 0.5
    assert len(find(volume, method="watershed")) == 1


def test_suppression_in_blocks_equals_suppression_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    positions = random.uniform(0, 300, (400, 3))
    scores, channels = random.uniform(0, 1, 400), random.integers(0, 2, 400)
    separations = np.array([[40.0, 15.0], [15.0, 60.0]])
    whole = suppress_neighbours(positions, scores, channels, separations_angstrom=separations)
    monkeypatch.setattr("cryofind.locate.suppress.BLOCK_SIZE", 37)
    blocks = suppress_neighbours(positions, scores, channels, separations_angstrom=separations)
    assert whole.tolist() == blocks.tolist()
    capped = suppress_neighbours(positions, scores, channels, separations_angstrom=separations, max_per_channel=5)
    assert np.bincount(channels[capped]).tolist() == [5, 5]


def test_the_mean_of_a_noisy_ball_is_nearer_than_its_highest_cell() -> None:
    random = np.random.default_rng(0)
    before: list[float] = []
    after: list[float] = []
    for _ in range(10):
        centre = 12 + random.uniform(-0.5, 0.5, 3)
        indices = np.stack(np.meshgrid(*[np.arange(25)] * 3, indexing="ij"), axis=-1)
        edge = np.clip(3 * (3.75 - np.linalg.norm(indices - centre, axis=-1)), -6, 4)
        volume = 1 / (1 + np.exp(-edge - random.standard_normal((25, 25, 25))))
        grid = VoxelGrid.isotropic((25, 25, 25), 20.0)
        probabilities = ProbabilityVolume("TS_1", volume[None], grid, ("large",))
        for errors, factor in ((before, 0.0), (after, 0.5)):
            config = LocateConfig(recentre_factor=factor, max_candidates=1)
            picks = find_picks(probabilities, [LARGE], config, grid=grid)
            errors.append(float(np.linalg.norm(picks.positions_zyx_angstrom[0] - centre * 20.0)))
    assert np.mean(after) < 10.0
    assert np.mean(after) < np.mean(before) / 2


def test_recentring_leaves_a_symmetric_blob_and_small_windows_alone() -> None:
    volume = draw_gaussian((21, 21, 21), np.array([10.0, 10.0, 10.0]), 2.0)
    spacing = (10.0, 10.0, 10.0)
    start = np.array([[10.0, 10.0, 10.0]])
    still = recentre_peaks(volume, start, window_angstrom=40.0, spacing_zyx_angstrom=spacing)
    np.testing.assert_allclose(still, start, atol=1e-9)
    aside = np.array([[10.0, 10.0, 11.5]])
    assert recentre_peaks(volume, aside, window_angstrom=24.0, spacing_zyx_angstrom=spacing) is aside
    moved = recentre_peaks(volume, aside, window_angstrom=40.0, spacing_zyx_angstrom=spacing)
    assert abs(moved[0, 2] - 10.0) < 0.5
    empty = recentre_peaks(np.zeros_like(volume), aside, window_angstrom=40.0, spacing_zyx_angstrom=spacing)
    np.testing.assert_array_equal(empty, aside)


def test_two_maxima_of_one_ball_become_one_pick() -> None:
    volume = np.where(draw_ball((31, 31, 31), np.array([15.0, 15.0, 15.0]), 8.0), 0.6, 0.0)
    volume[15, 15, 9] = volume[15, 15, 21] = 0.9
    assert len(find(volume, volume, separation_factor=0.7, cross_separation_factor=0.0, recentre_factor=0.0)) == 4
    picks = find(volume * 0, volume, separation_factor=0.7)
    assert len(picks) == 1
