"""A tomogram's page in a real browser: sliders, switches, numbers, marks at their places."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, expect

from cryofind.scoring import score
from cryofind.types import ParticleSpec, Picks, Tomogram, VoxelGrid
from cryofind.types.particles import PALETTE
from tests.browser.conftest import DESKTOP, PHONE, OpenPage
from tests.browser.pages import (
    MISSED,
    count_pixels,
    find_dark,
    find_pixels,
    make_truth,
    overflow,
    read_cells,
    read_texts,
    state_of,
    write_pages,
)
from tests.result_folders import BALL, GRID, ROD, SPECS, make_tomogram, scatter, write_result

RUN = "TS_1"
COUNTS = ("tp", "fp", "fn")
EVIL = "\"><script>window.hacked = 1</script>'&<img src=x onerror=window.hacked=1>"
LONG = "run-" + "n" * 190


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    picks = Picks.concatenate([scatter(RUN, name, 30, seed=seed) for seed, name in enumerate(("ball", "rod"))])
    return write_result(tmp_path_factory.mktemp("result") / "picks", picks, tomograms=[make_tomogram(RUN)])


@pytest.fixture(scope="module")
def truth(result: Path) -> Picks:
    return make_truth(Picks.from_csv(result / "picks.csv"))


@pytest.fixture(scope="module")
def scored(result: Path, truth: Picks) -> Path:
    truth.to_csv(result.parent / "truth.csv")
    return write_pages(result, out=result.parent / "scored", truth=result.parent / "truth.csv")


@pytest.fixture
def page(scored: Path, open_page: OpenPage) -> Page:
    return open_page(page_of(scored))


def page_of(report: Path, run: int = 0) -> Path:
    document = json.loads((report / "report.json").read_text("utf-8"))
    return report / str(document["runs"][run]["page"])


def assert_numbers(page: Page, objects: dict[str, dict[str, Any]], f_beta: float) -> None:
    """Compare the page's table and its sums with scores by object."""
    for name, rated in objects.items():
        cells = read_cells(page, f'#score tr[data-name="{name}"]')
        assert {key: cells[key] for key in COUNTS} == {key: str(rated[key]) for key in COUNTS}
        assert float(cells["precision"]) == pytest.approx(rated["precision"], abs=5e-5)
        assert float(cells["recall"]) == pytest.approx(rated["recall"], abs=5e-5)
        assert float(cells["f"]) == pytest.approx(rated["f_beta"], abs=5e-5)
    assert float(page.locator("#f-beta").get_attribute("data-value") or "nan") == pytest.approx(f_beta)
    assert page.locator("#f-beta").text_content() == f"{f_beta:.4f}"
    assert int(page.locator("#sum-missed").text_content() or "") == sum(rated["fn"] for rated in objects.values())


def recount(result: Path, truth: Picks, **thresholds: float) -> tuple[dict[str, dict[str, Any]], float]:
    """Return scores by object, and their sum, of picks from these scores on."""
    picks = Picks.from_csv(result / "picks.csv").selected_above(thresholds)
    report = score(picks, truth, SPECS, runs=(RUN,))
    return {name: rated.to_dict() for name, rated in report.objects.items()}, report.f_beta


def set_threshold(page: Page, name: str, value: float) -> None:
    page.locator(f'#objects li[data-name="{name}"] .threshold').fill(f"{value:.3f}")


def test_the_numbers_are_those_of_the_report(scored: Path, page: Page) -> None:
    (run,) = json.loads((scored / "report.json").read_text("utf-8"))["runs"]
    rated = {name: numbers["score"] for name, numbers in run["objects"].items()}
    assert set(rated) == {"ball", "rod"}
    assert_numbers(page, rated, run["f_beta"])
    for name, numbers in run["objects"].items():
        assert page.locator(f'#objects li[data-name="{name}"] .shown').text_content() == str(numbers["picks"])
    assert state_of(page, "shown") == sum(numbers["picks"] for numbers in run["objects"].values())


def test_the_sliders_of_scores_hide_picks_and_count_anew(result: Path, truth: Picks, page: Page) -> None:
    before = state_of(page, "drawn"), count_pixels(page, BALL.color[:3])
    for ball, rod in ((0.8, 0.4), (0.1, 0.4), (0.1, 0.75)):
        set_threshold(page, "ball", ball)
        set_threshold(page, "rod", rod)
        rated, f_beta = recount(result, truth, ball=ball, rod=rod)
        assert_numbers(page, rated, f_beta)
        assert state_of(page, "shown") == sum(one["tp"] + one["fp"] for one in rated.values())
    assert page.locator("#where").text_content() == "with the thresholds of the sliders"
    page.locator("#everything").click()
    assert state_of(page, "shown") == 60
    assert count_pixels(page, BALL.color[:3]) > before[1]
    page.locator("#reset").click()
    assert (state_of(page, "drawn"), count_pixels(page, BALL.color[:3])) == before
    assert page.locator("#where").text_content() == "with the picks as they were selected"


def test_an_exact_score_can_be_typed(result: Path, truth: Picks, page: Page) -> None:
    page.locator('#objects li[data-name="rod"] .exact').fill("0.625")
    assert_numbers(page, *recount(result, truth, ball=0.5, rod=0.625))
    expect(page.locator('#objects li[data-name="rod"] .threshold')).to_have_value("0.625")


def test_the_slices_change_with_their_sliders(page: Page) -> None:
    for view, axis in (("xy", "z"), ("xz", "y")):
        slider, image = page.locator(f"#slab-{view}"), page.locator(f"#view-{view} .slice")
        assert int(slider.get_attribute("max") or 0) > 3
        slider.focus()
        page.keyboard.press("Home")
        seen = []
        for _ in range(4):
            page.wait_for_function("view => document.querySelector(`#view-${view} .slice`).complete", arg=view)
            assert image.evaluate("image => image.naturalWidth") > 20
            depth = page.locator(f"#depth-{view}").text_content() or ""
            assert depth.startswith(f"{axis} = ")
            seen.append((image.get_attribute("src"), depth, state_of(page, "drawn", f"#view-{view}")))
            page.keyboard.press("ArrowRight")
        assert [len(set(column)) == 4 for column in list(zip(*seen, strict=True))[:2]] == [True, True]
        assert len({marks for _, _, marks in seen}) > 1
    drawn = sum(state_of(page, "drawn", f"#view-{view}") for view in ("xy", "xz"))
    assert drawn == state_of(page, "drawn") > 0


@pytest.mark.parametrize("spec", SPECS)
def test_a_species_can_be_switched_off(page: Page, spec: ParticleSpec) -> None:
    switch = page.locator(f'#objects li[data-name="{spec.name}"] .on')
    other = ROD if spec is BALL else BALL
    before, others = count_pixels(page, spec.color[:3]), count_pixels(page, other.color[:3])
    assert before > 20
    assert others > 20
    switch.uncheck()
    assert count_pixels(page, spec.color[:3]) == 0
    assert count_pixels(page, spec.color[:3], "xz") == 0
    assert count_pixels(page, other.color[:3]) >= others
    switch.check()
    assert count_pixels(page, spec.color[:3]) == before


def test_all_species_at_once(page: Page) -> None:
    before = state_of(page, "drawn")
    page.locator("#all-off").click()
    assert state_of(page, "drawn") == 0
    assert state_of(page, "shown") > 0  # the numbers stay
    page.locator("#all-on").click()
    assert state_of(page, "drawn") == before > 0


def test_verdicts_can_be_hidden(page: Page) -> None:
    assert count_pixels(page, MISSED) > 10
    drawn = state_of(page, "drawn")
    page.locator('.kind[data-kind="missed"]').uncheck()
    assert count_pixels(page, MISSED) == 0
    for kind in ("matched", "false"):
        page.locator(f'.kind[data-kind="{kind}"]').uncheck()
        assert state_of(page, "drawn") < drawn
        drawn = state_of(page, "drawn")
    assert drawn == 0


def test_everything_works_by_keyboard(page: Page) -> None:
    def tab_to(selector: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        pytest.fail(f"Tab does not reach {selector}")

    tab_to("#slab-xy")
    picture = page.locator("#view-xy .slice").get_attribute("src")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#view-xy .slice").get_attribute("src") != picture
    tab_to('.kind[data-kind="missed"]')
    page.keyboard.press("Space")
    assert count_pixels(page, MISSED) == 0
    tab_to('li[data-name="ball"] .threshold')
    shown = state_of(page, "shown")
    page.keyboard.press("End")
    assert page.locator('#score tr[data-name="ball"] .shown').text_content() == "0"
    assert state_of(page, "shown") < shown
    tab_to("#reset")
    page.keyboard.press("Enter")
    assert state_of(page, "shown") == shown
    tab_to(".cutout[data-zyx]")
    page.keyboard.press("Enter")
    zyx = [float(part) for part in (page.evaluate("document.activeElement.dataset.zyx")).split(",")]
    assert_slices_show(page, zyx)


def assert_slices_show(page: Page, zyx: list[float]) -> None:
    """Check that the slices are those nearest to a position."""
    for view, axis in (("xy", 0), ("xz", 1)):
        centers, chosen = read_depths(page, view)
        assert abs(chosen - zyx[axis]) == min(abs(center - zyx[axis]) for center in centers)


def read_depths(page: Page, view: str) -> tuple[list[float], float]:
    """Return the depths of all slices in Angstrom, and that of the one that is shown."""
    number = int(page.locator(f"#view-{view}").get_attribute("data-stack") or "")
    centers = json.loads(page.locator("#data").text_content() or "")["stacks"][number]["centers"]
    return centers, centers[int(page.locator(f"#slab-{view}").input_value())]


def test_a_click_says_what_a_circle_is_and_a_cutout_leads_to_it(page: Page) -> None:
    missed = page.locator(".cutout.missed[data-zyx]").first
    missed.click()
    zyx = [float(part) for part in (missed.get_attribute("data-zyx") or "").split(",")]
    assert_slices_show(page, zyx)
    canvas = page.locator("#view-xy canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    y, x = (np.array(zyx[1:]) + 5.0) / np.array(GRID.extent_zyx_angstrom[1:]) * [box["height"], box["width"]]
    page.mouse.click(box["x"] + x, box["y"] + y)
    assert "missed" in (page.locator("#pick-text").text_content() or "")


def test_display_controls(page: Page) -> None:
    image = page.locator("#view-xy .slice")
    width = image.evaluate("image => image.clientWidth")
    page.locator("#zoom").select_option("2")
    expect(page.locator("#view-xy .stage")).to_have_css("width", f"{2 * width}px")
    page.wait_for_function("width => document.querySelector('#view-xy canvas').width === width", arg=2 * width)
    page.locator("#invert").check()
    page.locator("#contrast").fill("2")
    assert image.evaluate("image => image.style.filter") == "contrast(2) brightness(1) invert(1)"


def test_circles_lie_on_their_particles(tmp_path: Path, open_page: OpenPage) -> None:
    grid = VoxelGrid((24, 48, 40), (10.0, 10.0, 10.0), (100.0, -50.0, 30.0))
    place = (12, 14, 29)
    picks = Picks.build(RUN, "ball", grid.positions_from_indices([place]), scores=[0.9]).selected_above({})
    folder = write_result(tmp_path / "picks", picks, tomograms=[Tomogram(RUN, draw_dark_cube(grid, place), grid)])
    page = open_page(page_of(write_pages(folder, out=tmp_path / "pages")))
    for view, (depth, down, across) in (("xy", (0, 1, 2)), ("xz", (1, 0, 2))):
        go_to_darkest(page, view)
        sides = np.array([grid.shape_zyx[down], grid.shape_zyx[across]])
        expected = [place[down] + 0.5, place[across] + 0.5]
        cube = find_dark(page, view) * sides
        np.testing.assert_allclose((cube.min(axis=0) + cube.max(axis=0)) / 2, expected, atol=0.6)
        circle = find_pixels(page, BALL.color[:3], view) * sides
        np.testing.assert_allclose((circle.min(axis=0) + circle.max(axis=0)) / 2, expected, atol=0.1)
        offset = read_depths(page, view)[1] - picks.positions_zyx_angstrom[0, depth]
        radius = np.sqrt(BALL.particle_radius_angstrom**2 - offset**2) / grid.spacing_angstrom
        np.testing.assert_allclose(np.ptp(circle, axis=0), 2 * radius, atol=0.3)


def draw_dark_cube(grid: VoxelGrid, place: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return faint noise with a dark cube of 7 voxels."""
    values = np.float32(0.05) * np.asarray(make_tomogram(RUN, grid=grid).volume_zyx, np.float32)
    z, y, x = place
    values[z - 3 : z + 4, y - 3 : y + 4, x - 3 : x + 4] = -5
    return values


def go_to_darkest(page: Page, view: str) -> None:
    """Move to the slice with the most dark pixels."""
    slider = page.locator(f"#slab-{view}")
    counts = []
    for level in range(int(slider.get_attribute("max") or 0) + 1):
        slider.fill(str(level))
        counts.append(len(find_dark(page, view)))
    slider.fill(str(int(np.argmax(counts))))


def test_no_picks_at_all(tmp_path: Path, truth: Picks, open_page: OpenPage) -> None:
    folder = write_result(tmp_path / "picks", Picks.empty(), tomograms=[make_tomogram(RUN)])
    truth.to_csv(tmp_path / "truth.csv")
    page = open_page(page_of(write_pages(folder, out=tmp_path / "pages", truth=tmp_path / "truth.csv")))
    assert state_of(page, "shown") == 0
    assert read_texts(page, "#score td.tp") == ["0", "0"]
    assert page.locator("#sum-missed").text_content() == str(len(truth))
    assert count_pixels(page, MISSED) > 10
    assert page.locator(".threshold").count() == page.locator("#everything").count() == 0


def test_without_a_truth_there_are_picks_and_sliders_alone(result: Path, tmp_path: Path, open_page: OpenPage) -> None:
    page = open_page(page_of(write_pages(result, out=tmp_path / "pages")))
    assert page.locator(".kind").count() == page.locator("#f-beta").count() == 0
    set_threshold(page, "ball", 0.9)
    scores = Picks.from_csv(result / "picks.csv").of_object("ball").scores
    assert page.locator('#score tr[data-name="ball"] .shown').text_content() == str(int((scores >= 0.9).sum()))
    assert count_pixels(page, MISSED) == 0
    assert count_pixels(page, ROD.color[:3]) > 20


def test_a_tomogram_that_moved_away_leaves_the_numbers(result: Path, tmp_path: Path, open_page: OpenPage) -> None:
    folder = tmp_path / "picks"
    shutil.copytree(result, folder)
    record = json.loads((folder / "run.json").read_text("utf-8"))
    record["runs"][0]["path"] = str(tmp_path / "gone.mrc")
    (folder / "run.json").write_text(json.dumps(record))
    page = open_page(page_of(write_pages(folder, out=tmp_path / "pages")), state="body[data-shown]")
    assert "gone.mrc" in (page.locator("#warnings").text_content() or "")
    assert page.locator(".view").count() == 0
    page.locator("#everything").click()
    assert state_of(page, "shown") == 60


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_names_are_text_and_fit_the_window(tmp_path: Path, size: tuple[int, int], open_page: OpenPage) -> None:
    specs = (ParticleSpec("it's-&lt;b&gt;-" + "w" * 150, 60.0, 1), ParticleSpec("rod" + "d" * 190, 40.0, 2))
    runs = (LONG, EVIL)
    picks = Picks.concatenate([scatter(run, spec.name, 9, seed=len(spec.name)) for run in runs for spec in specs])
    folder = write_result(
        tmp_path / "picks",
        picks,
        tomograms=[make_tomogram(run) for run in runs],
        specs=specs,
        models=[{"name": EVIL, "path": EVIL, "sha256": "0" * 64, "training_runs": []}],
        failed=[{"run": "", "item": EVIL, "error": EVIL}],
    )
    make_truth(picks.of_run(LONG)).to_csv(tmp_path / "truth.csv")
    report = write_pages(folder, out=tmp_path / "pages", truth=tmp_path / "truth.csv")
    pages = [open_page(page_of(report, number), size) for number in range(2)]
    for page, run in zip(pages, runs, strict=True):
        assert page.locator("h1").text_content() == run
        assert read_texts(page, "#objects .name") == [spec.name for spec in specs]
        assert count_pixels(page, PALETTE[0]) > 20
    index = open_page(report / "index.html", size, state="#run-table")
    assert read_texts(index, "#run-table tbody th") == [LONG, EVIL, EVIL]
    for page in (*pages, index):
        assert overflow(page) == 0
        assert page.evaluate("window.hacked") is None
        assert page.locator("img[src=x]").count() == 0


def test_twenty_thousand_picks_answer(tmp_path: Path, open_page: OpenPage) -> None:
    grid = VoxelGrid.isotropic(GRID.shape_zyx, 40.0)
    tables = [scatter(RUN, spec.name, 10_000, seed=seed, grid=grid) for seed, spec in enumerate(SPECS)]
    picks = Picks.concatenate(tables)
    folder = write_result(tmp_path / "picks", picks, tomograms=[make_tomogram(RUN, grid=grid)])
    page = open_page(page_of(write_pages(folder, out=tmp_path / "pages")))
    for threshold in (0.0, 0.25):
        set_threshold(page, "ball", threshold)
        set_threshold(page, "rod", threshold)
        assert state_of(page, "shown") == int((picks.scores >= threshold).sum())
    drawn = state_of(page, "drawn")
    assert drawn > 1_000
    page.locator("#slab-xy").focus()
    page.keyboard.press("ArrowRight")
    assert 0 < state_of(page, "drawn") != drawn
