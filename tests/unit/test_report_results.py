"""Reports of results and comparisons: the pages hold the numbers of `report.json`, and these are right."""

import json
import re
import shutil
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from cryofind.errors import OutputError, PicksError
from cryofind.io import write_mrc, write_tomogram_zarr
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.picked_runs import Record
from cryofind.pipeline.report import ReportRequest, write_report
from cryofind.pipeline.report_differences import list_differences
from cryofind.types import Picks, VoxelGrid
from tests.report_pages import open_page, report
from tests.result_folders import THRESHOLDS, make_tomogram, scatter, write_result
from tests.unit.test_report_pages import Page

RUNS = ("TS_1", "TS_2")


@pytest.fixture
def picks() -> Picks:
    tables = [scatter(run, name, 30, seed=seed) for seed, (run, name) in enumerate(_names())]
    return Picks.concatenate(tables)


def _names() -> list[tuple[str, str]]:
    return [(run, name) for run in RUNS for name in ("ball", "rod")]


@pytest.fixture
def truth(picks: Picks) -> Picks:
    """Return a third of the picks, moved a little, and some particles that nobody picked."""
    near = picks.where(np.arange(len(picks)) % 3 == 0)
    moved = Picks.build(near.runs.tolist(), near.objects.tolist(), near.positions_zyx_angstrom + 8.0)
    return Picks.concatenate(
        [moved, *(scatter(run, name, 4, seed=90 + seed) for seed, (run, name) in enumerate(_names()))]
    ).selected_above({}, default=0.0)


@pytest.fixture
def folder(tmp_path: Path, picks: Picks) -> Path:
    return write_result(tmp_path / "result", picks, tomograms=[make_tomogram(run) for run in RUNS])


def count_like_the_page(data: Record) -> dict[str, tuple[int, int, int]]:
    """Return TP, FP, FN by object as the script counts them at first: from the picks and pairs on the page."""
    counts = {}
    for one in data["objects"]:
        if "truth" not in one:
            continue
        shown = [flag == "1" for flag in one["selected"]]
        pairs = np.array(one["pairs"]).reshape(-1, 2)
        hits = len({int(particle) for pick, particle in pairs if shown[int(pick)]})
        counts[one["name"]] = (hits, sum(shown) - hits, len(one["truth"][0]) - hits)
    return counts


def test_pages_hold_the_numbers_of_the_report(folder: Path, picks: Picks, truth: Picks, tmp_path: Path) -> None:
    truth.to_csv(tmp_path / "truth.csv")
    out, document = report(folder, truth=tmp_path / "truth.csv")
    assert out == folder / "report"
    assert document["kind"] == "picks"
    for run in RUNS:
        page, numbers = open_page(out, document, run)
        data = page.data()
        for name, counts in count_like_the_page(data).items():
            score = numbers["objects"][name]["score"]
            assert counts == (score["tp"], score["fp"], score["fn"])
            assert score == {**document["score"]["runs"][run][name], "weight": score["weight"]}
        for one in data["objects"]:
            mine = picks.of_run(run).of_object(one["name"])
            assert len(one["scores"]) == numbers["objects"][one["name"]]["candidates"] == len(mine)
            assert one["selected"].count("1") == numbers["objects"][one["name"]]["picks"]
            assert one["threshold"] == THRESHOLDS[one["name"]]
            chosen = [score for score in one["scores"] if score >= one["threshold"]]
            assert len(chosen) == one["selected"].count("1")
    pooled = document["score"]["objects"]
    for name in ("ball", "rod"):
        for field in ("tp", "fp", "fn"):
            assert pooled[name][field] == sum(run["objects"][name]["score"][field] for run in document["runs"])
    assert document["failures"]["missed_count"] == sum(rated["fn"] for rated in pooled.values())
    assert {"residuals", "confusions"} <= document["failures"].keys()
    assert set(document["curves"]) == {"ball", "rod"}


def test_shown_numbers_are_those_of_the_report(folder: Path, truth: Picks, tmp_path: Path) -> None:
    truth.to_csv(tmp_path / "truth.csv")
    out, document = report(folder, truth=tmp_path / "truth.csv")
    index = (out / "index.html").read_text("utf-8")
    assert f"{document['score']['f_beta']:.4f}" in index
    for run in document["runs"]:
        assert f'href="{run["page"]}"' in index
        assert f'data-value="{run["f_beta"]}"' in (out / run["page"]).read_text("utf-8")


def test_mode_and_match_radius_are_those_asked_for(folder: Path, truth: Picks, tmp_path: Path) -> None:
    truth.to_csv(tmp_path / "truth.csv")
    out, narrow = report(folder, truth=tmp_path / "truth.csv", settings=("score.distance_factor=0.1",))
    assert narrow["score"]["objects"]["ball"]["tp"] == 0
    out, octopi = report(folder, truth=tmp_path / "truth.csv", settings=("score.mode=octopi",))
    page, _ = open_page(out, octopi, "TS_1")
    assert page.data()["rule"]["mode"] == octopi["score"]["mode"] == "octopi"


def test_without_truth_there_is_no_score(folder: Path) -> None:
    out, document = report(folder)
    page, numbers = open_page(out, document, "TS_1")
    assert document["score"] is None
    assert page.data()["rule"] is None
    assert "score" not in numbers["objects"]["ball"]
    assert 'id="f-beta"' not in (out / numbers["page"]).read_text("utf-8")


def test_no_picks_at_all(tmp_path: Path, truth: Picks) -> None:
    folder = write_result(tmp_path / "result", Picks.empty(), tomograms=[make_tomogram("TS_1")])
    truth.to_csv(tmp_path / "truth.csv")
    out, document = report(folder, truth=tmp_path / "truth.csv")
    _, numbers = open_page(out, document, "TS_1")
    assert numbers["objects"]["ball"]["score"]["fn"] == len(truth.of_run("TS_1").of_object("ball"))
    assert document["score"]["f_beta"] == 0.0


def test_a_run_without_truth_is_said_to_be_one(folder: Path, truth: Picks, tmp_path: Path) -> None:
    truth.of_run("TS_1").to_csv(tmp_path / "truth.csv")
    out, document = report(folder, truth=tmp_path / "truth.csv")
    page, numbers = open_page(out, document, "TS_2")
    assert "the truth says nothing about this run" in numbers["warnings"]
    assert page.data()["rule"] is None
    assert list(document["score"]["runs"]) == ["TS_1"]


def test_an_object_without_particles_is_not_judged(folder: Path, truth: Picks, tmp_path: Path) -> None:
    truth.of_object("ball").to_csv(tmp_path / "truth.csv")
    out, document = report(folder, truth=tmp_path / "truth.csv")
    page, numbers = open_page(out, document, "TS_1")
    assert numbers["objects"]["rod"]["score"] is None
    assert "truth" not in {one["name"]: one for one in page.data()["objects"]}["rod"]


def test_a_tomogram_that_moved_away_leaves_a_page_without_slices(folder: Path) -> None:
    (folder / "tomograms" / "0.mrc").unlink()
    out, document = report(folder)
    page, numbers = open_page(out, document, "TS_1")
    assert not numbers["has_slices"]
    assert "cannot be read" in numbers["warnings"][0]
    assert page.data()["stacks"] == []
    assert not [tag for tag in page.tags if tag[0] == "canvas"]
    assert open_page(out, document, "TS_2")[1]["has_slices"]


def test_failures_that_cannot_be_shown_are_not_said_to_be_none(folder: Path, truth: Picks, tmp_path: Path) -> None:
    truth.to_csv(tmp_path / "truth.csv")
    shutil.rmtree(folder / "tomograms")
    out, document = report(folder, truth=tmp_path / "truth.csv")
    assert document["failures"]["missed_count"] > 0
    for page in ("index.html", document["runs"][0]["page"]):
        assert "What went wrong" in (out / page).read_text("utf-8")
        assert "The worst failures" not in (out / page).read_text("utf-8")


@pytest.mark.parametrize("is_large", [False, True])
def test_a_damaged_tomogram_leaves_a_page_without_slices(
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    if is_large:  # read box by box: the damage shows late
        monkeypatch.setattr("cryofind.pipeline.report_voxels.MEMORY_SHARE", 0.0)
    write_tomogram_zarr(folder / "TS_1.zarr", make_tomogram("TS_1"))
    (folder / "TS_1.zarr" / "0" / "0" / "0" / "0").write_bytes(b"junk")
    record = json.loads((folder / "run.json").read_text())
    record["runs"][0]["path"] = str(folder / "TS_1.zarr")
    (folder / "run.json").write_text(json.dumps(record))
    _, document = report(folder)
    assert [one["has_slices"] for one in document["runs"]] == [False, True]
    assert "cannot be read" in document["runs"][0]["warnings"][0]
    _, document = report(folder / "TS_1.zarr", out=folder / "look")
    assert "is truncated" in document["runs"][0]["warnings"][0]
    assert document["runs"][0]["page"] == ""


def test_a_tomogram_that_changed_is_noticed(folder: Path) -> None:
    write_mrc(folder / "tomograms" / "0.mrc", make_tomogram("TS_1", seed=5))
    larger = VoxelGrid.isotropic((30, 48, 40), 10.0)
    write_mrc(folder / "tomograms" / "1.mrc", make_tomogram("TS_2", grid=larger))
    out, document = report(folder)
    assert "other voxels" in open_page(out, document, "TS_1")[1]["warnings"][0]
    page, numbers = open_page(out, document, "TS_2")
    assert "circles may lie elsewhere" in numbers["warnings"][0]
    assert page.data()["shape"] == [30, 48, 40]


def test_picks_outside_of_the_tomogram_are_counted(tmp_path: Path) -> None:
    picks = Picks.build("TS_1", "ball", [[10, 10, 10], [5000, 10, 10], [10, -1, 10]])
    folder = write_result(tmp_path / "result", picks, tomograms=[make_tomogram("TS_1")])
    _, numbers = open_page(*report(folder), "TS_1")
    assert numbers["picks_outside"] == 2
    assert any("2 of 3 candidates lie outside" in line for line in numbers["warnings"])


def test_picks_of_an_object_that_the_record_lacks_are_counted(tmp_path: Path) -> None:
    picks = Picks.build("TS_1", ["ball", "stranger"], [[10, 10, 10], [20, 10, 10]])
    folder = write_result(tmp_path / "result", picks, tomograms=[make_tomogram("TS_1")])
    _, document = report(folder)
    assert any("1 picks of 'stranger' are not shown" in line for line in document["warnings"])


def test_tomograms_that_failed_are_listed(folder: Path, tmp_path: Path) -> None:
    record = json.loads((folder / "run.json").read_text())
    failed = [{"item": "b.mrc", "run": "TS_3", "error": "b.mrc: is damaged; write it again"}]
    (folder / "run.json").write_text(json.dumps({**record, "failed": failed}))
    out, document = report(folder)
    assert document["failed"] == failed
    assert "is damaged; write it again" in (out / "index.html").read_text("utf-8")


def test_tomograms_that_failed_count_only_where_they_were_asked_for(folder: Path, truth: Picks, tmp_path: Path) -> None:
    record = json.loads((folder / "run.json").read_text())
    failed = [{"item": "b.mrc", "run": "TS_3", "error": "b.mrc: is damaged; write it again"}]
    (folder / "run.json").write_text(json.dumps({**record, "failed": failed}))
    Picks.concatenate([truth, scatter("TS_3", "ball", 4, seed=80)]).to_csv(tmp_path / "truth.csv")
    _, document = report(folder, truth=tmp_path / "truth.csv")
    assert list(document["score"]["runs"]) == ["TS_1", "TS_2", "TS_3"]  # what is missing is missed
    _, document = report(folder, truth=tmp_path / "truth.csv", selection=InputSelection(runs=("TS_2",)))
    assert list(document["score"]["runs"]) == ["TS_2"]
    assert document["failed"] == []


def test_runs_that_the_model_has_seen_are_said_so(folder: Path, truth: Picks, tmp_path: Path) -> None:
    record = json.loads((folder / "run.json").read_text())
    record["runs"][0]["in_sample"] = True
    (folder / "run.json").write_text(json.dumps(record))
    truth.to_csv(tmp_path / "truth.csv")
    out, document = report(folder, truth=tmp_path / "truth.csv")
    assert document["score"]["in_sample_runs"] == ["TS_1"]
    assert any(line.startswith("in-sample") for line in document["warnings"])
    assert any(line.startswith("in-sample") for line in open_page(out, document, "TS_1")[1]["warnings"])


def test_names_from_a_record_are_escaped_and_pages_have_safe_names(tmp_path: Path) -> None:
    run = "<script>alert(1)</script>/../x"
    folder = write_result(
        tmp_path / "result", scatter(run, "ball", 5, seed=1), tomograms=[make_tomogram(run), make_tomogram("it's #1")]
    )
    out, document = report(folder)
    assert [one["page"] for one in document["runs"]] == ["runs/run-1.html", "runs/it's #1.html"]
    for path in (out / "index.html", out / "runs" / "run-1.html"):
        assert "<script>alert" not in path.read_text("utf-8")
    assert open_page(out, document, run)[1]["has_slices"]


def test_every_run_has_a_page_of_its_own_on_any_disk(tmp_path: Path) -> None:
    runs = ("run-2", "a/b", "a_b", "A_B", "a\\b", "TS_\u00e9", "TS_e\u0301", "RUN-4", "run-4-4")
    picks = Picks.concatenate([scatter(run, "ball", 3, seed=seed) for seed, run in enumerate(runs)])
    out, document = report(write_result(tmp_path / "result", picks, tomograms=[make_tomogram(run) for run in runs]))
    pages = {one["run"]: one["page"] for one in document["runs"]}
    assert all(pages[run] == f"runs/{run}.html" for run in ("run-2", "a_b", "TS_\u00e9", "run-4-4"))
    alike = {unicodedata.normalize("NFC", page).casefold() for page in pages.values()}
    assert len(alike) == len(runs) == len(list((out / "runs").iterdir()))
    links = [unquote(link) for link in re.findall('href="(runs/[^"]+)"', (out / "index.html").read_text("utf-8"))]
    assert links == list(pages.values())
    for run, page in pages.items():
        assert Page((out / page).read_text("utf-8")).data()["run"] == run


def test_only_the_runs_asked_for(folder: Path) -> None:
    out, document = report(folder, selection=InputSelection(runs=("TS_2",)))
    assert [one["run"] for one in document["runs"]] == ["TS_2"]
    assert [path.name for path in (out / "runs").iterdir()] == ["TS_2.html"]


def test_a_report_replaces_an_earlier_one_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    out, _ = report(folder)
    report(folder, selection=InputSelection(runs=("TS_2",)))
    assert [path.name for path in (out / "runs").iterdir()] == ["TS_2.html"]
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other files"):
        report(folder, out=tmp_path / "notes")
    assert (tmp_path / "notes" / "mine.txt").read_text() == "mine"


def test_files_of_others_in_an_earlier_report_are_kept(folder: Path) -> None:
    out, _ = report(folder)
    (out / ".DS_Store").write_text("")  # desktops leave these behind
    report(folder)
    for name in ("notes.txt", "runs/mine.csv", "more/picks.csv"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
        with pytest.raises(OutputError, match="holds other files"):
            report(folder)
        (out / name).unlink()
        if name.startswith("more"):
            with pytest.raises(OutputError, match=r"holds other files .* \(more\)"):
                report(folder)


def test_the_folder_that_one_is_in_is_not_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = report(folder)
    monkeypatch.chdir(out / "runs")
    for here in (Path("."), Path(".."), out):
        with pytest.raises(OutputError, match="is the folder that you are in, or above it"):
            report(folder, out=here)
    out, _ = report(folder, out=Path("../../elsewhere"))
    assert out == folder / "elsewhere"


def test_an_interrupted_report_leaves_the_earlier_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, document = report(folder)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cryofind.pipeline.report_picks.render_summary", interrupt)
    with pytest.raises(KeyboardInterrupt):
        report(folder)
    assert json.loads((out / "report.json").read_text("utf-8")) == document
    assert [path.name for path in folder.glob(".*partial*")] == []


def test_processes_make_the_same_pages(folder: Path) -> None:
    alone, document = report(folder)
    pages = {run: (alone / "runs" / f"{run}.html").read_text("utf-8") for run in RUNS}
    summary = write_report(ReportRequest((folder,), jobs=2))
    assert summary.document["runs"] == document["runs"]
    assert pages == {run: (alone / "runs" / f"{run}.html").read_text("utf-8") for run in RUNS}


# ---- two results ----


def test_comparison_counts_what_both_have(folder: Path, picks: Picks, tmp_path: Path) -> None:
    kept = picks.where(~((picks.runs == "TS_1") & (picks.objects == "ball") & picks.selected))
    other = write_result(
        tmp_path / "other", kept, tomograms=[make_tomogram(run) for run in RUNS], thresholds={"rod": 0.2}
    )
    out, document = report(folder, other, out=tmp_path / "pages")
    lost = int((picks.of_run("TS_1").of_object("ball").selected).sum())
    page, numbers = open_page(out, document, "TS_1")
    assert numbers["objects"]["ball"] | {"both": 0, "only_a": lost, "only_b": 0} == numbers["objects"]["ball"]
    rods = int(picks.of_run("TS_1").of_object("rod").selected.sum())
    assert numbers["objects"]["rod"] | {"both": rods, "only_a": 0, "only_b": 0} == numbers["objects"]["rod"]
    assert document["objects"]["ball"]["only_a"] == lost
    assert page.data()["words"] == {"matched": "both", "false": "only result", "missed": "only other"}
    assert ["thresholds.rod", "0.4", "0.2"] in document["differences"]


def test_comparison_holds_the_candidates_of_both(folder: Path, picks: Picks, tmp_path: Path) -> None:
    theirs = picks.where(picks.objects == "rod").selected_above({"rod": 0.2})
    other = write_result(
        tmp_path / "other", theirs, tomograms=[make_tomogram(run) for run in RUNS], thresholds={"rod": 0.2}
    )
    out, document = report(folder, other, out=tmp_path / "pages")
    page, numbers = open_page(out, document, "TS_1")
    ball, rod = page.data()["objects"]
    assert (ball["other"]["scores"], ball["other"]["selected"]) == ([], "")
    expected = theirs.of_run("TS_1")
    assert rod["other"]["scores"] == expected.scores.tolist()
    assert rod["other"]["selected"].count("1") == expected.selected.sum() > rod["selected"].count("1")
    assert (rod["threshold"], rod["other"]["threshold"]) == (0.4, 0.2)
    assert len(rod["truth"][0]) == len(expected)
    both, alone = rod["selected"].count("1"), int(expected.selected.sum())
    assert numbers["objects"]["rod"] | {"both": both, "only_a": 0, "only_b": alone - both} == numbers["objects"]["rod"]


def test_differences_have_as_many_digits_as_tell_them_apart() -> None:
    one = {"thresholds": {"a": 0.12345678901234567, "b": 0.123456, "c": 0.5}, "config": {"x": [1.23456, 2]}}
    other = {"thresholds": {"a": 0.3, "b": 0.123457, "c": 0.5}, "config": {"x": None}}
    assert list_differences(one, other) == [
        ("config.x", "[1.235, 2]", "None"),
        ("thresholds.a", "0.1235", "0.3"),
        ("thresholds.b", "0.123456", "0.123457"),
    ]


def test_comparison_has_both_scores(folder: Path, picks: Picks, truth: Picks, tmp_path: Path) -> None:
    other = write_result(
        tmp_path / "other", picks.where(picks.objects == "ball"), tomograms=[make_tomogram(run) for run in RUNS]
    )
    truth.to_csv(tmp_path / "truth.csv")
    _, document = report(folder, other, out=tmp_path / "pages", truth=tmp_path / "truth.csv")
    first, second = document["scores"]["result"], document["scores"]["other"]
    assert first["objects"]["ball"] == second["objects"]["ball"]
    assert first["objects"]["rod"]["tp"] > second["objects"]["rod"]["tp"] == 0
    assert document["objects"]["rod"]["f_beta"] == {"result": first["objects"]["rod"]["f_beta"], "other": 0.0}


def test_results_without_a_common_run_cannot_be_compared(folder: Path, tmp_path: Path) -> None:
    other = write_result(tmp_path / "other", Picks.empty(), tomograms=[make_tomogram("TS_7")])
    with pytest.raises(PicksError, match="shares no run"):
        report(folder, other, out=tmp_path / "pages")
    assert not (tmp_path / "pages").exists()
