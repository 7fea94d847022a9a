"""Maps, atomic models and names of bodies that cannot be used."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cryofind.errors import ConfigError, TomogramError
from cryofind.io import read_tomogram
from cryofind.io.structures import read_structure
from cryofind.simulate.densities import body_from_atoms, body_from_map, load_body
from tests.faults.mrc_bytes import build_mrc

ATOM = "ATOM      1  CA  ALA A   1       1.000   2.000   3.000  1.00  0.00           C\n"


def ball() -> NDArray[np.float32]:
    squares = np.square(np.indices((24, 24, 24)) - 11.5).sum(axis=0)
    return np.asarray(np.exp(-squares / 30), dtype=np.float32)


def test_an_unknown_body_gets_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'apo-ferritin'"):
        load_body("apoferritin")


def with_nan() -> NDArray[np.float32]:
    density = ball()
    density[3, 4, 5] = np.nan
    return density


@pytest.mark.parametrize(
    ("density", "mass_kilodalton", "message"),
    [
        (np.zeros((8, 8, 8)), 100.0, "species x: body: is an empty map"),
        (np.full((8, 8, 8), 3.5), 100.0, "species x: body: is an empty map"),
        (with_nan(), 100.0, "species x: body: is a map with voxels that are not finite"),
        (-ball(), 100.0, "darker than its surroundings; multiply the map by -1"),
        (ball()[0], 100.0, r"species x: body: is a map of shape \(24, 24\)"),
        (ball()[:1], 100.0, r"species x: body: is a map of shape \(1, 24, 24\)"),
        (ball().astype(np.complex64), 100.0, "complex64, expected a volume of real numbers"),
        (ball(), 150_000.0, "species x: mass_kilodalton: is 150000, .* give the mass in kilodalton"),
        (ball(), 0.0, "species x: mass_kilodalton: is 0"),
    ],
)
def test_maps_that_are_refused(density: NDArray[np.float32], mass_kilodalton: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        body_from_map("x", density, 8.0, mass_kilodalton=mass_kilodalton)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint8, np.float16])
def test_maps_of_any_real_type_are_taken(dtype: type) -> None:
    body = body_from_map("x", (100 * ball()).astype(dtype), 8.0, mass_kilodalton=100.0, bead_count=4)
    assert body.mass_kilodalton == pytest.approx(100.0)


@pytest.mark.parametrize("fields", [{"cella_x": 0, "cella_y": 0, "cella_z": 0}, {"mx": 0, "my": 0, "mz": 0}])
def test_a_map_without_voxel_size_is_refused_by_name(tmp_path: Path, fields: dict[str, float]) -> None:
    path = tmp_path / "molecule.mrc"
    path.write_bytes(build_mrc(ball(), fields))
    with pytest.raises(TomogramError, match=r"molecule\.mrc: voxel size: .*give it in Angstrom"):
        read_tomogram(path)


@pytest.mark.parametrize(
    ("positions", "masses"),
    [
        (np.zeros((0, 3)), np.zeros(0)),
        (np.zeros((2, 3)), np.zeros(2)),
        (np.array([[0.0, np.nan, 0.0]]), np.ones(1)),
        (np.zeros((1, 3)), np.array([np.inf])),
    ],
)
def test_atoms_that_are_refused(positions: NDArray[np.float64], masses: NDArray[np.float64]) -> None:
    with pytest.raises(ConfigError, match="species x: body: has no atoms with finite"):
        body_from_atoms("x", positions, masses)


def test_atoms_that_lie_kilometres_apart_cost_a_line_and_no_memory() -> None:
    positions = np.array([[0.0, 0.0, 0.0], [1e9, 1e9, 1e9]])
    with pytest.raises(ConfigError, match="species x: body: spans"):
        body_from_atoms("x", positions, np.full(2, 12.0))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("empty.pdb", "", "has no atoms"),
        ("words.pdb", "this is not a structure\n" * 5, "has no atoms"),
        ("water.pdb", ATOM.replace("ALA", "HOH"), "has no atoms"),
        ("empty.cif", "", "has no atoms|cannot be read as a PDB or mmCIF file"),
        ("words.cif", "this is not a structure\n", "cannot be read as a PDB or mmCIF file"),
        ("other.cif", "data_x\n_cell.length_a 10\n", "has no atoms"),
    ],
)
def test_structures_that_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    pytest.importorskip("gemmi")
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_structure(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_binary_garbage_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("gemmi")
    for suffix in (".pdb", ".cif"):
        path = tmp_path / f"garbage{suffix}"
        path.write_bytes(np.random.default_rng(0).bytes(5000))
        with pytest.raises(ConfigError, match=r"has no atoms|cannot be read"):
            read_structure(path)


def test_missing_folder_and_pipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read_structure(tmp_path / "none.pdb")
    with pytest.raises(ConfigError, match="is a folder"):
        read_structure(tmp_path)
    os.mkfifo(tmp_path / "pipe.pdb")
    with pytest.raises(ConfigError, match="is a pipe"):
        read_structure(tmp_path / "pipe.pdb")


def test_without_gemmi_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pdb"
    path.write_text(ATOM)
    monkeypatch.setitem(sys.modules, "gemmi", None)
    with pytest.raises(ConfigError, match=r"gemmi, which is not installed; .*pip install 'cryofind\[structures\]'"):
        read_structure(path)
