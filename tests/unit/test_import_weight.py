"""`import cryofind` stays light, and commands load no more than they need."""

import gc
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cryofind
from cryofind.cli.imports import without_collection
from cryofind.testing import write_phantom_project

HEAVY = ("torch", "lightning_fabric", "zarr", "mrcfile", "scipy", "pydantic", "rich", "PIL", "hypothesis", "numpy")

# What only other commands and engines need, or libraries drag in at times: none of it for picks by torch on a CPU.
NOT_FOR_PICKS = (
    "PIL",
    "cryofind.export",
    "cryofind.report",
    "cryofind.simulate",
    "cryofind.testing",
    "cryofind.train",
    "gemmi",
    "hypothesis",
    "lightning_fabric",
    "matplotlib",
    "networkx",
    "nncf",
    "openvino",
    "pandas",
    "rich",
    "scipy.fft",
    "scipy.interpolate",
    "scipy.optimize",
    "scipy.signal",
    "scipy.stats",
    "skimage",
    "sympy",
    "torch._dynamo",
    "torch._inductor",
    "torch.onnx",
)

PICK = """
import sys
from cryofind.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
print(*sorted(sys.modules))
"""


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


def test_help_of_the_command_line_loads_nothing_heavy() -> None:
    statement = "from cryofind.cli import application; application.main(['--help'], standalone_mode=False)"
    assert not loaded_after(f"{statement}; print()") & set(HEAVY)


def test_picking_loads_only_what_it_needs(tmp_path: Path) -> None:
    project = write_phantom_project(tmp_path / "phantom", runs=["A"], shape_zyx=(32, 64, 64))
    arguments = ["pick", project, "--out", tmp_path / "out", "--model", "czii-sim-small", "--engine", "torch"]
    arguments += ["--set", "predict.device=cpu"]
    command = [sys.executable, "-c", PICK, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert {"torch", "cryofind.predict", "cryofind.locate"} <= loaded
    assert loaded & set(NOT_FOR_PICKS) == set()


def test_reports_of_other_things_than_models_load_no_torch() -> None:
    statement = "from pathlib import Path; from cryofind.pipeline.ensembles import is_model"
    assert "torch" not in loaded_after(f"{statement}; print(is_model(Path('czii-sim-small')))")
    assert "torch" not in loaded_after("import cryofind.pipeline.report, cryofind.pipeline.report_run")


def test_imports_without_collection_leave_it_as_it_was() -> None:
    frozen = gc.get_freeze_count()
    try:
        with without_collection():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
        with pytest.raises(ImportError), without_collection():
            raise ImportError
        assert gc.isenabled()
    finally:
        gc.unfreeze()
