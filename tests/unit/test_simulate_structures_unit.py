"""Atomic models: axes, assemblies, hydrogens, nucleic acid."""

from pathlib import Path

import numpy as np
import pytest

from cryofind.io.structures import NUCLEIC_WITH_HYDROGEN, PROTEIN_WITH_HYDROGEN, STRUCTURE_SUFFIXES, read_structure
from cryofind.simulate.densities import body_from_atoms

pytest.importorskip("gemmi")

CARBON, PHOSPHORUS = 12.0107, 30.973761


def pdb_atom(
    number: int, name: str, residue: str, xyz: tuple[float, float, float], element: str, occupancy: float = 1.0
) -> str:
    x, y, z = xyz
    return (
        f"ATOM  {number:5d}  {name:<3s} {residue:>3s} A{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}{occupancy:6.2f}  0.00"
        f"          {element:>2s}\n"
    )


def test_positions_are_zyx_and_hydrogens_are_made_up_for(tmp_path: Path) -> None:
    path = tmp_path / "a.pdb"
    path.write_text(
        pdb_atom(1, "CA", "ALA", (1, 2, 3), "C")
        + pdb_atom(2, "P", "A", (4, 5, 6), "P")
        + pdb_atom(3, "O", "HOH", (7, 8, 9), "O")
        + pdb_atom(4, "CA", "GLY", (0, 0, 9), "C", 0.5)
    )
    model = read_structure(path)
    np.testing.assert_allclose(model.positions_zyx_angstrom, [[3, 2, 1], [6, 5, 4], [9, 0, 0]])
    assert model.is_nucleic.tolist() == [False, True, False]
    protein, nucleic = CARBON * PROTEIN_WITH_HYDROGEN, PHOSPHORUS * NUCLEIC_WITH_HYDROGEN
    np.testing.assert_allclose(model.masses_dalton, [protein, nucleic, protein / 2], rtol=1e-4)


def test_given_hydrogens_are_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "a.pdb"
    path.write_text(pdb_atom(1, "CA", "ALA", (1, 2, 3), "C") + pdb_atom(2, "HA", "ALA", (1, 2, 4), "H"))
    np.testing.assert_allclose(read_structure(path).masses_dalton, [CARBON, 1.00794], rtol=1e-4)


def test_the_first_assembly_is_built(tmp_path: Path) -> None:
    remarks = (
        "REMARK 350 BIOMOLECULE: 1\n"
        "REMARK 350 APPLY THE FOLLOWING TO CHAINS: A\n"
        "REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000\n"
        "REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000\n"
        "REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000\n"
        "REMARK 350   BIOMT1   2 -1.000000  0.000000  0.000000        0.00000\n"
        "REMARK 350   BIOMT2   2  0.000000 -1.000000  0.000000        0.00000\n"
        "REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000       10.00000\n"
    )
    path = tmp_path / "a.pdb"
    path.write_text(remarks + pdb_atom(1, "CA", "ALA", (1, 2, 3), "C"))
    np.testing.assert_allclose(read_structure(path).positions_zyx_angstrom, [[3, 2, 1], [13, -2, -1]])


def test_mmcif_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.cif"
    path.write_text(
        "data_x\nloop_\n_atom_site.group_PDB\n_atom_site.id\n_atom_site.type_symbol\n_atom_site.label_atom_id\n"
        "_atom_site.label_comp_id\n_atom_site.label_asym_id\n_atom_site.label_entity_id\n_atom_site.label_seq_id\n"
        "_atom_site.Cartn_x\n_atom_site.Cartn_y\n_atom_site.Cartn_z\n_atom_site.occupancy\n"
        "_atom_site.label_alt_id\n_atom_site.B_iso_or_equiv\n_atom_site.auth_seq_id\n_atom_site.auth_asym_id\n"
        "_atom_site.pdbx_PDB_ins_code\n_atom_site.pdbx_PDB_model_num\n"
        "ATOM 1 C CA ALA A 1 1 1.0 2.0 3.0 1.0 . 0 1 A ? 1\nATOM 2 P P DA B 2 1 4.0 5.0 6.0 1.0 . 0 1 B ? 1\n"
    )
    model = read_structure(path)
    np.testing.assert_allclose(model.positions_zyx_angstrom, [[3, 2, 1], [6, 5, 4]])
    assert model.is_nucleic.tolist() == [False, True]
    assert path.suffix in STRUCTURE_SUFFIXES


def test_a_model_becomes_a_body(tmp_path: Path) -> None:
    path = tmp_path / "a.pdb"
    places = 8 * np.random.default_rng(0).standard_normal((900, 3))
    places[:, 0] *= 3
    path.write_text("".join(pdb_atom(n, "CA", "ALA", tuple(place), "C") for n, place in enumerate(places, 1)))
    model = read_structure(path)
    body = body_from_atoms("x", model.positions_zyx_angstrom, model.masses_dalton, model.is_nucleic)
    assert body.mass_kilodalton == pytest.approx(900 * CARBON * PROTEIN_WITH_HYDROGEN / 1000, rel=1e-3)
    spread = np.square(body.centers_zyx_angstrom).mean(axis=0)
    assert spread[2] > 4 * spread[:2].max()
