"""Atomic models, PDB and mmCIF, through gemmi (the extra `structures`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cryofind.coordinates import zyx_from_xyz
from cryofind.errors import ConfigError
from cryofind.io.files import require_file

if TYPE_CHECKING:
    import gemmi

STRUCTURE_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")

# Most models leave hydrogen out. Mass with it relative to mass without: of the average amino acid, C4.9 N1.4 O1.5 H7.8,
# and of the average nucleotide, C9.5 N3.8 O7 P1 H11.7.
PROTEIN_WITH_HYDROGEN = 1.075
NUCLEIC_WITH_HYDROGEN = 1.038


@dataclass(frozen=True, eq=False)
class AtomicModel:
    """Atoms of a molecule.

    Parameters
    ----------
    positions_zyx_angstrom
        Shape (N, 3).
    masses_dalton
        Mass of each atom times its occupancy, missing hydrogens shared out, shape (N,).
    is_nucleic
        Which atoms belong to DNA or RNA, shape (N,).
    """

    positions_zyx_angstrom: NDArray[np.float64]
    masses_dalton: NDArray[np.float64]
    is_nucleic: NDArray[np.bool_]


def read_structure(path: Path) -> AtomicModel:
    """Return the atoms of the first biological assembly in a PDB or mmCIF file, or of its first model if it names none.

    Water is left out.

    Raises
    ------
    ConfigError
        If gemmi is not installed, or the file is missing, damaged or without atoms.
    """
    require_file(path, ConfigError)
    gemmi = _import_gemmi(path)
    try:
        structure = gemmi.read_structure(str(path))
        structure.remove_waters()
        model = _choose_model(gemmi, structure)
    except (RuntimeError, ValueError, LookupError, OSError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ConfigError(path, f"cannot be read as a PDB or mmCIF file ({reason})", "check the file") from problem
    atoms = [] if model is None else _list_atoms(gemmi, model)
    if not atoms:
        raise ConfigError(path, "has no atoms", "give an atomic model in PDB or mmCIF format")
    table = np.array(atoms, dtype=np.float64)
    masses, is_nucleic = table[:, 3], table[:, 5] > 0
    if not (table[:, 4] == 1).any():
        masses = masses * np.where(is_nucleic, NUCLEIC_WITH_HYDROGEN, PROTEIN_WITH_HYDROGEN)
    return AtomicModel(zyx_from_xyz(table[:, :3]), masses, is_nucleic)


def _import_gemmi(path: Path) -> Any:
    # Only here: everything else works without.
    try:
        import gemmi
    except ImportError as problem:
        advice = "install it: pip install 'cryofind[structures]'"
        raise ConfigError(path, "needs the package gemmi, which is not installed", advice) from problem
    return gemmi


def _choose_model(gemmi: Any, structure: "gemmi.Structure") -> "gemmi.Model | None":
    if len(structure) == 0:
        return None
    if len(structure.assemblies) == 0:
        return structure[0]
    naming = gemmi.HowToNameCopiedChain.Dup
    assembled: gemmi.Model = gemmi.make_assembly(structure.assemblies[0], structure[0], naming)
    # An assembly may name chains that the file does not hold.
    return assembled if assembled.count_atom_sites() else structure[0]


def _list_atoms(gemmi: Any, model: "gemmi.Model") -> list[tuple[float, ...]]:
    """Return x, y, z, mass, atomic number and whether nucleic, of every atom of a known element."""
    atoms: list[tuple[float, ...]] = []
    for chain in model:
        for residue in chain:
            is_nucleic = float(gemmi.find_tabulated_residue(residue.name).is_nucleic_acid())
            for atom in residue:
                element, place = atom.element, atom.pos
                mass = element.weight * min(atom.occ, 1.0)
                if element.atomic_number > 0 and mass > 0:
                    atoms.append((place.x, place.y, place.z, mass, element.atomic_number, is_nucleic))
    return atoms
