"""The picture of picks: read back as pixels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cryofind import czii
from cryofind.errors import OutputError
from cryofind.report import draw_slices
from cryofind.report.colors import MISSED_COLOR
from cryofind.report.picture import _crowded_indices, _Mark
from cryofind.testing import make_phantom
from cryofind.types import ParticleSpec, Picks, Tomogram, VoxelGrid

GRID = VoxelGrid.isotropic((24, 64, 64), 10.0)
RED = ParticleSpec("red-one", 60.0, 1, (213, 94, 0, 255))


def empty_tomogram() -> Tomogram:
    return Tomogram("TS_1", np.zeros(GRID.shape_zyx, np.float32), GRID)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def count(pixels: np.ndarray, color: tuple[int, ...]) -> int:
    return int((np.abs(pixels - np.array(color[:3])).max(axis=-1) < 30).sum())


def test_circle_lies_around_its_dark_voxels(tmp_path: Path) -> None:
    volume = np.ones(GRID.shape_zyx, np.float32)
    volume[12, 20:23, 40:43] = 0.0  # centre 12, 21, 41
    pick = Picks.build("TS_1", "red-one", GRID.positions_from_indices([[12, 21, 41]]))
    draw_slices(Tomogram("TS_1", volume, GRID), pick, [RED], tmp_path / "a.png", slices=1)
    panel = read(tmp_path / "a.png")[68 : 68 + 514, 14 : 14 + 514]  # below heading and title
    ring = np.argwhere(np.abs(panel - np.array(RED.color[:3])).max(axis=-1) < 40)
    expected = (np.array([21, 41]) + 0.5) * 514 / 64
    np.testing.assert_allclose((ring.min(axis=0) + ring.max(axis=0)) / 2, expected, atol=1.5)
    radius = (ring.max(axis=0) - ring.min(axis=0)) / 2
    np.testing.assert_allclose(radius, 60.0 / 640.0 * 514, atol=4)


def test_positions_count_from_the_origin_of_the_grid(tmp_path: Path) -> None:
    moved = VoxelGrid(GRID.shape_zyx, GRID.spacing_zyx_angstrom, (500.0, -200.0, 1000.0))
    volume = np.random.default_rng(0).standard_normal(GRID.shape_zyx).astype(np.float32)
    panels = []
    for name, grid in (("a.png", GRID), ("b.png", moved)):
        pick = Picks.build("TS_1", "red-one", grid.positions_from_indices([[12, 21, 41], [5, 50, 30]]))
        draw_slices(Tomogram("TS_1", volume, grid), pick, [RED], tmp_path / name, slices=1)
        panels.append(read(tmp_path / name)[68 : 68 + 514, 14 : 14 + 514])
    np.testing.assert_array_equal(panels[0], panels[1])


def test_page_is_at_most_1600_wide_and_shows_the_verdicts(tmp_path: Path) -> None:
    phantom = make_phantom(seed=1, shape_zyx=(48, 128, 128), crowding=10.0)
    truth = phantom.picks
    found = Picks.concatenate(
        [truth.where(np.arange(len(truth)) % 2 == 0), Picks.build("PHANTOM_0", "ribosome", [[240, 640, 640]])]
    )
    draw_slices(phantom.tomogram, found, czii.OBJECTS, tmp_path / "with.png", truth=truth)
    draw_slices(phantom.tomogram, truth, czii.OBJECTS, tmp_path / "without.png")
    with_truth, without = read(tmp_path / "with.png"), read(tmp_path / "without.png")
    assert with_truth.shape[1] <= 1600
    assert count(with_truth, MISSED_COLOR) > 100
    assert count(without, MISSED_COLOR) == 0
    assert count(without, czii.OBJECTS[3].color) > count(with_truth, czii.OBJECTS[3].color)


def test_same_input_same_picture(tmp_path: Path) -> None:
    picks = Picks.build("TS_1", "red-one", [[120, 300, 300]])
    for name in ("a.png", "b.png"):
        draw_slices(empty_tomogram(), picks, [RED], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_only_selected_picks_of_the_run_are_drawn(tmp_path: Path) -> None:
    points = [[120, 300, 300]] * 2
    others = Picks.build(["TS_1", "TS_2"], "red-one", points, selected=[False, True])
    draw_slices(empty_tomogram(), others, [RED], tmp_path / "a.png", slices=1)
    draw_slices(empty_tomogram(), Picks.empty(), [RED], tmp_path / "b.png", slices=1)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), read(tmp_path / "b.png"))


@pytest.mark.parametrize("slices", [1, 2, 5, 40])
def test_any_number_of_slices(tmp_path: Path, slices: int) -> None:
    volume = np.full((9, 16, 40), np.nan, np.float32)
    tomogram = Tomogram("TS_1", volume, VoxelGrid.isotropic(volume.shape, 700.0))
    membrane = ParticleSpec("membrane", None, 2, is_particle=False)
    draw_slices(tomogram, Picks.empty(), [RED, membrane], tmp_path / "a.png", slices=slices)
    assert read(tmp_path / "a.png").shape[1] <= 1600


def test_depths_are_where_picks_are_and_apart() -> None:
    depths = [100.0, 105.0, 95.0, 400.0, 402.0, 700.0]
    marks = [_Mark(np.array([z, 0.0, 0.0]), 50.0, (0, 0, 0), "matched") for z in depths]
    chosen = _crowded_indices(marks, 0, VoxelGrid.isotropic((80, 8, 8), 10.0), 2)
    assert len(chosen) == 2
    assert abs(chosen[0] - 10) <= 3
    assert abs(chosen[1] - 40) <= 3
    assert _crowded_indices([], 0, VoxelGrid.isotropic((81, 8, 8), 10.0), 1) == [40]


def test_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="slices"):
        draw_slices(empty_tomogram(), Picks.empty(), [RED], tmp_path / "a.png", slices=0)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        draw_slices(empty_tomogram(), Picks.empty(), [RED], tmp_path / "file" / "a.png")
