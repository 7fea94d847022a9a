"""Our contrast transfer function against torch-ctf, an independent implementation."""

import numpy as np
import pytest

from cryofind.simulate.ctf import Optics, ctf_2d, electron_wavelength_angstrom

torch_ctf = pytest.importorskip("torch_ctf")


@pytest.mark.parametrize("defocus_micrometre", [0.8, 3.0, 5.0])
@pytest.mark.parametrize(
    ("optics", "spacing_angstrom"),
    [(Optics(), 10.012), (Optics(300, 2.7, 0.1), 4.0), (Optics(200, 2.0, 0.07), 10.0), (Optics(120, 0.01, 0.0), 6.0)],
)
@pytest.mark.parametrize("shape_yx", [(64, 64), (31, 50), (48, 33)])
def test_ctf_agrees_with_torch_ctf(
    defocus_micrometre: float, optics: Optics, spacing_angstrom: float, shape_yx: tuple[int, int]
) -> None:
    theirs = torch_ctf.calculate_ctf_2d(
        defocus=defocus_micrometre,
        astigmatism=0.0,
        astigmatism_angle=0.0,
        voltage=optics.voltage_kilovolts,
        spherical_aberration=optics.spherical_aberration_millimetre,
        amplitude_contrast=optics.amplitude_contrast,
        phase_shift=0.0,
        pixel_size=spacing_angstrom,
        image_shape=shape_yx,
        rfft=True,
        fftshift=False,
    )
    ours = ctf_2d(shape_yx, spacing_angstrom, defocus_micrometre, optics)
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-4)


@pytest.mark.parametrize("voltage_kilovolts", [100.0, 200.0, 300.0])
def test_wavelength_agrees_with_torch_ctf(voltage_kilovolts: float) -> None:
    theirs = torch_ctf.calculate_relativistic_electron_wavelength(voltage_kilovolts * 1e3)
    assert electron_wavelength_angstrom(voltage_kilovolts) == pytest.approx(float(theirs) * 1e10, rel=1e-5)
