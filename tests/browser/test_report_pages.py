"""The other pages of reports in a real browser: summary, comparison, input, training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from cryofind.config import ScoreConfig
from cryofind.io import write_tomogram_zarr
from cryofind.scoring import score
from cryofind.scoring.match import DISTANCE_FACTORS
from cryofind.testing import write_phantom_project
from cryofind.types import Picks
from tests.browser.conftest import DESKTOP, PHONE, OpenPage
from tests.browser.pages import (
    MISSED,
    count_pixels,
    make_truth,
    overflow,
    read_cells,
    read_texts,
    state_of,
    write_pages,
)
from tests.result_folders import BALL, SPECS, make_tomogram, scatter, write_result

RUNS = tuple(f"TS_{number}" for number in range(1, 15))
STEPS = 60
# On how many lines the text of an element stands.
_LINES = """element => {
  const range = document.createRange();
  range.selectNodeContents(element);
  return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size;
}"""
VALIDATED = "figure.chart:has-text('F-beta of the held-out runs')"


def read_document(report: Path) -> dict[str, Any]:
    document = json.loads((report / "report.json").read_text("utf-8"))
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="module")
def picks() -> Picks:
    counts = np.random.default_rng(7).integers(2, 12, len(RUNS))
    return Picks.concatenate(
        [
            scatter(run, spec.name, int(count), seed=seed + 50 * spec.label)
            for seed, (run, count) in enumerate(zip(RUNS, counts, strict=True))
            for spec in SPECS
        ]
    )


@pytest.fixture(scope="module")
def summary(picks: Picks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    result = write_result(folder / "picks", picks, tomograms=[make_tomogram(run) for run in RUNS])
    make_truth(picks.where(picks.runs != RUNS[3])).to_csv(folder / "truth.csv")
    return write_pages(result, out=folder / "pages", truth=folder / "truth.csv")


def open_summary(open_page: OpenPage, report: Path, size: tuple[int, int] = DESKTOP) -> Page:
    return open_page(report / "index.html", size, state="#run-table")


def test_the_rows_of_the_summary_are_those_of_the_report(summary: Path, open_page: OpenPage) -> None:
    document, page = read_document(summary), open_summary(open_page, summary)
    for name, numbers in document["objects"].items():
        cells, rated = read_cells(page, f'#object-table tr[data-name="{name}"]'), numbers["score"]
        assert {key: int(cells[key]) for key in ("tp", "fp", "fn")} == {key: rated[key] for key in ("tp", "fp", "fn")}
        assert (int(cells["picks"]), int(cells["true"])) == (numbers["picks"], numbers["true"])
        shown = [float(cells[key]) for key in ("precision", "recall", "f")]
        assert shown == pytest.approx([rated[key] for key in ("precision", "recall", "f_beta")], abs=5e-5)
    assert f"{document['score']['f_beta']:.4f}" in read_texts(page, "#facts dd")
    assert read_texts(page, "#run-table tbody th") == list(RUNS)
    for run in document["runs"]:
        cells = read_cells(page, f'#run-table tr[data-run="{run["run"]}"]')
        rated = [one["score"] for one in run["objects"].values() if one.get("score")]
        for key in ("tp", "fp", "fn"):
            assert cells[key] == (str(sum(one[key] for one in rated)) if rated else "-")
        assert cells["f"] == ("-" if run["f_beta"] is None else f"{run['f_beta']:.4f}")
        assert int(cells["picks"]) == sum(one["picks"] for one in run["objects"].values())


def test_runs_are_found_sorted_and_opened(summary: Path, open_page: OpenPage) -> None:
    page = open_summary(open_page, summary)
    page.locator(".filter").fill("ts_1")
    visible = [row.get_attribute("data-run") for row in page.locator("#run-table tbody tr:visible").all()]
    assert visible == [run for run in RUNS if "TS_1" in run]
    page.locator(".filter").fill("says nothing")
    assert [row.get_attribute("data-run") for row in page.locator("#run-table tbody tr:visible").all()] == [RUNS[3]]
    page.locator(".filter").fill("")
    page.locator("#run-table thead button", has_text="FN").click()
    missed = [int(text) for text in read_texts(page, '#run-table td[data-key="fn"]') if text != "-"]
    assert missed == sorted(missed, reverse=True)
    page.locator("#run-table thead button", has_text="FN").click()
    missed = [int(text) for text in read_texts(page, '#run-table td[data-key="fn"]') if text != "-"]
    assert missed == sorted(missed)
    page.get_by_role("link", name="TS_5", exact=True).click()
    page.wait_for_selector("body[data-drawn]")
    assert page.locator("h1").text_content() == "TS_5"
    page.locator("#up").click()
    page.wait_for_selector("#run-table")
    assert page.locator("#run-table tbody tr").count() == len(RUNS)


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_summary_fits_the_window(summary: Path, size: tuple[int, int], open_page: OpenPage) -> None:
    assert overflow(open_summary(open_page, summary, size)) == 0


def test_charts_hold_the_curves_of_the_report(summary: Path, open_page: OpenPage) -> None:
    document, page = read_document(summary), open_summary(open_page, summary)
    chart = page.locator("figure.chart", has_text="Precision over recall")
    assert chart.locator("svg path").count() >= len(document["curves"])
    assert {"ball", "rod"} <= set(read_texts(page, "figure.chart:has-text('Precision over recall') .chart-legend li"))
    rows = read_texts(page, "figure.chart:has-text('Precision over recall') tbody tr")
    assert len(rows) > 10


def test_a_comparison_shows_what_both_picked(picks: Picks, tmp_path: Path, open_page: OpenPage) -> None:
    ours = picks.of_run(RUNS[0])
    theirs = ours.where(ours.objects == "ball")
    tomograms = [make_tomogram(RUNS[0])]
    one = write_result(tmp_path / "one", ours, tomograms=tomograms)
    other = write_result(tmp_path / "other", theirs, tomograms=tomograms, thresholds={"ball": 0.5, "rod": 0.2})
    report = write_pages(one, other, out=tmp_path / "pages")
    document, page = read_document(report), open_summary(open_page, report)
    for name, numbers in document["objects"].items():
        cells = read_cells(page, f'#object-table tr[data-name="{name}"]')
        assert {key: int(cells[key]) for key in ("both", "only_a", "only_b")} == {
            key: numbers[key] for key in ("both", "only_a", "only_b")
        }
    assert document["objects"]["rod"]["only_a"] > 0
    assert any("thresholds.rod" in row for row in read_texts(page, "#differences tr"))
    page.locator("#run-table a").click()
    page.wait_for_selector("body[data-drawn]")
    cells = read_cells(page, '#score tr[data-name="rod"]')
    assert cells["fp"] == str(document["objects"]["rod"]["only_a"])
    page.locator('li[data-name="ball"] [data-side="0"] .threshold').fill("1")
    cells = read_cells(page, '#score tr[data-name="ball"]')
    assert (cells["tp"], cells["fn"]) == ("0", str(document["objects"]["ball"]["both"]))
    assert "missed" not in read_texts(page, "#kinds label")[2]
    assert count_pixels(page, BALL.color[:3]) + count_pixels(page, MISSED) > 0


def test_sliders_of_a_comparison_move_both_results(tmp_path: Path, open_page: OpenPage) -> None:
    ours = scatter("TS_1", "ball", 30, seed=1)
    # All but the first ten are the same particle, scored otherwise; ten more are the other's alone.
    moved = ours.positions_zyx_angstrom[10:] + 4.0
    alone = scatter("TS_1", "ball", 10, seed=2).positions_zyx_angstrom
    scores = np.round(np.random.default_rng(3).random(30), 6)
    theirs = Picks.build("TS_1", "ball", np.concatenate([moved, alone]), scores=scores)
    theirs = theirs.selected_above({}, default=0.7)
    tomograms = [make_tomogram("TS_1")]
    one = write_result(tmp_path / "one", ours, tomograms=tomograms)
    other = write_result(tmp_path / "other", theirs, tomograms=tomograms, thresholds={"ball": 0.7})
    report = write_pages(one, other, out=tmp_path / "pages")
    (run,) = read_document(report)["runs"]
    page = open_page(report / run["page"])
    numbers = run["objects"]["ball"]
    assert read_counts(page) == (numbers["both"], numbers["only_a"], numbers["only_b"])
    sliders = [page.locator(f'li[data-name="ball"] [data-side="{side}"] .threshold') for side in (0, 1)]
    assert [slider.input_value() for slider in sliders] == ["0.5", "0.7"]
    seen = set()
    for limits in ((0.5, 0.3), (0.2, 0.3), (0.2, 0.9), (0.9, 0.0)):
        for slider, limit in zip(sliders, limits, strict=True):
            slider.fill(str(limit))
        expected = count_both(ours.selected_above({}, default=limits[0]), theirs.selected_above({}, default=limits[1]))
        assert read_counts(page) == expected
        shown = read_texts(page, 'li[data-name="ball"] output.shown')
        assert shown == [str(expected[0] + expected[1]), str(expected[0] + expected[2])]
        seen.add(expected)
    assert len(seen) == 4
    page.locator("#everything").click()
    assert read_texts(page, 'li[data-name="ball"] output.shown') == ["30", "30"]
    page.locator("#reset").click()
    assert read_counts(page) == (numbers["both"], numbers["only_a"], numbers["only_b"])


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_long_names_of_results_leave_room_for_numbers(
    tmp_path: Path, size: tuple[int, int], open_page: OpenPage
) -> None:
    picks = Picks.concatenate([scatter("TS_1", spec.name, 60, seed=spec.label) for spec in SPECS])
    tomograms = [make_tomogram("TS_1")]
    one = write_result(tmp_path / "results-of-the-default-recipe-2026-01-01", picks, tomograms=tomograms)
    other = write_result(tmp_path / ("denoised-" + "x" * 90), scatter("TS_1", "ball", 60, seed=9), tomograms=tomograms)
    report = write_pages(one, other, out=tmp_path / "pages")
    (run,) = read_document(report)["runs"]
    page = open_page(report / run["page"], size)
    assert overflow(page) == 0
    numbers = page.locator("#kinds output, #objects .count")
    assert numbers.count() == 3 + 2 * len(SPECS)
    assert [number.evaluate(_LINES) for number in numbers.all()] == [1] * numbers.count()
    assert all((slider.bounding_box() or {"width": 0})["width"] > 150 for slider in page.locator(".threshold").all())


def read_counts(page: Page) -> tuple[int, int, int]:
    """Return how many picks both have, only the first, only the second."""
    cells = read_cells(page, '#score tr[data-name="ball"]')
    counts = tuple(int(cells[key]) for key in ("tp", "fp", "fn"))
    assert counts == tuple(int(text) for text in read_texts(page, "#kinds output"))
    return counts[0], counts[1], counts[2]


def count_both(ours: Picks, theirs: Picks) -> tuple[int, int, int]:
    """Return the same, as the scorer counts in which no pick counts twice."""
    config = ScoreConfig(mode="one-to-one", distance_factor=DISTANCE_FACTORS["kaggle"])
    rated = score(ours, theirs.only_selected(), [BALL], config=config, runs=("TS_1",)).objects["ball"]
    return rated.tp, rated.fp, rated.fn


def test_an_input_shows_its_slices_and_what_is_found(tmp_path: Path, open_page: OpenPage) -> None:
    write_tomogram_zarr(tmp_path / "TS_9.zarr", make_tomogram("TS_9"))
    report = write_pages(tmp_path / "TS_9.zarr", out=tmp_path / "pages")
    (run,) = read_document(report)["runs"]
    page = open_page(report / run["page"])
    assert (state_of(page, "drawn"), page.locator(".threshold").count()) == (0, 0)
    picture = page.locator("#view-xy .slice").get_attribute("src")
    page.locator("#slab-xy").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#view-xy .slice").get_attribute("src") != picture
    text = page.locator("main").inner_text()
    assert all(finding in text for finding in run["findings"])
    assert page.locator("figure.chart svg").count() == 2


def test_annotations_of_an_input_are_drawn(tmp_path: Path, open_page: OpenPage) -> None:
    project = write_phantom_project(tmp_path / "project", runs=["P_1"], shape_zyx=(24, 48, 48))
    report = write_pages(project, out=tmp_path / "pages")
    (run,) = read_document(report)["runs"]
    page = open_page(report / run["page"])
    assert state_of(page, "shown") == sum(one["picks"] for one in run["objects"].values()) > 0
    drawn = state_of(page, "drawn")
    assert drawn > 0
    page.locator("#objects .on").first.uncheck()
    assert state_of(page, "drawn") <= drawn
    page.locator("#all-off").click()
    assert state_of(page, "drawn") == 0


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """Return a folder in which a training is going on, with its curves."""
    random = np.random.default_rng(2)
    rows = [{"step": step, "name": "loss", "value": 1 / step + random.random() / 9} for step in range(1, STEPS + 1)]
    rows += [{"step": step, "name": "learning_rate", "value": 1e-3 / step} for step in range(1, STEPS + 1)]
    for step, value in ((20, 0.25), (40, 0.75), (60, 0.5)):
        rows += [{"step": step, "name": name, "value": value} for name in ("f_beta", "f_beta/ribosome")]
    folder = tmp_path / "model"
    (folder / "training").mkdir(parents=True)
    (folder / "training" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "run.json").write_text(json.dumps({"made_by": "cryofind train", "config": {"train": {"steps": STEPS}}}))
    return folder


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_training_has_its_charts(training: Path, size: tuple[int, int], tmp_path: Path, open_page: OpenPage) -> None:
    report = write_pages(training, out=tmp_path / "pages")
    (numbers,) = read_document(report)["trainings"]
    page = open_page(report / "index.html", size, state="figure.chart")
    assert overflow(page) == 0
    titles = read_texts(page, "figure.chart > figcaption")
    assert titles[:3] == ["Loss", "F-beta of the held-out runs", "Learning rate"]
    for chart in page.locator("figure.chart").all():
        assert chart.locator("svg path").count() > 2
        box = chart.locator("svg").first.bounding_box()
        assert box is not None
        assert box["height"] > 100
    validated = page.locator(VALIDATED)
    validated.locator("summary").click()
    rows = [row.inner_text().split("\t") for row in validated.locator("tbody tr").all()]
    for name, pairs in numbers["validation"].items():
        title = name or "all objects, weighted"
        assert [[float(step), float(value)] for line, step, value in rows if line == title] == pairs
    assert set(numbers["validation"]) == {"", "ribosome"}
