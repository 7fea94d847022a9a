"""The learning curve spoils annotation as it says, and makes each point once, of the runs that it names."""

import json
import os
import queue
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from cryofind import czii
from cryofind.cli import main as run_command
from cryofind.io import open_project
from cryofind.models import find_model, load_model_folder
from cryofind.types import Picks, VoxelGrid
from tests.benchmark_scripts import import_scripts

MODULES = ("figures", "places", "hardware", "sets", "lock", "rows", "board", "run")
OWN = ("curve_rows", "spoiled_annotation", "learning_curve")

DEFINITIONS = "".join(
    f"""
[sets.{name}]
recipe = "crowded.toml"
role = "{role}"
seed = {seed}
runs = {runs}
shape_zyx = [40, 96, 96]
"""
    for name, role, seed, runs in (("learnt", "train", 5, 3), ("judge", "test", 6, 2))
)

COUNTS = {"apo-ferritin": 3000, "ribosome": 1500}  # in the volume of a real tomogram, 200 times as large
CROWDED = "".join(f"[species.{name}]\ncount = {COUNTS.get(name, 200)}\n" for name in czii.OBJECT_NAMES)
RECIPE = """
[model]
network = "res16"

[train]
batch_size = 2
crop_zyx = [32, 32, 32]

[preprocess]
normalization = "robust"
"""


@pytest.fixture(scope="module")
def quality() -> Iterator[SimpleNamespace]:
    """Return the benchmark's modules, which see each other as scripts of one folder do."""
    with import_scripts("quality", (*MODULES, *OWN)) as scripts:
        yield scripts


@pytest.fixture(scope="module")
def bench(quality: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two frozen sets, a simulated project and a recipe, all tiny."""
    folder = tmp_path_factory.mktemp("curve")
    (folder / "sets.toml").write_text(DEFINITIONS)
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "crowded.toml").write_text(CROWDED)
    places = ["--definitions", str(folder / "sets.toml"), "--scratch", str(folder / "scratch")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 1)  # made here, not in processes, whose start takes longer
        quality.run.main([*places, "sets", "--freeze"])
        simulate = ["simulate", "czii-wide", "--out", str(folder / "wide"), "--shape", "40,96,96", "--seed", "7"]
        with pytest.raises(SystemExit) as end:
            run_command(simulate)
    assert end.value.code in {0, None}
    return folder


def draw(quality: SimpleNamespace, folder: Path, *arguments: object) -> list[dict[str, Any]]:
    """Run the learning curve, and return its rows."""
    options: list[object] = ["--definitions", folder / "sets.toml", "--scratch", folder / "scratch"]
    options += ["--recipe", folder / "recipe.toml", "--learn", "learnt", "--judge", "judge", "--steps", 4]
    quality.learning_curve.main([str(argument) for argument in (*options, *arguments)])
    return list(quality.curve_rows.read_rows(folder / "scratch" / "learning-curve").values())


def make_truth() -> tuple[Picks, dict[str, VoxelGrid]]:
    grids = {run: VoxelGrid.isotropic((40, 96, 96), 10.0) for run in ("TS_1", "TS_2")}
    random = np.random.default_rng(0)
    places = random.uniform(0, 1, (200, 3)) * [400, 960, 960]
    places[:4] = [[0, 0, 0], [400, 960, 960], [0, 500, 960], [200, 0, 3]]
    objects = [("ribosome", "apo-ferritin")[number % 2] for number in range(200)]
    return Picks.build(["TS_1"] * 120 + ["TS_2"] * 80, objects, places), grids


def test_spoiled_picks_are_fewer_and_near_the_true_ones(quality: SimpleNamespace) -> None:
    truth, grids = make_truth()
    spoiled = quality.spoiled_annotation.spoil_picks(truth, grids, seed=3)
    for run, count in (("TS_1", 84), ("TS_2", 56)):
        found, known = spoiled.of_run(run), truth.of_run(run)
        assert len(found) == count
        assert grids[run].contains(found.positions_zyx_angstrom).all()
        near = cKDTree(known.positions_zyx_angstrom).query_ball_point(found.positions_zyx_angstrom, 10.0)
        assert all(len(rows) for rows in near)
    again, other = (quality.spoiled_annotation.spoil_picks(truth, grids, seed=seed) for seed in (3, 4))
    hashes = [picks.of_run("TS_1").fingerprint() for picks in (spoiled, again, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_moves_are_as_long_as_promised_in_every_direction(quality: SimpleNamespace) -> None:
    # Far apart, so that each spoiled pick belongs to the nearest true one.
    places = np.stack(np.meshgrid(*[np.arange(1, 11) * 90.0] * 3), axis=-1).reshape(-1, 3)
    grids = {"TS_1": VoxelGrid.isotropic((100, 100, 100), 10.0)}
    spoiled = quality.spoiled_annotation.spoil_picks(Picks.build("TS_1", "ribosome", places), grids, seed=0)
    _, rows = cKDTree(places).query(spoiled.positions_zyx_angstrom)
    moves = spoiled.positions_zyx_angstrom - places[rows]
    lengths = np.linalg.norm(moves, axis=1)
    assert lengths.min() >= 5.0 - 1e-9
    assert lengths.max() <= 10.0 + 1e-9
    assert lengths.mean() == pytest.approx(7.5, abs=0.3)
    assert np.abs(moves.mean(axis=0)).max() < 0.6


def test_a_spoiled_project_shares_voxels_and_hides_the_truth(
    quality: SimpleNamespace, bench: Path, tmp_path: Path
) -> None:
    places = quality.places.Places(bench / "sets.toml", bench / "scratch")
    opened = quality.sets.open_set(places, "learnt")
    project = open_project(quality.spoiled_annotation.write_spoiled_project(opened, tmp_path / "poor", seed=0))
    assert [entry.path for entry in project.select_tomograms("denoised")] == [entry.path for entry in opened.entries]
    assert not list((tmp_path / "poor").rglob("*.zarr"))
    picks = project.read_picks()
    for run in opened.runs:
        known = opened.truth.of_run(run)
        assert len(picks.of_run(run)) == len(known) - round(0.3 * len(known))


def test_points_are_planned_seed_by_seed(
    quality: SimpleNamespace, bench: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality.learning_curve, "has_expectations", lambda _: True)
    curve = SimpleNamespace(model="any", simulated=None, learnt=SimpleNamespace(runs=("a", "b", "c", "d")))
    asked = SimpleNamespace(counts=[0, 1, 4], ways=["scratch", "init"], annotation=["complete", "poor"], seeds=2)
    names = [f"{piece}-{piece.thresholds}" for piece in quality.learning_curve.plan_pieces(curve, asked)]
    assert names[:2] == ["none-shipped-0-seed0-tuned", "none-shipped-0-seed0-expected"]
    assert names[2:4] == ["complete-scratch-1-seed0-tuned", "complete-init-1-seed0-tuned"]
    assert names[-1] == "poor-init-4-seed1-tuned"
    assert len(set(names)) == len(names) == 2 + 2 * 2 * 2 * 2


def test_a_time_limit_ends_a_training_in_order(quality: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
    monkeypatch.setattr("os.kill", lambda *signalled: sent.put(signalled))
    quality.learning_curve._stop_after(1e-6)
    assert sent.get(timeout=10) == (os.getpid(), signal.SIGTERM)


def test_the_curve_is_made_point_by_point_and_once(
    quality: SimpleNamespace, bench: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality.learning_curve, "has_expectations", lambda _: False)
    few = ("--annotation", "poor", "--counts", "0,1", "--ways", "mixed", "--simulated", bench / "wide")
    rows = draw(quality, bench, *few)
    assert [(row["way"], row["thresholds"], row["count"]) for row in rows] == [
        ("shipped", "tuned", 0),
        ("mixed", "tuned", 1),
    ]
    folder = bench / "scratch" / "learning-curve"
    (tuned,) = (folder / "models").glob("*-tuned")
    known = load_model_folder(find_model("czii-sim-small")).card.training_runs
    own = load_model_folder(tuned).card.training_runs[len(known) :]
    assert [(run.run, run.role) for run in own][-1] == ("crowded_s5_0001", "tune")
    assert {run.run for run in own} == {"crowded_s5_0001", "czii-wide_s7_0001"}

    calls: list[str] = []
    passed_on = quality.learning_curve.run_cryofind

    def note(*parts: object) -> None:
        calls.append(str(parts[0]))
        passed_on(*parts)

    monkeypatch.setattr(quality.learning_curve, "run_cryofind", note)
    capsys.readouterr()
    assert draw(quality, bench, *few) == rows
    assert calls == []
    first = capsys.readouterr().out
    assert draw(quality, bench, "--annotation", "complete", "--counts", "2", "--ways", "scratch")[:-1] == rows
    assert calls == ["train", "pick"]
    added = json.loads((folder / "results.jsonl").read_text().splitlines()[-1])
    assert added["made_from"]["runs"] == ["crowded_s5_0001", "crowded_s5_0002"]
    assert added["made_from"]["model"] is None

    assert "| poor | mixed | 1 |" in first
    assert "<svg" in (folder / "curve.svg").read_text()


def write_counts(quality: SimpleNamespace, hits: float) -> Any:
    ones = np.ones((8, 1))
    return quality.figures.Counts(
        ("ribosome",), np.ones(1), tuple(f"R{n}" for n in range(8)), 20 * ones, hits * ones, 20 * ones
    )


def test_seeds_are_pooled_and_gains_are_on_fewer_annotated(quality: SimpleNamespace, tmp_path: Path) -> None:
    made = quality.curve_rows
    found = [("none", "shipped", 0, 0, 10), ("poor", "init", 1, 0, 12), ("poor", "init", 1, 1, 14)]
    found += [("poor", "init", 2, 0, 18), ("poor", "scratch", 1, 0, 5)]
    rows = [
        made.make_row(
            made.Piece(*piece), write_counts(quality, hits), key=str(piece), judged="judge", f4_at_best_thresholds=0.9
        )
        for *piece, hits in found
    ]
    table = made.write_curve(tmp_path, rows, title="Title")
    shown = {
        tuple(part.strip() for part in line.split("|")[1:4]): line
        for line in table.splitlines()
        if line.startswith("|")
    }
    once, more = shown["poor", "init", "1"], shown["poor", "init", "2"]
    assert "0.650 (0.650 to 0.650)" in once  # of 13 hits in 20, 12 with one seed and 14 with the other
    assert "+0.150 (+0.150 to +0.150) *" in once  # on the model as it is
    assert "+0.400 (+0.400 to +0.400) *" in once  # on `scratch`
    assert "+0.250 (+0.250 to +0.250) *" in more
    drawing = (tmp_path / "curve.svg").read_text()
    assert "poor annotation" in drawing
    assert drawing.count("<circle") == 4  # 0, 1, 2 of `init`, 1 of `scratch`


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--counts", "1,4"), "--counts: asks for 4 annotated runs, set learnt has 3"),
        (("--counts", "1"), "--simulated: is missing"),
        (("--counts", "1", "--ways", "init", "--recipe", "none.toml"), "none.toml: is not there"),
    ],
)
def test_what_cannot_be_measured_is_refused_first(
    quality: SimpleNamespace,
    bench: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    with pytest.raises(SystemExit) as end:
        draw(quality, bench, *arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err
