"""The measures of `benchmarks/realism` measure what they say, and still give the published numbers."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from cryofind.testing import write_phantom_project
from cryofind.types import Picks
from tests.benchmark_scripts import import_scripts

MODULES = ("measures", "draws", "picture", "runs", "reference", "sections", "compare")


@pytest.fixture(scope="module")
def realism() -> Iterator[SimpleNamespace]:
    """Return the benchmark's modules, which see each other as scripts of one folder do."""
    with import_scripts("realism", MODULES) as scripts:
        yield scripts


def noise(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(shape)


def test_white_noise_has_a_flat_spectrum_of_zero(realism: SimpleNamespace) -> None:
    spectra = [realism.measures.spectrum_bins(noise((423, 423), seed)) for seed in range(4)]
    assert np.abs(np.mean(spectra, axis=0)).max() < 0.15


@pytest.mark.parametrize("period_angstrom", [450.0, 150.0, 55.0])
def test_a_wave_shows_in_the_bin_of_its_frequency(realism: SimpleNamespace, period_angstrom: float) -> None:
    x = np.arange(423) * 14.9
    wave = np.cos(2 * np.pi * x / period_angstrom)[None, :] + 1e-6 * noise((300, 423))
    found = int(np.argmax(realism.measures.spectrum_bins(wave)))
    edges = 1 / np.geomspace(600, 40, 15)
    assert edges[found] <= 1 / period_angstrom < edges[found + 1]


def test_shares_left_out_belong_to_coarse_and_fine_waves(realism: SimpleNamespace) -> None:
    x = np.arange(423) * 14.9
    coarse, fine = (np.tile(np.cos(2 * np.pi * x / period), (423, 1)) for period in (1500.0, 33.0))
    assert realism.measures.scale_shares(coarse)[0] > 0.95
    assert realism.measures.scale_shares(fine)[1] > 0.95


@settings(max_examples=10, deadline=None)
@given(gain=st.floats(0.01, 1e4), offset=st.floats(-1e3, 1e3))
def test_no_measure_depends_on_the_grey_scale(realism: SimpleNamespace, gain: float, offset: float) -> None:
    one = noise((80, 90)) ** 2
    other = gain * one + offset
    measures = realism.measures
    np.testing.assert_allclose(measures.spectrum_bins(other), measures.spectrum_bins(one), atol=1e-5)
    np.testing.assert_allclose(measures.moments(other), measures.moments(one), rtol=1e-6)
    discs = [measures.disc_contrasts(image, [[400.0, 500.0]], 100.0, 14.9) for image in (one, other)]
    np.testing.assert_allclose(discs[0], discs[1], rtol=1e-6)


def test_moments_agree_with_scipy(realism: SimpleNamespace) -> None:
    skewed = noise((60, 70)) ** 3 + noise((60, 70), 1) ** 2
    expected = stats.skew(skewed, axis=None), stats.kurtosis(skewed, axis=None)
    np.testing.assert_allclose(realism.measures.moments(skewed), expected)


def test_difference_of_spectra_ignores_an_offset_and_high_bins(realism: SimpleNamespace) -> None:
    reference = noise((14,))
    changed = reference + 3.0
    changed[12:] += 5.0
    assert realism.measures.spectrum_difference(changed, reference, 12) == pytest.approx(0.0, abs=1e-12)
    changed[0] += 1.2  # of twelve: mean 0.1, mean square 0.12
    assert realism.measures.spectrum_difference(changed, reference, 12) == pytest.approx(np.sqrt(0.12 - 0.01))


def test_resampling_keeps_positions(realism: SimpleNamespace) -> None:
    """A ramp of y + 10 x in Angstrom still says where every pixel lies."""
    spacing = 10.012
    y, x = np.mgrid[:300, :256] * spacing
    resampled = realism.measures.resample_slice(y + 10 * x, spacing)
    rows, columns = np.mgrid[: resampled.shape[0], : resampled.shape[1]] * 14.9
    np.testing.assert_allclose(resampled, rows + 10 * columns, rtol=1e-9, atol=1e-6)
    assert (300 - 1) * spacing - 14.9 < rows.max() <= (300 - 1) * spacing


def test_averaged_planes_are_those_around_the_index(realism: SimpleNamespace) -> None:
    volume = (np.arange(9.0) ** 2)[:, None, None] * np.ones((9, 4, 4))
    assert realism.measures.average_planes(volume, 4, 3)[0, 0] == pytest.approx((9 + 16 + 25) / 3)
    assert realism.measures.average_planes(volume, 0, 3)[0, 0] == pytest.approx((0 + 1) / 2)


def test_disc_contrast_agrees_with_brute_force_and_keeps_the_axes_apart(realism: SimpleNamespace) -> None:
    one = noise((120, 160))
    y, x = np.mgrid[:120, :160] * 14.9
    disc = np.hypot(y - 600.0, x - 1800.0) <= 120.0
    one[disc] -= 4.0
    median = np.median(one)
    deviation = stats.median_abs_deviation(one, axis=None, scale="normal")
    (found, transposed) = realism.measures.disc_contrasts(one, [[600.0, 1800.0], [1700.0, 600.0]], 120.0, 14.9)
    assert found == pytest.approx((one[disc].mean() - median) / deviation, rel=1e-4)
    assert found < -3.5
    assert abs(transposed) < 0.5


def test_disc_beyond_the_frame_is_not_a_number(realism: SimpleNamespace) -> None:
    inside, outside = realism.measures.disc_contrasts(noise((50, 50)), [[0.0, 0.0], [5000.0, 0.0]], 60.0, 14.9)
    assert np.isfinite(inside)
    assert np.isnan(outside)


def make_column(depth: int = 40, spacing: float = 10.0) -> tuple[NDArray[np.float64], Picks]:
    """Return coarse noise with a column at y, x = 400, 900 Angstrom as dark as its plane's index; a pick in plane 6."""
    blocks = np.kron(noise((12, 12)), np.ones((10, 10)))  # coarse: resampling leaves their spread alone
    median, deviation = np.median(blocks), stats.median_abs_deviation(blocks, axis=None, scale="normal")
    volume = np.repeat((blocks[None] - median) / deviation, depth, axis=0)
    y, x = np.mgrid[:120, :120] * spacing
    volume[:, np.hypot(y - 400, x - 900) <= 100] = -np.arange(depth)[:, None]
    return volume, Picks.build("R", "apo-ferritin", [[6 * spacing, 400.0, 900.0]])


def test_contrasts_measure_the_picks_within_reach(realism: SimpleNamespace) -> None:
    volume, picks = make_column()
    near = realism.measures.contrasts(volume, picks, 10, 10.0)
    assert near["apo-ferritin"] == pytest.approx([-10.0], rel=0.08)
    assert realism.measures.contrasts(volume, picks, 20, 10.0) == {}


def test_contrast_at_an_offset_is_taken_from_that_plane(realism: SimpleNamespace) -> None:
    """Plane 6 + 4; plane 6 - 8 lies beyond the volume, so its mirror 6 + 8 stands for it."""
    volume, picks = make_column()
    offsets = {"apo-ferritin": np.array([40.0, -30.0, -80.0]), "ribosome": np.array([0.0])}
    tables = realism.draws.measure_at_offsets(volume, picks, 10.0, offsets)
    np.testing.assert_allclose(tables["apo-ferritin"], [[-10.0, -3.0, -14.0]], rtol=0.08)
    assert tables["ribosome"].shape == (0, 1)


def test_draws_take_different_particles_of_one_run(realism: SimpleNamespace) -> None:
    """Three particles for three offsets: whatever the order, the mean over all of them; runs are never mixed."""
    tables = [np.tile([[-1.0], [-2.0], [-3.0]], 3), np.tile([[-5.0], [-6.0], [-7.0]], 3), np.zeros((0, 3))]
    real = np.array([-4.0, -4.1, -3.9])
    result = realism.draws.compare_contrasts("ribosome", real, tables, np.random.default_rng(0))
    assert (result.low, result.high) == (-6.0, -2.0)
    assert result.is_within
    assert result.count == 3
    assert 0.4 < result.share_below < 0.6
    darker = realism.draws.compare_contrasts("ribosome", real - 2.5, tables, np.random.default_rng(0))
    assert not darker.is_within


def test_draws_of_nothing_are_none(realism: SimpleNamespace) -> None:
    empty = [np.zeros((0, 2))]
    assert realism.draws.compare_contrasts("ribosome", np.zeros(2), empty, np.random.default_rng(0)) is None


def test_slices_are_cut_within_the_layer_of_particles(realism: SimpleNamespace) -> None:
    heights = np.linspace(300, 900, 101)
    picks = Picks.build("R", "ribosome", np.stack([heights, heights, heights], axis=1))
    assert realism.runs.choose_depths(picks, 10.0, 184, 3) == [51, 60, 69]
    assert realism.runs.choose_depths(picks, 10.0, 184, 1) == [60]
    assert realism.runs.choose_depths(Picks.empty(), 10.0, 101, 1) == [50]


def test_the_real_row_is_reproduced(realism: SimpleNamespace, shared_data: Path) -> None:
    real = realism.measures.real_reference()
    counts = {name: len(values) for name, values in real.contrasts.items()}
    assert counts == {
        "apo-ferritin": 3,
        "beta-amylase": 2,
        "beta-galactosidase": 2,
        "ribosome": 7,
        "thyroglobulin": 3,
    }
    check = realism.reference.compare_rows("real", realism.reference.measure_real(real))
    assert check.holds, check


def test_the_external_row_is_reproduced(realism: SimpleNamespace, shared_data: Path) -> None:
    tomogram, picks = realism.reference.open_external(shared_data, "denoised")
    row = realism.reference.measure_external(tomogram, picks, realism.measures.real_reference())
    check = realism.reference.compare_rows("EXT_1 denoised", row)
    assert check.holds, check
    wrong = realism.reference.compare_rows("EXT_1 filtered", row)
    assert not wrong.holds


def test_missing_reference_data_are_named(
    realism: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYOFIND_SHARED", str(tmp_path))
    with pytest.raises(realism.measures.ReferenceMissing, match="CRYOFIND_SHARED"):
        realism.measures.find_reference_data()


@pytest.mark.slow
def test_a_project_is_compared(
    realism: SimpleNamespace,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = write_phantom_project(tmp_path / "project", runs=["A", "B"], shape_zyx=(64, 256, 256))
    monkeypatch.setattr(sys, "argv", ["compare.py", str(config), "--out", str(tmp_path / "out")])
    assert realism.compare.main() == 0
    numbers = json.loads((tmp_path / "out" / "realism.json").read_text("utf-8"))
    assert numbers["verdicts"]["reproduces real"]
    assert len(numbers["spectrum"]["rms_12_bins_by_slice"]) == 6
    assert {result["name"] for result in numbers["contrasts"]} >= {"ribosome", "apo-ferritin"}
    assert (tmp_path / "out" / "realism.png").stat().st_size > 10_000
    assert "(c) Contrast" in capsys.readouterr().out
