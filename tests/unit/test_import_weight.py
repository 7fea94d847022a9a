"""`import cryofind` stays light."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cryofind

HEAVY = ("torch", "lightning_fabric", "zarr", "mrcfile", "scipy", "pydantic", "rich", "PIL", "hypothesis", "numpy")


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    return set(done.stdout.split())


def test_import_loads_nothing_heavy() -> None:
    assert not loaded_after("import cryofind") & set(HEAVY)


@pytest.mark.parametrize("statement", ["from cryofind import Picks, VoxelGrid", "import cryofind.errors"])
def test_types_load_no_file_library_and_no_network(statement: str) -> None:
    assert not loaded_after(statement) & {"torch", "lightning_fabric", "zarr", "mrcfile", "hypothesis", "rich"}


def test_phantoms_need_neither_torch_nor_hypothesis() -> None:
    assert not loaded_after("import cryofind.testing.phantoms") & {"torch", "hypothesis"}


def test_the_version_is_written_once() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text("utf-8"))
    assert "version" not in project["project"]
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "src/cryofind/__init__.py"


def test_public_names_are_listed() -> None:
    assert {"Picks", "open_project", "score", "load_model"} <= set(dir(cryofind))
    assert set(cryofind.__all__) == set(dir(cryofind))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = cryofind.no_such_name
