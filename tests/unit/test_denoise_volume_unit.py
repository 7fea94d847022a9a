"""A denoiser over whole volumes and in boxes."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cryofind.errors import ConfigError, ModelError, TomogramError
from cryofind.models.denoiser import Denoiser, DenoisingUNet
from cryofind.predict import denoise
from cryofind.predict.denoise import MAX_BOX_VOXELS, denoise_volume
from tests.tiny_denoisers import make_halves, randomize

CASES = [((4,), (12, 40, 34), (4, 6, 8)), ((4, 6), (15, 112, 21), (8, 16, 12)), ((4, 4, 4), (8, 13, 140), (8, 8, 24))]


def _denoise(
    denoiser: Denoiser, half1: NDArray[Any], half2: NDArray[Any], *, precision: Any = "float32", **options: Any
) -> NDArray[np.float32]:
    return denoise_volume(denoiser, half1, half2, device="cpu", precision=precision, **options)


@pytest.fixture
def denoiser() -> Denoiser:
    return Denoiser(randomize(DenoisingUNet((4, 6))))


@pytest.mark.parametrize(("widths", "shape", "box"), CASES)
def test_boxes_leave_no_trace(
    widths: tuple[int, ...], shape: tuple[int, int, int], box: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    denoiser = Denoiser(randomize(DenoisingUNet(widths)))
    _, half1, half2 = make_halves(shape, seed=1)
    whole = _denoise(denoiser, half1, half2)
    np.testing.assert_allclose(_denoise(denoiser, half1, half2, box_zyx=box), whole, rtol=0, atol=1e-5 * whole.std())
    # with half the surroundings they do
    short = denoiser.network.reach_voxels // 2
    monkeypatch.setattr(DenoisingUNet, "reach_voxels", short)
    assert np.abs(_denoise(denoiser, half1, half2, box_zyx=box) - whole).max() > 1e-4 * whole.std()


def test_the_result_is_the_mean_over_the_halves(denoiser: Denoiser) -> None:
    _, half1, half2 = make_halves((8, 12, 12), seed=1)
    swapped = _denoise(denoiser, half2, half1)
    both = _denoise(denoiser, half1, half2)
    np.testing.assert_allclose(both, swapped, rtol=0, atol=1e-5)
    denoiser.network.gain.data.fill_(1)
    for parameter in (denoiser.network.head.weight, denoiser.network.head.bias):
        assert parameter is not None
        parameter.data.fill_(0)
    np.testing.assert_allclose(_denoise(denoiser, half1, half2), (half1 + half2) / 2, rtol=0, atol=1e-5)


def test_the_grey_scale_of_the_halves_stays(denoiser: Denoiser) -> None:
    _, half1, half2 = make_halves((8, 24, 24), seed=1)
    plain = _denoise(denoiser, half1, half2)
    changed = _denoise(denoiser, 1e-6 * half1 - 3e-6, 1e-6 * half2 - 3e-6)
    np.testing.assert_allclose(changed, 1e-6 * plain - 3e-6, rtol=0, atol=1e-5 * changed.std())


def test_a_gold_bead_stays_and_hides_nothing(denoiser: Denoiser) -> None:
    _, half1, half2 = make_halves((16, 64, 64), seed=1)
    plain = _denoise(denoiser, half1, half2)
    half1[8, 8, 8] = half2[8, 8, 8] = -500
    beaded = _denoise(denoiser, half1, half2)
    assert beaded[8, 8, 8] == pytest.approx(-500, abs=50)
    np.testing.assert_allclose(beaded[:, 40:, 40:], plain[:, 40:, 40:], rtol=0, atol=0.01 * plain.std())


def test_bfloat16_is_near_float32(denoiser: Denoiser) -> None:
    _, half1, half2 = make_halves((8, 24, 24), seed=1)
    plain = _denoise(denoiser, half1, half2)
    difference = _denoise(denoiser, half1, half2, precision="bf16") - plain
    assert 0 < difference.std() < 0.02 * plain.std()


def test_the_same_halves_give_the_same_bytes(denoiser: Denoiser) -> None:
    _, half1, half2 = make_halves((16, 24, 24), seed=1)
    first, second = (_denoise(denoiser, half1, half2, box_zyx=(8, 8, 8), precision="auto") for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("dtype", [np.int16, np.float16, np.float64, ">f4"])
def test_other_number_types_are_read(denoiser: Denoiser, dtype: Any) -> None:
    _, half1, half2 = make_halves((8, 12, 12), seed=1)
    half1, half2 = (np.rint(100 * half).astype(dtype) for half in (half1, half2))
    for half in (half1, half2):
        half.flags.writeable = False
    found = _denoise(denoiser, half1, half2)
    assert found.dtype == np.float32
    expected = _denoise(denoiser, half1.astype(np.float32), half2.astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.std())


def test_volumes_smaller_than_a_cell_are_denoised(denoiser: Denoiser) -> None:
    _, half1, half2 = make_halves((1, 3, 5), seed=1)
    assert np.isfinite(_denoise(denoiser, half1, half2)).all()


@pytest.mark.parametrize("shape", [(184, 630, 630), (96, 256, 256), (512, 1440, 1024), (8, 8, 10**5)])
def test_large_volumes_are_cut_into_boxes_that_fit(shape: tuple[int, int, int]) -> None:
    network = DenoisingUNet()
    multiple, reach = network.size_multiple, network.reach_voxels
    box = denoise._choose_box(shape, None, multiple, reach)
    assert all(size % multiple == 0 for size in box)
    widest = [
        max(end - max(start - reach, 0) for start, end in denoise._cut_axis(length, size)) + reach
        for length, size in zip(shape, box, strict=True)
    ]
    voxels = np.prod([min(size, length) for size, length in zip(widest, shape, strict=True)])
    assert voxels <= MAX_BOX_VOXELS
    if np.prod(shape) <= 0.9 * MAX_BOX_VOXELS:
        assert all(size >= length for size, length in zip(box, shape, strict=True))


def test_spans_cover_every_voxel_once() -> None:
    spans = denoise._cut_axis(630, 320)
    assert spans == [(0, 320), (320, 630)]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"box_zyx": (8, 8, 6)}, "box_zyx: is"),
        ({"box_zyx": (0, 8, 8)}, "box_zyx: is"),
        ({"device": "abacus"}, "predict.device"),
    ],
)
def test_settings_out_of_range_are_refused(denoiser: Denoiser, options: dict[str, Any], problem: str) -> None:
    _, half1, half2 = make_halves((8, 8, 8), seed=1)
    with pytest.raises(ConfigError, match=problem):
        denoise_volume(denoiser, half1, half2, **{"device": "cpu", **options})


def test_halves_that_do_not_fit_are_refused(denoiser: Denoiser) -> None:
    _, half1, half2 = make_halves((8, 8, 8), seed=1)
    with pytest.raises(TomogramError, match="shapes"):
        _denoise(denoiser, half1, half2[:, :-1])
    half2[3, 3, 3] = np.nan
    with pytest.raises(TomogramError, match="half volume 2: holds NaN"):
        _denoise(denoiser, half1, half2)


def test_output_that_is_not_finite_is_refused(denoiser: Denoiser) -> None:
    denoiser.network.gain.data.fill_(float("inf"))
    _, half1, half2 = make_halves((8, 8, 8), seed=1)
    with pytest.raises(ModelError, match="not finite"):
        _denoise(denoiser, half1, half2)
