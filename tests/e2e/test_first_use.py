"""What a first user does, and once tripped over."""

import json
from pathlib import Path

import pytest

from cryofind.io import open_project, write_mrc
from cryofind.types import Picks
from tests.e2e.conftest import TINY, Run

SETTINGS = [part for setting in TINY for part in ("--set", setting)]
TWO_RUNS = ("--run", "P_1", "--run", "P_2", "--validation", "P_2")


def _write_result(result: Path, folder: Path) -> Path:
    """Write the candidates of a result as a table in which every second one is selected."""
    picks = Picks.from_csv(result / "picks.csv")
    selected = [index % 2 == 0 for index in range(len(picks))]
    table = Picks.build(
        list(picks.runs), list(picks.objects), picks.positions_zyx_angstrom, scores=picks.scores, selected=selected
    )
    path = folder / "picks.csv"
    table.to_csv(path)
    return path


def test_a_table_against_itself_is_perfect(result: Path, tmp_path: Path, run: Run) -> None:
    table = _write_result(result, tmp_path)
    report = json.loads(run("score", table, table, "--json")[1])
    for score in report["objects"].values():
        assert score["fn"] == 0
        assert score["f_beta"] >= 1.0


def test_start_from_the_shipped_model(project: Path, tmp_path: Path, run: Run) -> None:
    settings = [part for setting in TINY if "model." not in setting for part in ("--set", setting)]
    code, _, err = run("train", project, "--out", tmp_path / "model", "--init", "czii-sim-small", *TWO_RUNS, *settings)
    assert code == 0, err
    assert json.loads((tmp_path / "model" / "model.json").read_text())["network"]["network"] == "res16"
    code, _, err = run("train", project, "--out", tmp_path / "other", "--init", "czii-sim-small", *TWO_RUNS, *SETTINGS)
    assert code == 2
    assert "network" in err


@pytest.mark.parametrize(
    "setting",
    [
        'train.devices="gpu"',
        "train.crop_zyx=[30,30,31]",
        'loss.name="foo"',
        'model.network="unet9"',
        "targets.radius_factors.nope=0.4",
        "loss.object_weights.nope=2",
    ],
)
def test_a_refused_training_leaves_nothing(setting: str, project: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run("--quiet", "train", project, "--out", tmp_path / "model", *SETTINGS, "--set", setting)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "model").exists()


def test_a_tuning_without_evidence_writes_no_model(project: Path, model: Path, tmp_path: Path, run: Run) -> None:
    few = ("--run", "P_4", "--set", "tune.min_picks=500")
    code, _, err = run("tune", project, "--model", model, "--out", tmp_path / "tuned", *few)
    assert code == 2
    assert "min_picks" in err
    assert not (tmp_path / "tuned").exists()


def test_scores_of_nothing_in_common_are_refused(tmp_path: Path, run: Run) -> None:
    tables = []
    for name in ("TS_1", "TS_2"):
        tables.append(tmp_path / f"{name}.csv")
        tables[-1].write_text(f"experiment,particle_type,x,y,z\n{name},ribosome,100.0,100.0,100.0\n")
    code, _, err = run("score", *tables)
    assert code == 2
    assert "shares no run" in err


def test_a_uri_for_what_is_no_project_is_refused(project: Path, result: Path, run: Run) -> None:
    code, _, err = run("score", result, project, "--predictions-uri", "*:me/1")
    assert code == 2
    assert "no project" in err


def test_info_of_something_damaged_says_so_by_its_exit_code(tmp_path: Path, project: Path, run: Run) -> None:
    write_mrc(tmp_path / "P_1.mrc", open_project(project).select_tomograms(runs=("P_1",))[0].read())
    assert run("info", tmp_path / "P_1.mrc")[0] == 0
    (tmp_path / "P_1.mrc").write_bytes((tmp_path / "P_1.mrc").read_bytes()[:-100])
    assert run("info", tmp_path / "P_1.mrc")[0] in {1, 2}


def test_no_arguments_show_the_help(run: Run) -> None:
    code, _, err = run()
    assert code == 2
    assert "Commands:" in err
    assert len(err.splitlines()) > 10


def test_relion_needs_its_pixel_size(result: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run("export", result, "--format", "relion5", "--out", tmp_path / "relion")
    assert code == 2
    assert "--tilt-series-pixel-size" in err
    assert not (tmp_path / "relion").exists()


def test_init_refuses_an_object_given_twice(project: Path, tmp_path: Path, run: Run) -> None:
    write_mrc(tmp_path / "P_1.mrc", open_project(project).select_tomograms(runs=("P_1",))[0].read())
    objects = ("--object", "r:10", "--object", "r:20")
    code, _, err = run("init", tmp_path / "P_1.mrc", *objects, "--out", tmp_path / "project")
    assert code == 2
    assert "twice" in err


@pytest.mark.parametrize("format_name", ["dynamo", "em", "coords", "relion5"])
def test_what_is_exported_can_be_read_back(
    format_name: str, project: Path, result: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "exported"
    options = ("--all-candidates", "--tilt-series-pixel-size", "10.012")
    assert run("export", result, "--format", format_name, *options, "--out", out)[0] == 0
    source = open_project(project)
    for name in ("P_3", "P_4"):
        write_mrc(tmp_path / f"{name}.mrc", source.select_tomograms(runs=(name,))[0].read())
    candidates = Picks.from_csv(result / "picks.csv").of_object("ribosome")
    suffix = {"dynamo": ".tbl", "em": ".em", "coords": ".coords", "relion5": ".star"}[format_name]
    paths = [path for path in sorted(out.rglob(f"*{suffix}")) if "ribosome" in str(path.relative_to(out))]
    path = next((path for path in paths if path.name == "particles.star"), paths[0])
    files = (tmp_path / "P_3.mrc", tmp_path / "P_4.mrc")
    code, _, err = run("init", *files, "--picks", path, "--object", "ribosome:150", "--out", tmp_path / "project")
    assert code == 0, err
    read = open_project(tmp_path / "project").read_picks()
    assert read.run_names == ("P_4",)
    assert len(read) == len(candidates)
    assert sorted(read.positions_zyx_angstrom[:, 0]) == pytest.approx(
        sorted(candidates.positions_zyx_angstrom[:, 0]), abs=0.02
    )


def test_picks_of_one_user_of_a_project_are_exported(project: Path, result: Path, tmp_path: Path, run: Run) -> None:
    configuration = result / "copick.json"
    chosen = ("--picks", "*:curation/0")
    assert run("export", project, "--format", "csv", "--out", tmp_path / "truth", *chosen)[0] == 0
    code, _, err = run("submit", configuration, "--out", tmp_path / "submission.csv", *chosen)
    assert code == 0, err
    lines = (tmp_path / "submission.csv").read_text().splitlines()
    assert len(lines) - 1 == len(open_project(configuration).read_picks("*:curation/0"))


def test_relions_own_table_gives_sizes_and_pixel_sizes(result: Path, tmp_path: Path, run: Run) -> None:
    columns = "_rlnTomoName\n_rlnTomoTiltSeriesPixelSize\n_rlnTomoSizeX\n_rlnTomoSizeY\n_rlnTomoSizeZ\n"
    star = tmp_path / "tomograms.star"
    export = ("export", result, "--format", "relion5", "--all-candidates", "--tomograms-star", star, "--out")
    star.write_text(f"data_global\n\nloop_\n{columns}P_9 2.503 384 384 128\n")
    code, _, err = run(*export, tmp_path / "other")
    assert code == 2
    assert "P_4" in err
    star.write_text(f"data_global\n\nloop_\n{columns}P_4 2.503 384 384 128\n")
    code, _, err = run(*export, tmp_path / "relion")
    assert code == 0, err
    text = (tmp_path / "relion" / "ribosome" / "particles.star").read_text()
    assert "2.503" in text
