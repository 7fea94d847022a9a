"""The viewer in a real browser: what is drawn, and where."""

import io
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cryofind.types import VoxelGrid
from cryofind.view import GreyVolume, Particles, Probability, Scene, ViewServer, open_server
from tests.browser.chromium import FLAGS, find_browser

WEBGL_FLAGS = (
    "--headless",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
PATIENCE_SECONDS = 60

GRID = VoxelGrid((32, 64, 96), (10.0, 10.0, 10.0))
NAME = '"); discard; //<script>'
COLOR = (213, 94, 0)
RADIUS_ANGSTROM = 80.0
SIZE = (480, 320)
PIXELS_PER_VOXEL = 5.0
# Index zyx of a particle, and of another with a lower score; not symmetric in any axis.
SURE, UNSURE = (16, 24, 30), (16, 44, 70)

Pixels = NDArray[np.int64]


def tomogram() -> GreyVolume:
    """Return grey voxels with a black cube of 5 voxels at the first particle."""
    values = np.full(GRID.shape_zyx, 160, np.uint8)
    z, y, x = SURE
    values[z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3] = 0
    return GreyVolume(values, GRID, (0, 255))


def probability() -> Probability:
    """Return a coarse volume whose one cell that is not 0 holds the voxels 24 and 25, 20 and 21, 40 and 41 of zyx."""
    grid = GRID.coarsened(2)
    values = np.zeros(grid.shape_zyx, np.uint8)
    values[8, 10, 20] = 255
    return Probability("cloud", (0, 255, 0), values, grid)


def scene() -> Scene:
    positions = GRID.positions_from_indices([SURE, UNSURE])
    picks = Particles(NAME, COLOR, RADIUS_ANGSTROM, positions, np.array([0.75, 0.25]), threshold=0.5)
    truth = Particles(NAME, (0, 0, 255), RADIUS_ANGSTROM, positions[:1], np.ones(1))
    return Scene("test", tomogram(), (picks,), (truth,), (probability(),))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViewServer]:
    """Return a viewer with a browser that looks at it."""
    browser = find_browser()
    flags = [*FLAGS, *WEBGL_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"]
    if os.getuid() == 0:
        flags.append("--no-sandbox")
    with open_server() as server:
        server.show(scene())
        child = subprocess.Popen([browser, *flags, server.url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield server
        finally:
            child.terminate()
            child.wait(PATIENCE_SECONDS)


def look(server: ViewServer, path: Path, *, hidden: tuple[str, ...] = (), shown: tuple[str, ...] = ()) -> Pixels:
    """Return the xy slice through the first particle as pixels (row, column, rgb), with the middle at voxel 48, 32."""
    with server.viewer.txn() as state:
        state.layout = "xy"
        state.position = [GRID.shape_zyx[2] / 2, GRID.shape_zyx[1] / 2, SURE[0] + 0.5]
        state.cross_section_scale = 1 / PIXELS_PER_VOXEL
        state.show_axis_lines = state.show_scale_bar = state.show_default_annotations = False
        state.selected_layer.visible = False
        for layer in state.layers:
            layer.visible = layer.name not in hidden and (layer.name != "probability cloud" or layer.name in shown)
    return take(server, path)


def take(server: ViewServer, path: Path) -> Pixels:
    """Return a screenshot, which is taken when everything has been drawn; it stays at `path`."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(server.viewer.screenshot(size=list(SIZE))), daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert answers, "the browser has drawn nothing"
    path.write_bytes(answers[0].screenshot.image)
    with Image.open(io.BytesIO(answers[0].screenshot.image)) as image:
        return np.asarray(image.convert("RGB")).astype(np.int64)


def voxels_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return middle and size of what a mask of pixels covers, in voxels y, x."""
    rows_columns = np.argwhere(mask)
    assert len(rows_columns), "nothing of it is in the picture"
    low, high = rows_columns.min(axis=0), rows_columns.max(axis=0) + 1
    from_middle = (low + high) / 2 - np.array(SIZE[::-1]) / 2
    middle = from_middle / PIXELS_PER_VOXEL + np.array(GRID.shape_zyx[1:]) / 2
    return middle - 0.5, (high - low) / PIXELS_PER_VOXEL


def is_near(pixels: Pixels, color: tuple[int, int, int], tolerance: int = 12) -> NDArray[np.bool_]:
    return np.asarray(np.abs(pixels - np.array(color)).max(axis=-1) <= tolerance)


def set_controls(server: ViewServer, **values: float) -> None:
    with server.viewer.txn() as state:
        for control, value in values.items():
            state.layers[NAME].shader_controls[control] = value


def test_voxels_picks_truth_and_probability_lie_at_the_same_places(server: ViewServer, tmp_path: Path) -> None:
    truth = f"truth {NAME}"
    plain = look(server, tmp_path / "plain.png", hidden=(NAME, truth))
    assert is_near(plain, (160, 160, 160)).mean() > 0.5
    middle, size = voxels_of(is_near(plain, (0, 0, 0)) & inside(plain))
    np.testing.assert_allclose(middle, SURE[1:], atol=0.2)
    np.testing.assert_allclose(size, 5, atol=0.3)

    set_controls(server, opacity=1.0)
    disc = is_near(look(server, tmp_path / "picks.png", hidden=(truth,)), COLOR)
    middle, size = voxels_of(disc)
    np.testing.assert_allclose(middle, SURE[1:], atol=0.2)
    np.testing.assert_allclose(size, 2 * RADIUS_ANGSTROM / 10, atol=0.5)
    assert disc.sum() == pytest.approx(np.pi / 4 * (16 * PIXELS_PER_VOXEL) ** 2, rel=0.05)  # round, and one of the two

    pixels = look(server, tmp_path / "truth.png", hidden=(NAME,))
    frame = is_near(pixels, (128, 128, 255))
    middle, size = voxels_of(frame)
    np.testing.assert_allclose(middle, SURE[1:], atol=0.3)
    np.testing.assert_allclose(size, 2 * RADIUS_ANGSTROM / 10, atol=0.8)
    assert frame.sum() < 0.2 * disc.sum()  # open

    pixels = look(server, tmp_path / "probability.png", hidden=(NAME, truth), shown=("probability cloud",))
    middle, size = voxels_of((pixels[..., 1] - pixels[..., 0]) > 40)
    np.testing.assert_allclose(middle, [20.5, 40.5], atol=0.2)
    np.testing.assert_allclose(size, 2, atol=0.3)


def inside(pixels: Pixels) -> NDArray[np.bool_]:
    """Say which pixels show the tomogram."""
    rows, columns = np.indices(pixels.shape[:2])
    half_height, half_width = (np.array(GRID.shape_zyx[1:]) * PIXELS_PER_VOXEL / 2 - 2).astype(int)
    return np.asarray((abs(rows - SIZE[1] / 2) < half_height) & (abs(columns - SIZE[0] / 2) < half_width))


def test_the_slider_shows_what_scores_less(server: ViewServer, tmp_path: Path) -> None:
    set_controls(server, opacity=1.0, minimum_score=0.5)
    few = is_near(look(server, tmp_path / "few.png", hidden=(f"truth {NAME}",)), COLOR)
    set_controls(server, minimum_score=0.2)
    many = is_near(take(server, tmp_path / "many.png"), COLOR)
    assert many.sum() == pytest.approx(2 * few.sum(), rel=0.05)
    middle, _ = voxels_of(many & ~few)
    np.testing.assert_allclose(middle, UNSURE[1:], atol=0.3)
    set_controls(server, minimum_score=0.8)
    assert not is_near(take(server, tmp_path / "none.png"), COLOR).any()
