"""`cryofind simulate` as a user types it."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cryofind import czii
from cryofind.io import open_project, write_mrc
from cryofind.pipeline import denoisers, simulated_runs
from cryofind.pipeline import simulate as simulate_pipeline
from cryofind.types import Tomogram, VoxelGrid
from tests.e2e.conftest import Run

SMALL = ("--shape", "40,96,96", "--jobs", "1", "--set", "sample.crowding=6")


def digest(folder: Path) -> dict[str, str]:
    """Return the hash of every file of the runs."""
    files = sorted(path for path in (folder / "ExperimentRuns").rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project of two small runs, all flavours and the clean density."""
    from cryofind.cli import main

    out = tmp_path_factory.mktemp("simulated") / "project"
    flavours = 'output.flavours=["denoised","ctfdeconvolved","wbp"]'
    with pytest.raises(SystemExit) as stopped:
        main(["--quiet", "simulate", "czii", "--out", str(out), "--runs", "2", "--density", *SMALL, "--set", flavours])
    assert stopped.value.code == 0
    return out


def test_the_project_holds_everything(simulated: Path) -> None:
    project = open_project(simulated)
    assert project.runs == ("czii_s0_0001", "czii_s0_0002")
    assert {entry.flavour for entry in project.tomograms} == {"denoised", "ctfdeconvolved", "wbp", "density"}
    picks = project.read_picks()
    assert len(picks) > 20
    assert picks.rotations_zyx is not None
    labels = project.select_segmentations("*?multilabel=true")
    assert len(labels) == 2
    assert {spec.name for spec in project.objects if not spec.is_particle} == {"membrane"}


def test_the_truth_agrees_with_itself(simulated: Path) -> None:
    """Every pick lies on voxels of its own label, and particles are dark where the clean density is high."""
    project = open_project(simulated)
    labels_of = {spec.name: spec.label for spec in project.objects}
    for run in project.runs:
        picks = project.read_picks(runs=(run,))
        tomograms = {entry.flavour: entry.read() for entry in project.select_tomograms(runs=(run,))}
        volume = project.select_segmentations("*?multilabel=true", runs=(run,))[0].read({})
        indices = tuple(volume.grid.nearest_indices_from_positions(picks.positions_zyx_angstrom).T)
        expected = np.array([labels_of[str(name)] for name in picks.objects])
        is_solid = picks.objects != "thyroglobulin"  # its middle is a gap between two halves
        assert np.mean(volume.labels_zyx[indices][is_solid] == expected[is_solid]) > 0.85
        density = np.asarray(tomograms["density"].volume_zyx)
        protein = density > 0.5
        for flavour in ("denoised", "wbp"):
            image = np.asarray(tomograms[flavour].volume_zyx)
            assert image[protein].mean() < image[~protein].mean(), flavour


def test_parameters_are_written_down(simulated: Path) -> None:
    records = [json.loads(path.read_text()) for path in sorted(simulated.glob("ExperimentRuns/*/simulation.json"))]
    drawn = [record["parameters"]["microscope"]["defocus_micrometre"] for record in records]
    assert all(2 <= defocus <= 5 for defocus in drawn)
    assert drawn[0] != drawn[1]
    picks = open_project(simulated).read_picks()
    assert sum(sum(record["counts"].values()) for record in records) == len(picks)


def test_the_same_seed_gives_the_same_bytes_whatever_the_jobs(tmp_path: Path, run: Run) -> None:
    small = ("--shape", "40,64,64", "--runs", 2, "--seed", 5)
    assert run("simulate", "czii", "--out", tmp_path / "one", *small, "--jobs", 1)[0] == 0
    assert run("simulate", "czii", "--out", tmp_path / "two", *small, "--jobs", 2)[0] == 0
    assert run("simulate", "czii", "--out", tmp_path / "other", *small[:-1], 6, "--jobs", 1)[0] == 0
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert set(digest(tmp_path / "one").values()).isdisjoint(
        value for name, value in digest(tmp_path / "other").items() if name.endswith(".json") and "Picks" in name
    )


def test_finished_runs_are_not_made_again(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("--shape", "40,64,64", "--jobs", 1)
    out = tmp_path / "project"
    assert run("simulate", "czii", "--out", out, "--runs", 3, *small)[0] == 0
    before = digest(out)
    shutil.rmtree(out / "ExperimentRuns" / "czii_s0_0002")
    made: list[str] = []

    def note_run(job: simulated_runs.RunJob, number: int, name: str) -> list[str]:
        made.append(name)
        return simulated_runs.make_run(job, number, name)

    monkeypatch.setattr(simulate_pipeline, "make_run", note_run)
    code, stdout, _ = run("simulate", "czii", "--out", out, "--runs", 3, *small)
    assert code == 0
    assert "2 of 3 runs were there already" in stdout
    assert made == ["czii_s0_0002"]
    assert digest(out) == before
    assert not list(out.glob(".making-*"))


def test_another_recipe_in_the_same_folder_is_refused(simulated: Path, run: Run) -> None:
    before = digest(simulated)
    code, _, stderr = run("simulate", "easy", "--out", simulated, *SMALL)
    assert code == 2
    assert "choose a new --out" in stderr
    assert digest(simulated) == before


def test_what_does_not_fit_is_said_and_the_run_is_made(tmp_path: Path, run: Run) -> None:
    code, stdout, _ = run(
        "simulate",
        "easy",
        "--out",
        tmp_path / "full",
        "--shape",
        "48,48,48",
        "--jobs",
        1,
        "--set",
        "sample.crowding=1000",
    )
    assert code == 0
    assert "room for" in stdout
    assert "ribosome" in stdout


def test_a_body_larger_than_the_box_is_refused(tmp_path: Path, run: Run) -> None:
    code, _, stderr = run("simulate", "czii", "--out", tmp_path / "small", "--shape", "16,64,64")
    assert code == 2
    assert "species" in stderr
    assert "across, but the box only 160" in stderr
    assert not (tmp_path / "small").exists()


def test_a_full_disk_leaves_finished_runs(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("--shape", "40,64,64", "--jobs", 1)
    out = tmp_path / "project"
    assert run("simulate", "czii", "--out", out, "--runs", 1, *small)[0] == 0
    before = digest(out)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(simulated_runs, "write_segmentation_zarr", refuse)
    code, _, stderr = run("simulate", "czii", "--out", out, "--runs", 2, *small)
    assert code == 2
    assert stderr.count("\n") == 1
    assert "No space left on device" in stderr
    assert digest(out) == before
    assert not list(out.glob(".making-*"))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("czi",), "did you mean 'czii'"),
        (("czii", "--shape", "64,64"), "three whole numbers"),
        (("czii", "--shape", "8,64,64"), "every size must be 16 or more"),
        (("czii", "--set", "microscope.tilt_maximum_degrees=0"), "greater than 0"),
        (("czii", "--set", "microscope.tiltmax=0"), "is not a known key"),
        (("czii", "--set", 'species.ribosome.body="spliceosome"'), "is not shipped"),
        (("czii", "--set", 'species.ribosome.body="none.mrc"'), "mass_kilodalton"),
        (("missing.toml",), "cannot be read"),
    ],
)
def test_bad_requests_cost_one_line(arguments: tuple[str, ...], problem: str, tmp_path: Path, run: Run) -> None:
    code, _, stderr = run("simulate", *arguments, "--out", tmp_path / "out")
    assert code == 2
    assert problem in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


TINY = ("--shape", "40,64,64", "--jobs", 1)


def write_recipe(folder: Path, text: str) -> Path:
    """Write a recipe without surroundings that take time."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.toml"
    quiet = "[surroundings]\ndistractor_count = 0\nvesicle_count = 0\nmembrane_sheet_count = 0\n"
    path.write_text(text + quiet)
    return path


def write_map(path: Path, spacing_angstrom: float = 5.0) -> None:
    """Write the density map of a ball 60 Angstrom across."""
    distances = np.sqrt(np.square(np.indices((24, 24, 24)) - 11.5).sum(axis=0)) * 5.0
    density = (distances < 30).astype(np.float32)
    write_mrc(path, Tomogram("MAP", density, VoxelGrid.isotropic(density.shape, spacing_angstrom), "wbp"))


def test_a_map_beside_its_recipe_becomes_a_species(tmp_path: Path, run: Run) -> None:
    """Its label is the first that the challenge leaves free, its radius the map's or the one that is given."""
    write_map(write_recipe(tmp_path / "recipes", SPECIES_FROM_MAPS).parent / "ball.mrc")
    out = tmp_path / "out"
    assert run("simulate", tmp_path / "recipes" / "recipe.toml", "--out", out, *TINY)[0] == 0
    configuration = json.loads((out / "copick.json").read_text())
    entries = {entry["name"]: entry for entry in configuration["pickable_objects"]}
    taken = {spec.label for spec in czii.OBJECTS}
    first, second, third = [label for label in range(1, 13) if label not in taken][:3]
    assert {name: entry["label"] for name, entry in entries.items()} == {
        "ribosome": next(spec.label for spec in czii.OBJECTS if spec.name == "ribosome"),
        "ball": first,
        "other": second,
        "membrane": third,
    }
    assert entries["ball"]["radius"] == pytest.approx(30, abs=6)
    assert entries["other"]["radius"] == 77.0
    assert entries["ribosome"]["radius"] == 150.0
    picks = open_project(out).read_picks()
    assert "ribosome" not in picks.objects  # its count is 0
    assert {"ball", "other"} <= set(picks.objects)
    labels = open_project(out).select_segmentations("*?multilabel=true")[0].read({})
    assert {0, first, second} <= set(np.unique(labels.labels_zyx))


SPECIES_FROM_MAPS = """
[species.ribosome]
count = 0
[species.ball]
body = "ball.mrc"
mass_kilodalton = 90
count = 200
[species.other]
body = "ball.mrc"
mass_kilodalton = 90
radius_angstrom = 77
count = 200
"""


def test_one_species_at_five_angstrom(tmp_path: Path, run: Run) -> None:
    path = write_recipe(tmp_path, "[species.apo-ferritin]\ncount = 4000\n[output]\nvoxel_spacing_angstrom = 5\n")
    assert run("simulate", path, "--out", tmp_path / "out", *TINY)[0] == 0
    project = open_project(tmp_path / "out")
    (entry,) = project.tomograms
    assert entry.read_grid().spacing_angstrom == 5.0
    picks = project.read_picks()
    assert set(picks.objects) == {"apo-ferritin"}
    assert (picks.positions_zyx_angstrom.max(axis=0) <= np.array([40, 64, 64]) * 5.0).all()
    assert picks.positions_zyx_angstrom[:, 1:].max() > 32 * 5.0


def test_a_body_of_a_setting_lies_in_the_working_folder(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_map(tmp_path / "ball.mrc")
    monkeypatch.chdir(tmp_path)
    settings = ('species.ball.body="ball.mrc"', "species.ball.mass_kilodalton=90")
    options = [part for setting in settings for part in ("--set", setting)]
    code, _, stderr = run("simulate", "easy", "--out", "out", *TINY, *options)
    assert (code, stderr) == (0, "")
    assert "ball" in {spec.name for spec in open_project(tmp_path / "out").objects}


def test_a_recipe_and_its_maps_can_be_moved(tmp_path: Path, run: Run) -> None:
    write_map(write_recipe(tmp_path / "first", SPECIES_FROM_MAPS).parent / "ball.mrc")
    assert run("simulate", tmp_path / "first" / "recipe.toml", "--out", tmp_path / "out", *TINY)[0] == 0
    (tmp_path / "first").rename(tmp_path / "second")
    code, stdout, _ = run("simulate", tmp_path / "second" / "recipe.toml", "--out", tmp_path / "out", *TINY)
    assert code == 0
    assert "1 of 1 run was there already" in stdout


def test_noise2noise_trains_once(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoisers, "TRAINING_SHAPE_ZYX", (40, 48, 48))
    monkeypatch.setattr(denoisers, "TRAINING_RUNS", 1)
    settings = ("--set", 'denoising.method="noise2noise"', "--set", "denoising.noise2noise_steps=3")
    out = tmp_path / "out"
    assert run("simulate", "easy", "--out", out, *TINY, *settings)[0] == 0
    weights = {path.name: path.stat().st_mtime_ns for path in (out / "denoiser").iterdir()}
    before = digest(out)
    code, stdout, _ = run("simulate", "easy", "--out", out, "--runs", 2, *TINY, *settings)
    assert code == 0
    assert "1 of 2 runs was there already" in stdout
    assert {path.name: path.stat().st_mtime_ns for path in (out / "denoiser").iterdir()} == weights
    assert before.items() < digest(out).items()
    volumes = [np.asarray(entry.read().volume_zyx) for entry in open_project(out).tomograms]
    assert len(volumes) == 2
    assert all(np.isfinite(volume).all() and volume.std() > 0 for volume in volumes)


def test_what_was_written_can_be_checked(simulated: Path) -> None:
    for path in simulated.glob("ExperimentRuns/*/simulation.json"):
        hashes = json.loads(path.read_text())["sha256"]
        assert sum(name.endswith(".zarr/.zattrs") for name in hashes) == 5  # three flavours, density, segmentation
        assert any(name.startswith("Picks/") for name in hashes)
        for name, expected in hashes.items():
            assert hashlib.sha256((path.parent / name).read_bytes()).hexdigest() == expected
