"""`cryofind simulate --like`: from a tomogram to a recipe to tomograms like it."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from cryofind.cli import main
from cryofind.io import open_project
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.measuring import collect_all_tomograms, measure_entry
from cryofind.simulate import load_recipe
from cryofind.simulate.measure_slab import measure_slab
from tests.e2e.conftest import Run

SHAPE = "64,112,112"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project of one small simulated tomogram, unfiltered, tilted to +-51 degrees."""
    out = tmp_path_factory.mktemp("like") / "project"
    settings = ('output.flavours=["wbp"]', "microscope.tilt_maximum_degrees=51")
    arguments = [part for setting in settings for part in ("--set", setting)]
    with pytest.raises(SystemExit) as stopped:
        main(["--quiet", "simulate", "easy", "--out", str(out), "--shape", SHAPE, "--seed", "3", *arguments])
    assert stopped.value.code == 0
    return out


def test_fitted_recipe_is_written_and_used(simulated: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "like"
    arguments = ("simulate", "easy", "--like", simulated, "--out", out, "--simulations", 8, "--flavour", "wbp")
    code, printed, _ = run(*arguments, "--jobs", 1)
    assert code == 0
    assert "tilts up to 51" in printed
    assert "distance" in printed
    recipe = load_recipe(out / "recipe.toml")
    assert recipe.microscope.tilt_maximum_degrees.value == pytest.approx(51, abs=1.5)
    assert recipe.output.flavours == ("wbp",)
    assert recipe.species.keys() == load_recipe("easy").species.keys()
    text = (out / "recipe.toml").read_text()
    assert "# measured; was 45" in text
    assert "# fitted, " in text
    project = open_project(out)
    (entry,) = project.tomograms
    assert entry.flavour == "wbp"
    assert entry.read_grid().shape_zyx == (64, 112, 112)
    assert len(project.read_picks()) > 0

    # A second call finds the recipe, and goes on with it.
    (out / "recipe.toml").touch()
    stamp = (out / "recipe.toml").stat().st_mtime_ns
    code, printed, _ = run(*arguments, "--runs", 2, "--jobs", 1)
    assert code == 0
    assert "recipe.toml was there already" in printed
    assert len(open_project(out).runs) == 2
    assert (out / "recipe.toml").stat().st_mtime_ns == stamp

    # Another request is refused.
    code, _, err = run(*arguments, "--seed", 1)
    assert code == 2
    assert "was fitted to something else" in err


@pytest.mark.slow
def test_recipe_alone_does_not_depend_on_the_number_of_jobs(simulated: Path, tmp_path: Path, run: Run) -> None:
    texts = []
    for jobs in (1, 2):
        path = tmp_path / f"jobs_{jobs}.toml"
        arguments = ("--simulations", 8, "--flavour", "wbp", "--jobs", jobs)
        code, printed, _ = run("simulate", "easy", "--like", simulated, "--save-recipe", path, *arguments)
        assert code == 0
        assert f"recipe -> {path}" in printed
        texts.append(path.read_text())
    assert texts[0] == texts[1]
    tomllib.loads(texts[0])
    assert run("simulate", "easy", "--like", simulated, "--save-recipe", path)[0] == 2


def test_external_tomogram_is_measured(shared_data: Path) -> None:
    """Known of it: +-45 degrees, 31 tilts, so 3 degrees apart; CTF deconvolved; dark particles in a layer."""
    selection = InputSelection(tomogram_uri="wbp")
    (entry,) = collect_all_tomograms([shared_data / "external" / "copick.json"], selection)
    found = measure_entry(entry, selection, usual_spacing_angstrom=10.012)
    assert found.notes == ()
    measured = found.measured
    assert (measured.tilts.maximum_degrees, measured.tilts.step_degrees, measured.tilts.axis) == (45.0, 3.0, "y")
    assert measured.defocus.defocus_micrometre is not None
    assert not measured.slab.is_whole_box
    assert abs(measured.slab.tilt_y_degrees) < 2
    assert measured.look.texture.skewness[-1] < -1
    assert np.isfinite(measured.look.tolerance).all()


@pytest.mark.parametrize("corner_yx", [(64, 64), (64, 160), (160, 64)])
def test_a_box_within_the_ice_shows_no_vacuum(corner_yx: tuple[int, int], shared_data: Path) -> None:
    """Clumps and gaps make a profile along z too, but not in all columns alike."""
    (entry,) = open_project(shared_data / "external" / "copick.json").select_tomograms("wbp")
    tomogram = entry.read()
    y, x = corner_yx
    cut = np.asarray(tomogram.volume_zyx[20:84, y : y + 160, x : x + 160], np.float32)
    assert measure_slab(cut, tomogram.grid.spacing_angstrom).is_whole_box


@pytest.mark.slow
def test_fit_to_the_external_tomogram(shared_data: Path, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "ext.toml"
    project = shared_data / "external" / "copick.json"
    arguments = ("--tomogram", "wbp", "--simulations", 24, "--flavour", "ctfdeconvolved")
    code, printed, _ = run("simulate", "czii", "--like", project, "--save-recipe", path, *arguments)
    assert code == 0
    (line,) = (line for line in printed.splitlines() if "distance" in line)
    words = line.split()
    before, after = (float(words[words.index(word) - 1]) for word in ("before,", "after"))
    assert after < 0.7 * before
    recipe = load_recipe(path)
    assert recipe.output.flavours == ("ctfdeconvolved",)
    # More particles in less space than in the challenge, and a stronger deconvolution than a timid one.
    assert recipe.sample.crowding.high > 1.5
    assert recipe.reconstruction.deconvolution_constant.low < 0.02
