"""The quality benchmark's sets stay what they were frozen as, and its rows are the scorer's numbers, made once."""

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cryofind.io import open_project
from cryofind.models import find_model, load_model_folder, save_model
from cryofind.models.card import SeenRun
from cryofind.pipeline import score_paths
from cryofind.types import Picks
from tests.benchmark_scripts import import_scripts

MODULES = ("figures", "places", "hardware", "sets", "lock", "rows", "board", "run")

DEFINITIONS = """
[sets.tiny-test]
recipe = "czii"
role = "test"
seed = 5
runs = 2
shape_zyx = [40, 96, 96]

[sets.tiny-train]
recipe = "czii"
role = "train"
seed = 6
runs = 1
shape_zyx = [40, 96, 96]

[sets.external]
reference = "external/copick.json"
flavour = "denoised"
role = "test"
"""

Run = Callable[..., str]


@pytest.fixture(scope="module")
def quality() -> Iterator[SimpleNamespace]:
    """Return the benchmark's modules, which see each other as scripts of one folder do."""
    with import_scripts("quality", MODULES) as scripts:
        yield scripts


def call(quality: SimpleNamespace, folder: Path, *arguments: object) -> None:
    options = ["--definitions", folder / "sets.toml", "--scratch", folder / "scratch"]
    quality.run.main([str(argument) for argument in (*options, *arguments)])


@pytest.fixture(scope="module")
def frozen(quality: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a benchmark's folder with a set that is made and frozen."""
    folder = tmp_path_factory.mktemp("quality")
    (folder / "sets.toml").write_text(DEFINITIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 1)  # made here, not in processes, whose start takes longer
        call(quality, folder, "sets", "tiny-test", "--freeze")
    return folder


@pytest.fixture
def bench(frozen: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder, whose made set is a link: such a project is adopted."""
    shutil.copytree(frozen, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("scratch"))
    link_set(tmp_path, "tiny-test", frozen / "scratch" / "sets" / "tiny-test")
    return tmp_path


@pytest.fixture
def run(
    quality: SimpleNamespace, bench: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Return a function that runs a command of the benchmark; the error's line, or what was printed."""
    monkeypatch.setattr(quality.rows, "read_commit", lambda: "0123456789ab")

    def run_command(*arguments: object) -> str:
        capsys.readouterr()
        try:
            call(quality, bench, *arguments)
        except SystemExit as end:
            code = end.code
        else:
            code = 0
        printed = capsys.readouterr()
        assert code in {0, 2}
        return printed.err if code else printed.out

    return run_command


def link_set(folder: Path, name: str, project: Path) -> None:
    link = folder / "scratch" / "sets" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(project)


def edit_lock(folder: Path, kind: str) -> None:
    path = folder / "sets.lock.json"
    lock = json.loads(path.read_text())
    lock["tiny-test"][kind]["czii_s5_0002"] = "0" * 64
    path.write_text(json.dumps(lock))


def truth_of(folder: Path) -> Picks:
    return open_project(folder / "scratch" / "sets" / "tiny-test").read_picks()


def write_candidates(path: Path, truth: Picks) -> Path:
    """Write the truth as picks, with a false one that is not selected for each."""
    far = replace(truth, positions_zyx_angstrom=truth.positions_zyx_angstrom + 5000.0)
    Picks.concatenate([truth, far.with_scores(0.5 * far.scores).selected_above({}, default=0.9)]).to_csv(path)
    return path


def read_rows(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in (folder / "rows").glob("*.json")}


def test_the_sets_are_what_is_promised(quality: SimpleNamespace) -> None:
    sets = quality.sets.read_definitions(quality.places.Places())
    simulated = {name: spec for name, spec in sets.items() if spec.recipe}
    assert {name.rsplit("-", 1)[0] for name in simulated} == {"czii", "czii-hard", "other-microscope"}
    assert all(name.endswith(f"-{spec.role}") for name, spec in simulated.items())
    assert all(spec.runs >= 12 for spec in simulated.values() if spec.role == "test")
    assert len({spec.seed for spec in simulated.values()}) == len(simulated)
    assert {spec.flavour for spec in sets.values() if spec.reference} == {"denoised", "filtered", "wbp"}


def test_an_identity_is_recipe_seed_runs_and_shape_not_where_files_lie(quality: SimpleNamespace, bench: Path) -> None:
    text = 'description = "d"\n[species.s]\nbody = "s.mrc"\nmass_kilodalton = 100\ncount = 3\n'
    identities = []
    for folder, recipe in ((bench / "a", text), (bench / "b", text), (bench / "c", text.replace("3", "4"))):
        folder.mkdir()
        (folder / "r.toml").write_text(recipe)
        places = quality.places.Places(folder / "sets.toml")
        spec = quality.sets.SetSpec(role="test", recipe="r.toml", seed=1, runs=2)
        changed = [
            spec.model_copy(update=change) for change in ({}, {"seed": 2}, {"runs": 3}, {"shape_zyx": (9, 9, 9)})
        ]
        identities.append([quality.sets.describe_origin(places, one) for one in changed])
    assert identities[0] == identities[1] != identities[2]
    assert len({json.dumps(made_from) for made_from in identities[0]}) == 4


def test_an_adopted_project_is_as_frozen_and_not_made_again(
    quality: SimpleNamespace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality.sets, "run_cryofind", lambda *_: pytest.fail("made again"))
    said = run("sets", "tiny-test")
    assert said.startswith("tiny-test: 2 runs, picks ")
    assert ", as frozen -> " in said


def test_a_project_made_otherwise_is_refused(run: Run, bench: Path, frozen: Path) -> None:
    link_set(bench, "tiny-train", frozen / "scratch" / "sets" / "tiny-test")
    said = run("sets", "tiny-train")
    assert "made otherwise: seed is 5 there and 6 here" in said
    assert said.count("\n") == 1


def test_a_changed_definition_is_refused_before_anything_is_made(run: Run, bench: Path) -> None:
    (bench / "sets.toml").write_text(DEFINITIONS.replace("seed = 5", "seed = 7"))
    said = run("model", "czii-sim-small", "--sets", "tiny-test")
    assert said.startswith("error: set tiny-test: is ")
    assert "expected" in said
    assert not (bench / "rows").exists()


def test_other_picks_are_refused_and_freezing_does_not_hide_them(run: Run, bench: Path) -> None:
    edit_lock(bench, "picks")
    before = (bench / "sets.lock.json").read_text()
    for options in ((), ("--freeze",)):
        said = run("sets", "tiny-test", *options)
        assert "set tiny-test" in said
        assert "picks of 1 runs are not the frozen ones: czii_s5_0002 has" in said
        assert "expected 000000000000" in said
    assert (bench / "sets.lock.json").read_text() == before


def test_other_voxels_are_a_warning_that_the_row_keeps(run: Run, bench: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit_lock(bench, "voxels")
    picks = write_candidates(bench / "picks.csv", truth_of(bench))
    run("picks", picks, "--set", "tiny-test", "--label", "elsewhere")
    assert "voxels of 1 of 2 runs are not those frozen on" in caplog.text
    assert not read_rows(bench)["elsewhere--tiny-test"]["voxels_as_frozen"]
    run("table")
    assert "elsewhere (voxels of another processor)" in (bench / "LEADERBOARD.md").read_text()


def test_a_new_identity_is_taken_when_the_content_is_the_same(run: Run, bench: Path) -> None:
    path = bench / "sets.lock.json"
    before = json.loads(path.read_text())
    changed = json.loads(path.read_text())
    changed["tiny-test"]["identity"] = "0" * 64
    path.write_text(json.dumps(changed))
    assert "expected 000000000000" in run("sets", "tiny-test")
    run("sets", "tiny-test", "--freeze")
    assert json.loads(path.read_text())["tiny-test"]["identity"] == before["tiny-test"]["identity"]


def test_what_is_not_frozen_gets_no_row(run: Run, bench: Path) -> None:
    (bench / "sets.lock.json").unlink()
    made = bench / "scratch" / "sets" / "tiny-test"
    made.unlink()
    assert "freeze it" in run("model", "czii-sim-small", "--sets", "tiny-test")
    assert run("model", "czii-sim-small") == ""  # nobody asked for this very set, so others would be scored
    assert not made.exists()
    assert "is learnt from" in run("model", "czii-sim-small", "--sets", "tiny-train")


def test_reference_data_that_are_missing_are_skipped_unless_asked_for(
    run: Run, bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CRYOFIND_SHARED", str(tmp_path / "nowhere"))
    (bench / "sets.toml").write_text("[sets.external]" + DEFINITIONS.split("[sets.external]")[1])
    assert run("sets") == ""
    assert "set external: needs the reference data" in run("sets", "external")


def test_reference_data_are_a_set(run: Run, bench: Path, shared_data: Path) -> None:
    run("sets", "external", "--freeze")
    said = run("sets", "external")
    assert said.startswith("external: 1 run, ")
    assert "as frozen" in said
    lock = json.loads((bench / "sets.lock.json").read_text())
    lock["external"]["voxels"]["EXT_1"] = "0" * 64
    (bench / "sets.lock.json").write_text(json.dumps(lock))
    assert "voxels of 1 runs are not the frozen ones" in run("sets", "external")


def test_a_row_of_a_model_is_the_scorers_and_is_made_once(run: Run, bench: Path) -> None:
    run("model", "czii-sim-small", "--sets", "tiny-test", "--label", "small", "--training-seconds", "60")
    (row,) = read_rows(bench).values()
    project = bench / "scratch" / "sets" / "tiny-test"
    report = score_paths(bench / "scratch" / "picks" / "small--tiny-test", project)
    assert row["figures"]["f4"] == pytest.approx([report.f_beta], abs=1e-5)
    assert row["figures"]["objects"]["ribosome"] == pytest.approx([report.objects["ribosome"].f_beta], abs=1e-5)
    assert row["made_by"]["models"][0]["name"] == "czii-sim-small"
    assert row["seconds_per_tomogram"] > 0
    path = bench / "rows" / "small--tiny-test.json"
    made = path.stat().st_mtime_ns
    shutil.rmtree(bench / "scratch" / "picks")
    run("model", "czii-sim-small", "--sets", "tiny-test", "--label", "small")
    assert path.stat().st_mtime_ns == made
    assert not (bench / "scratch" / "picks").exists()
    options = ("--sets", "tiny-test", "--label", "small", "--set", "locate.border_angstrom=50")
    assert "of another method" in run("model", "czii-sim-small", *options)
    assert "--label" in run("model", "czii-sim-small", "--sets", "tiny-test", "--set", "locate.border_angstrom=50")


def test_selected_picks_do_not_depend_on_the_candidates_that_are_kept(run: Run, bench: Path) -> None:
    from cryofind.cli import main

    run("model", "czii-sim-small", "--sets", "tiny-test", "--label", "small")
    project, plain = bench / "scratch" / "sets" / "tiny-test", bench / "plain"
    with pytest.raises(SystemExit, match="0"):
        main(["pick", str(project), "--model", "czii-sim-small", "--out", str(plain)])
    kept, all_there = (
        Picks.from_csv(folder / "picks.csv") for folder in (plain, bench / "scratch/picks/small--tiny-test")
    )
    assert kept.only_selected().to_csv_text() == all_there.only_selected().to_csv_text()


def test_picking_gets_what_was_asked_for_and_one_that_fails_leaves_no_row(
    quality: SimpleNamespace, run: Run, bench: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fail(*arguments: object) -> None:
        asked[:] = map(str, arguments)
        raise SystemExit(2)

    monkeypatch.setattr(quality.run, "run_cryofind", fail)
    run("model", "czii-sim-small", "--sets", "tiny-test", "--thresholds", "expected")
    pairs = set(itertools.pairwise(asked))
    assert {("--thresholds", "expected"), ("--model", "czii-sim-small"), ("--set", "locate.floor_factor=0")} <= pairs
    assert {("--run", "czii_s5_0001"), ("--run", "czii_s5_0002")} <= pairs
    assert Path(asked[asked.index("--out") + 1]).name.endswith("-expected--tiny-test")
    models = ("czii-sim-small", "czii-sim-small", "--ensemble", "--label", "twice")
    run("model", *models, "--sets", "tiny-test")
    assert asked.count("--model") == 2
    assert not (bench / "rows").exists()


def test_a_model_gets_no_row_on_what_it_has_seen(run: Run, bench: Path) -> None:
    loaded = load_model_folder(find_model("czii-sim-small"))
    picks = truth_of(bench).of_run("czii_s5_0001").fingerprint()
    seen = (SeenRun(run="elsewhere", picks_sha256=picks, role="tune"),)
    save_model(bench / "seen", loaded.network, loaded.card.model_copy(update={"training_runs": seen}))
    assert "run czii_s5_0001 is one that the model was trained or tuned on" in run(
        "model", bench / "seen", "--sets", "tiny-test"
    )
    assert not (bench / "rows").exists()


def test_picks_from_elsewhere_are_scored_by_what_is_selected(run: Run, bench: Path) -> None:
    truth = truth_of(bench)
    run("picks", write_candidates(bench / "all.csv", truth), "--set", "tiny-test", "--label", "perfect")
    figures = read_rows(bench)["perfect--tiny-test"]["figures"]
    assert figures["f4"] == [1.0]
    assert figures["false_picks_per_tomogram"] == 0
    assert set(figures["false_picks_at_recall_0.8"].values()) == {0.0}
    one_run = write_candidates(bench / "one.csv", truth.of_run("czii_s5_0001"))
    run("picks", one_run, "--set", "tiny-test", "--label", "half")
    assert read_rows(bench)["half--tiny-test"]["figures"]["f4"][0] < 0.9  # the other run counts as missed
    assert "of another method" in run("picks", one_run, "--set", "tiny-test", "--label", "perfect")
    stranger = bench / "stranger.csv"
    replace(truth, runs=np.full(len(truth), "TS_1")).to_csv(stranger)
    assert "none of which is in set tiny-test" in run("picks", stranger, "--set", "tiny-test", "--label", "stranger")
    assert "is not made of" in run("picks", one_run, "--set", "tiny-test", "--label", "a--b")


def test_rows_compare_from_their_counts_alone(quality: SimpleNamespace, run: Run, bench: Path) -> None:
    truth = truth_of(bench)
    run("picks", write_candidates(bench / "all.csv", truth), "--set", "tiny-test", "--label", "perfect")
    path = bench / "rows" / "perfect--tiny-test.json"
    row = json.loads(path.read_text())
    counts = row["counts"]
    row["counts"] = {
        **counts,
        "runs": [f"R{number}" for number in range(12)],
        **{name: [counts[name][number % 2] for number in range(12)] for name in ("references", "hits", "picks")},
    }
    for label, share in (("best", 1), ("worse", 0.5)):
        hits = (share * np.array(row["counts"]["hits"])).astype(int).tolist()
        found = {**row, "label": label, "counts": {**row["counts"], "hits": hits}}
        (bench / "rows" / f"{label}--tiny-test.json").write_text(json.dumps(found))
    said = run("compare", "best--tiny-test", bench / "rows" / "worse--tiny-test.json")
    assert said.startswith("best less worse on tiny-test, 12 runs")
    assert "does not" not in said
    assert run("compare", "best--tiny-test", "best--tiny-test").count("does not count") == len(counts["objects"]) + 1
    assert "too few runs" in run("compare", "perfect--tiny-test", "perfect--tiny-test")
    (bench / "rows" / "else--other.json").write_text(json.dumps({**row, "set": "other"}))
    assert "have other sets" in run("compare", "best--tiny-test", "else--other")
    assert "did you mean 'best--tiny-test'" in run("compare", "bst--tiny-test", "else--other")


def test_the_table_replaces_what_lies_between_its_marks(quality: SimpleNamespace, run: Run, bench: Path) -> None:
    leaderboard = bench / "LEADERBOARD.md"
    leaderboard.write_text("# Leaderboard\n\nBy hand.\n")
    run("table")
    leaderboard.write_text(leaderboard.read_text() + "\nAfter.\n")
    run("picks", write_candidates(bench / "all.csv", truth_of(bench)), "--set", "tiny-test", "--label", "perfect")
    run("table")
    text = leaderboard.read_text()
    assert text.startswith("# Leaderboard\n\nBy hand.\n\n<!-- rows")
    assert text.endswith(f"{quality.board.END}\n\nAfter.\n")
    assert "### `tiny-test`: 2 tomograms, simulator version " in text
    assert "| perfect | **1.000** |" in text
    run("table")
    assert leaderboard.read_text() == text
    leaderboard.write_text(text.replace(quality.board.END, ""))
    assert "only one of the two marks" in run("table")


def test_rows_are_small_files(run: Run, bench: Path) -> None:
    run("picks", write_candidates(bench / "all.csv", truth_of(bench)), "--set", "tiny-test", "--label", "perfect")
    lines = (bench / "rows" / "perfect--tiny-test.json").read_text().splitlines()
    assert any(line.strip() == '"f4": [1.0],' for line in lines)
    assert len(lines) < 120
