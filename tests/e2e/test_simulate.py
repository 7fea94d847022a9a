"""`cryofind simulate` as a user types it."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cryofind.io import open_project
from cryofind.pipeline import simulate as simulate_pipeline
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
        assert np.mean(volume.labels_zyx[indices][is_solid] == expected[is_solid]) > 0.9
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
    (out / ".making-czii_s0_0002").mkdir()
    made = []
    original = simulate_pipeline._make_run
    monkeypatch.setattr(
        simulate_pipeline, "_make_run", lambda job, number, name: made.append(name) or original(job, number, name)
    )
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

    monkeypatch.setattr(simulate_pipeline, "write_segmentation_zarr", refuse)
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
