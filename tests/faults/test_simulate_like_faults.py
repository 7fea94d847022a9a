"""Tomograms that no recipe can be fitted to, and requests that make no sense."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from cryofind.errors import ConfigError, TomogramError
from cryofind.io import tomogram_zarr_path, write_tomogram_zarr
from cryofind.pipeline import simulate, simulate_like
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.measuring import MeasuredTomogram, collect_all_tomograms, measure_entry, refuse_mixed_spacings
from cryofind.pipeline.simulate import SimulationRequest
from cryofind.types import Tomogram, VoxelGrid
from tests.e2e.conftest import Run

SHAPE = (64, 72, 72)


def make_volume(shape_zyx: tuple[int, int, int] = SHAPE) -> NDArray[np.float32]:
    """Return dark blobs in noise."""
    random = np.random.default_rng(0)
    blobs = ndimage.gaussian_filter((random.random(shape_zyx) < 4e-4).astype(np.float32), 4.0)
    return np.asarray(-blobs / blobs.std() + 0.5 * random.standard_normal(shape_zyx), np.float32)


def write(folder: Path, volume: NDArray[np.float32], spacing_angstrom: float = 10.0, run: str = "T_1") -> Path:
    grid = VoxelGrid.isotropic(volume.shape, spacing_angstrom)
    path = tomogram_zarr_path(folder, run, spacing_angstrom, "wbp")
    write_tomogram_zarr(path, Tomogram(run, volume, grid, "wbp"))
    return path


def measure(path: Path, **selection: float) -> MeasuredTomogram:
    chosen = InputSelection(**selection)  # type: ignore[arg-type]
    (entry,) = collect_all_tomograms([path], chosen)
    return measure_entry(entry, chosen, usual_spacing_angstrom=10.0)


def test_constant(tmp_path: Path) -> None:
    with pytest.raises(TomogramError, match="has no contrast"):
        measure(write(tmp_path, np.full(SHAPE, 3.0, np.float32)))


@pytest.mark.parametrize("shape", [(63, 72, 72), (64, 40, 72), (64, 72, 30)])
def test_too_small(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    with pytest.raises(TomogramError, match="64 are needed along each axis"):
        measure(write(tmp_path, make_volume(shape)))


def test_many_nan(tmp_path: Path) -> None:
    volume = make_volume()
    volume[:20] = np.nan
    with pytest.raises(TomogramError, match="NaN"):
        measure(write(tmp_path, volume))


def test_few_nan_become_the_median(tmp_path: Path) -> None:
    volume = make_volume()
    volume[0, 0, :10] = np.nan
    vector = measure(write(tmp_path, volume)).measured.look.texture.vector()
    assert np.isfinite(vector[-10:]).all()


@pytest.mark.parametrize("spacing", [1.5, 60.0])
def test_voxels_of_an_unusable_size(tmp_path: Path, spacing: float) -> None:
    with pytest.raises(TomogramError, match="expected 3 to 40"):
        measure(write(tmp_path, make_volume(), spacing))


def test_voxels_of_another_size_are_worth_a_note(tmp_path: Path) -> None:
    found = measure(write(tmp_path, make_volume(), 6.0))
    assert any("changed to 6" in note for note in found.notes)
    assert found.measured.spacing_angstrom == 6.0


def test_bright_particles_are_inverted_with_a_note(tmp_path: Path) -> None:
    dark = measure(write(tmp_path / "dark", make_volume()))
    bright = measure(write(tmp_path / "bright", -make_volume()))
    assert any("bright" in note for note in bright.notes)
    assert dark.notes == ()
    np.testing.assert_allclose(bright.measured.look.texture.skewness, dark.measured.look.texture.skewness, atol=1e-3)


def test_tomograms_of_two_voxel_spacings(tmp_path: Path) -> None:
    first = measure(write(tmp_path, make_volume(), 10.0))
    second = measure(write(tmp_path, make_volume(), 8.0, run="T_2"))
    with pytest.raises(TomogramError, match="'T_2'"):
        refuse_mixed_spacings([first, second])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--out", "out", "--like", "nowhere"), "nowhere"),
        (("--like", "T"), "give either --out"),
        (("--save-recipe", "r.toml", "--seed", "3"), "--seed: not with --save-recipe"),
        (("--like", "T", "--save-recipe", "r.toml", "--out", "out"), "give either --out"),
        (("--like", "T", "--save-recipe", "r.txt"), "does not end in .toml"),
        (("--like", "T", "--out", "out", "--flavour", "raw"), "choose wbp"),
    ],
)
def test_requests(
    arguments: tuple[str, ...], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("simulate", *arguments)
    assert code == 2
    assert problem in err
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_files_is_refused_before_the_work(tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    tomogram = write(tmp_path / "in", make_volume())
    code, printed, err = run("simulate", "easy", "--like", tomogram, "--out", out)
    assert code == 2
    assert "holds other files" in err
    assert not printed


def test_more_than_the_memory_is_refused_before_the_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(_: object) -> None:
        pytest.fail("has begun to fit")

    monkeypatch.setattr(simulate, "read_free_bytes", lambda: 10**8)
    monkeypatch.setattr(simulate_like, "fit_to_tomograms", fit)
    like = simulate_like.LikeRequest((write(tmp_path / "in", make_volume()),))
    request = SimulationRequest(tmp_path / "out", "mine", runs=1, shape_zyx=(100, 200, 200))
    with pytest.raises(ConfigError, match=r"needs 0\.1 GB of memory for one run"):
        simulate_like.simulate_like(like, request)
    assert not (tmp_path / "out").exists()
