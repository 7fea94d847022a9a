"""The shipped bodies against the density maps that they were fitted to."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from cryofind.simulate.densities import load_body

REPOSITORY = Path(__file__).resolve().parents[2]
WITH_MAP = {
    "apo-ferritin": 0.97,
    "beta-galactosidase": 0.97,
    "ribosome": 0.97,
    "thyroglobulin": 0.97,
    "virus-like-particle": 0.955,
}
# Inside the particle: above this share of the density of its typical voxel.
LEAST_SHARE = 0.1


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("fit_bodies", REPOSITORY / "recipes" / "fit_bodies.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["fit_bodies"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


def find_target(script: ModuleType, name: str) -> object:
    return next(target for target in script.TARGETS if target.name == name)


def correlate(name: str, density_zyx: NDArray[np.float64], spacing_angstrom: float) -> float:
    """Correlation of the rendered beads with the map over the voxels of the particle."""
    inside = density_zyx > LEAST_SHARE * np.median(density_zyx[density_zyx > 0.1 * density_zyx.max()])
    kept = np.where(inside, density_zyx, 0.0)
    places = (np.argwhere(inside) - np.array(ndimage.center_of_mass(kept))) * spacing_angstrom
    body = load_body(name)
    squares = np.square(places[:, None, :] - body.centers_zyx_angstrom).sum(axis=2)
    rendered = np.exp(-squares / (2 * body.sigma_angstrom**2)) @ body.masses_kilodalton
    return float(np.corrcoef(rendered, density_zyx[inside])[0, 1])


@pytest.mark.parametrize("name", WITH_MAP)
def test_beads_correlate_with_their_map(name: str, shared_data: Path, script: ModuleType) -> None:
    density, spacing = script.read_map(shared_data / "densities" / "targets", find_target(script, name))
    correlation = correlate(name, density, spacing)
    assert correlation >= WITH_MAP[name]
    # The orientation is the map's: turned over or mirrored, only the shells still look alike.
    if name not in ("apo-ferritin", "virus-like-particle"):
        assert correlate(name, density[::-1], spacing) < 0.9
        assert correlate(name, density.transpose(2, 1, 0), spacing) < 0.9


def test_beta_amylase_correlates_with_its_construction(script: ModuleType) -> None:
    assert correlate("beta-amylase", script.build_amylase(), script.AMYLASE_SPACING_ANGSTROM) > 0.99


def test_the_script_writes_what_is_shipped(shared_data: Path, script: ModuleType) -> None:
    body = script.fit(find_target(script, "apo-ferritin"), shared_data / "densities" / "targets")
    shipped = load_body("apo-ferritin")
    assert body.sigma_angstrom == pytest.approx(shipped.sigma_angstrom, abs=0.02)
    np.testing.assert_allclose(body.centers_zyx_angstrom, shipped.centers_zyx_angstrom, atol=0.15)
    np.testing.assert_allclose(body.masses_kilodalton, shipped.masses_kilodalton, rtol=0.02)
    assert body.core_radius_angstrom == shipped.core_radius_angstrom


def test_the_masses_are_those_of_the_maps(shared_data: Path, script: ModuleType) -> None:
    # 28.5 units of the maps are a kilodalton; thyroglobulin's map lacks a fifth, ferritin's some of its chains' ends.
    for name, share in (("apo-ferritin", 0.93), ("beta-galactosidase", 1.0), ("ribosome", 1.0),
                        ("thyroglobulin", 0.80), ("virus-like-particle", 0.99)):  # fmt: skip
        density, _ = script.read_map(shared_data / "densities" / "targets", find_target(script, name))
        assert density.sum() / 28.5 == pytest.approx(share * load_body(name).mass_kilodalton, rel=0.015), name
