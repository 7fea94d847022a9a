"""The report of a real result, of its project and of two results, by the command."""

import json
from pathlib import Path

from tests.e2e.conftest import Run


def test_report_of_a_result_agrees_with_score(project: Path, result: Path, tmp_path: Path, run: Run) -> None:
    code, out, err = run("report", result, "--out", tmp_path / "pages")
    assert code == 0, err
    assert str(tmp_path / "pages" / "index.html") in out
    document = json.loads((tmp_path / "pages" / "report.json").read_text("utf-8"))
    code, out, err = run("score", result, project, "--run", "P_4", "--json")
    assert code == 0, err
    score = json.loads(out)
    assert document["truth"] == str(project)  # found without being named
    assert document["score"] == {key: score[key] for key in document["score"]}
    (page,) = document["runs"]
    assert page["f_beta"] == score["f_beta"]
    assert (tmp_path / "pages" / page["page"]).is_file()


def test_report_of_two_results(result: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run("report", result, result, "--out", tmp_path / "pages", "--no-truth")
    assert code == 0, err
    document = json.loads((tmp_path / "pages" / "report.json").read_text("utf-8"))
    assert document["kind"] == "comparison"
    assert all(one["only_a"] == one["only_b"] == 0 for one in document["objects"].values())


def test_report_of_a_project_without_picks_by_cryofind(project: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run("report", project, "--run", "P_1", "--out", tmp_path / "pages")
    assert code == 0, err
    document = json.loads((tmp_path / "pages" / "report.json").read_text("utf-8"))
    assert document["kind"] == "input"
    assert [one["run"] for one in document["runs"]] == ["P_1"]
    assert "P_1.html" in (tmp_path / "pages" / "index.html").read_text("utf-8")


def test_report_of_a_model(model: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run("report", model, "--out", tmp_path / "pages")
    assert code == 0, err
    document = json.loads((tmp_path / "pages" / "report.json").read_text("utf-8"))
    assert (document["kind"], document["made_by"]) == ("model", "cryofind report")
    assert (tmp_path / "pages" / "index.html").is_file()
