"""Pages of reports as HTML: what they hold, what they escape, what they cannot load."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from cryofind.report.colors import choose_colors, darken_for_white, format_color
from cryofind.report.marks import ObjectMarks, limit_marks
from cryofind.report.rendering import ASSETS, render_page
from cryofind.report.slabs import average_planes, draw_stack, plan_slabs
from cryofind.report.spectrum import measure_spectrum
from cryofind.report.summary_page import Column, SummaryContent, render_summary
from cryofind.report.tomogram_page import Cutout, Rule, Section, TomogramContent, render_tomogram
from cryofind.types import ParticleSpec, VoxelGrid
from cryofind.types.particles import PALETTE

GRID = VoxelGrid((30, 60, 80), (10.0, 10.0, 5.0), (100.0, 0.0, 0.0))
EVIL = "</script><script>alert(1)</script>&\"'"


class Page(HTMLParser):
    """What tests ask of a page: its tags with attributes, and the texts of elements with an id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data

    def data(self) -> dict[str, Any]:
        document = json.loads(self.scripts[0])
        assert isinstance(document, dict)
        return document


def make_marks(name: str = "ball", **changes: object) -> ObjectMarks:
    fields: dict[str, object] = {
        "name": name,
        "radius_angstrom": 60.0,
        "color": (230, 159, 0),
        "weight": 1.0,
        "threshold": 0.5,
        "positions_zyx_angstrom": np.array([[200.0, 30.0, 40.0], [300.0, 30.0, 40.0], [350.0, 30.0, 40.0]]),
        "scores": np.array([0.9, 0.6, 0.1]),
        "selected": np.array([True, True, False]),
    }
    return ObjectMarks(**{**fields, **changes})  # type: ignore[arg-type]


def make_content(**changes: object) -> TomogramContent:
    volume = np.random.default_rng(0).standard_normal(GRID.shape_zyx).astype(np.float32)
    stacks = []
    for axis, count in ((0, 4), (1, 2)):
        plans = plan_slabs(GRID, axis, count)
        boxes = [volume[plan.start : plan.stop] if axis == 0 else volume[:, plan.start : plan.stop] for plan in plans]
        stacks.append(draw_stack(plans, [average_planes(box, axis) for box in boxes], GRID))
    counts = {"candidates": 3, "picks": 2, "true": 1, "score": None}
    numbers = {"ball": {**counts, "threshold": 0.5, "expected": None, "expected_text": "-"}}
    fields: dict[str, object] = {
        "run": "TS_1",
        "subtitle": "wbp",
        "grid": GRID,
        "stacks": tuple(stacks),
        "objects": (make_marks(),),
        "object_numbers": numbers,
    }
    return TomogramContent(**{**fields, **changes})  # type: ignore[arg-type]


def test_slabs_cover_the_tomogram_evenly_and_stay_inside() -> None:
    plans = plan_slabs(GRID, 0, 5)
    assert [(plan.start, plan.stop) for plan in plans] == [(0, 5), (6, 11), (12, 17), (18, 23), (24, 29)]
    assert plans[0].center_angstrom(GRID) == 100.0 + 2 * 10.0
    assert plans[1].box(GRID) == ((6, 0, 0), (11, 60, 80))
    thin = VoxelGrid((2, 8, 8), (100.0, 10.0, 10.0))
    assert [(plan.start, plan.stop) for plan in plan_slabs(thin, 0, 16)] == [(0, 1), (1, 2)]


def test_a_picture_has_the_shape_of_the_tomogram_in_angstrom_and_its_greys() -> None:
    volume = np.zeros(GRID.shape_zyx, np.float32)
    volume[:, :, 40:] = 1.0
    plan = plan_slabs(GRID, 0, 1)
    stack = draw_stack(plan, [average_planes(volume[plan[0].start : plan[0].stop], 0)], GRID)
    assert (stack.width, stack.height) == (53, 80)  # 400 by 600 Angstrom
    content = base64.b64decode(stack.pictures[0].source.removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (80, 53)
    assert pixels[:, :20].max() < 20
    assert pixels[:, 35:].min() > 235


def test_voxels_that_are_no_numbers_are_left_out_of_a_slab() -> None:
    box = np.array([[[1.0, np.nan], [3.0, np.inf]], [[3.0, np.nan], [5.0, 7.0]]], np.float32)
    np.testing.assert_array_equal(average_planes(box, 0), [[2.0, 0.0], [4.0, 7.0]])


def test_page_loads_nothing_and_says_so_to_the_browser() -> None:
    text = render_tomogram(make_content())
    page = Page(text)
    policies = [tag[1]["content"] for tag in page.tags if tag[1].get("http-equiv") == "Content-Security-Policy"]
    assert policies[0] is not None
    assert "default-src 'none'" in policies[0]
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policies[0]
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "srcset"):
            target = attributes.get(name) or ""
            assert not target or target.startswith(("data:image/jpeg;base64,", "../", "runs/")), (tag, target)
        assert not any(name.startswith("on") for name in attributes), attributes
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    for path in ASSETS.iterdir():
        assert "</script" not in path.read_text("utf-8"), path
        assert "url(" not in path.read_text("utf-8"), path


def test_the_script_gets_every_pick_with_its_numbers() -> None:
    truth = np.array([[210.0, 30.0, 40.0]])
    pairs = np.array([[0, 0]])
    marks = make_marks(truth_zyx_angstrom=truth, pairs=pairs)
    data = Page(render_tomogram(make_content(objects=(marks,), rule=Rule("kaggle", 4.0, 1.0), f_beta=0.5))).data()
    (ball,) = data["objects"]
    assert ball["zyx"] == [[200.0, 300.0, 350.0], [30.0, 30.0, 30.0], [40.0, 40.0, 40.0]]
    assert ball["scores"] == [0.9, 0.6, 0.1]
    assert ball["selected"] == "110"
    assert (ball["threshold"], ball["lowest"]) == (0.5, 0.0)
    assert (ball["truth"], ball["pairs"]) == ([[210.0], [30.0], [40.0]], [0, 0])
    assert data["origin"] == [100.0, 0.0, 0.0]
    assert data["rule"] == {"mode": "kaggle", "beta": 4.0, "divisor": 1.0, "is_score": True}
    assert [len(stack["pictures"]) for stack in data["stacks"]] == [4, 2]


def test_the_picture_that_is_seen_first_stands_in_the_page_once() -> None:
    text = render_tomogram(make_content())
    sources = re.findall(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", text)
    assert len(sources) == 6
    assert len(set(sources)) == 6


@pytest.mark.parametrize("field", ["run", "subtitle", "warnings", "provenance", "sections"])
def test_names_are_escaped_everywhere(field: str) -> None:
    values: dict[str, object] = {
        "run": EVIL,
        "subtitle": EVIL,
        "warnings": (EVIL,),
        "provenance": ((EVIL, EVIL),),
        "sections": (Section("x", EVIL, (EVIL, EVIL), galleries=((EVIL, (Cutout(EVIL, (EVIL,), ()),)),)),),
    }
    text = render_tomogram(make_content(**{field: values[field]}))
    assert "<script>alert" not in text
    page = Page(text)
    assert len(page.scripts) == 2  # the data and the program, none from a name
    page.data()


def test_an_object_with_an_evil_name_is_escaped_in_html_and_json() -> None:
    numbers = {EVIL: {"candidates": 3, "picks": 2, "threshold": 0.5, "expected": None, "expected_text": "-"}}
    text = render_tomogram(make_content(objects=(make_marks(EVIL),), object_numbers=numbers))
    page = Page(text)
    assert "<script>alert" not in text
    assert page.data()["objects"][0]["name"] == EVIL
    assert [tag[1]["data-name"] for tag in page.tags if tag[0] == "li" and "data-name" in tag[1]] == [EVIL]


def test_sliders_are_there_only_where_scores_tell_picks_apart() -> None:
    annotations = make_marks(scores=np.ones(3), selected=np.ones(3, bool), threshold=None)
    with_scores, without = render_tomogram(make_content()), render_tomogram(make_content(objects=(annotations,)))
    assert 'class="threshold"' in with_scores
    assert 'class="threshold"' not in without
    assert 'id="reset"' not in without


def test_summary_links_to_files_with_odd_names() -> None:
    row = {"run": "a #1", "page": "runs/a #1 %41.html", "notes": (EVIL,), "picks": 3}
    text = render_summary(SummaryContent("all", "", columns=(Column("picks", "picks"),), runs=(row,)))
    assert 'href="runs/a%20%231%20%2541.html"' in text
    assert "<script>alert" not in text


def test_long_warnings_fold_but_not_why_a_tomogram_failed() -> None:
    long = " ".join(["does not look like what the model has learned from"] * 3)
    rows = tuple({"run": "a", "page": page, "notes": (long, "a word")} for page in ("runs/a.html", ""))
    folded, failed = render_summary(SummaryContent("all", "", columns=(), runs=rows)).split('<tr data-run="a">')[1:]
    assert f"...</summary>{long}</details><div>a word</div>" in folded
    assert f"<div>{long}</div>" in failed
    assert "<details>" not in failed


def test_a_page_that_lacks_something_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render_page("summary.html.j2")


def test_too_many_candidates_are_cut_by_score_and_the_slider_ends_there() -> None:
    count = 100
    scores = np.linspace(0.0, 0.99, count)
    marks = make_marks(
        positions_zyx_angstrom=np.zeros((count, 3)),
        scores=scores,
        selected=scores >= 0.9,
        truth_zyx_angstrom=np.zeros((1, 3)),
        pairs=np.array([[99, 0], [0, 0]]),
    )
    other = make_marks("rod", positions_zyx_angstrom=np.zeros((count, 3)), scores=scores, selected=scores >= 0.9)
    cut, _ = limit_marks([marks, other], 100)
    assert len(cut.scores) == 50
    assert cut.left_out == 50
    assert cut.selected.sum() == marks.selected.sum()
    assert cut.lowest == pytest.approx(scores[50])
    assert cut.pairs is not None
    np.testing.assert_array_equal(cut.pairs, [[49, 0]])  # the other one's candidate is not on the page
    assert limit_marks([marks], 100)[0] is marks


def test_candidates_of_two_results_are_cut_alike_and_their_pairs_renumbered() -> None:
    scores, rising = np.linspace(0.0, 0.9, 10), np.arange(30.0).reshape(10, 3)
    other = make_marks(positions_zyx_angstrom=rising, scores=scores[::-1], selected=scores[::-1] >= 0.85)
    marks = make_marks(
        positions_zyx_angstrom=rising,
        scores=scores,
        selected=scores >= 0.85,
        truth_zyx_angstrom=rising,
        pairs=np.array([[9, 0], [8, 3], [7, 9], [0, 1]]),
        other=other,
    )
    (cut,) = limit_marks([marks], 10)
    assert cut.other is not None
    assert cut.truth_zyx_angstrom is not None
    assert cut.pairs is not None
    np.testing.assert_array_equal(cut.scores, scores[5:])
    np.testing.assert_array_equal(cut.truth_zyx_angstrom, rising[:5])
    np.testing.assert_array_equal(cut.pairs, [[4, 0], [3, 3]])
    assert (cut.left_out, cut.other.left_out) == (5, 5)


def test_first_threshold_is_the_lowest_selected_score_unless_stated() -> None:
    assert make_marks().first_threshold == 0.5
    assert make_marks(threshold=None).first_threshold == 0.6
    assert make_marks(threshold=None, selected=np.zeros(3, bool)).first_threshold == 1.0


def test_colors_are_the_projects_where_it_has_them() -> None:
    own = ParticleSpec("own", 10.0, 1, (*PALETTE[0], 255))
    grey = [ParticleSpec(f"grey-{n}", 10.0, 2 + n) for n in range(7)]
    colors = choose_colors([grey[0], own, *grey[1:]])
    assert colors["own"] == PALETTE[0]
    assert [colors[f"grey-{n}"] for n in range(6)] == list(PALETTE[1:])
    assert colors["grey-6"] == PALETTE[1]  # the palette begins anew


def test_colors_too_light_for_white_are_darkened_and_no_others() -> None:
    darkened = {color: darken_for_white(format_color(color)) for color in PALETTE}
    changed = {color for color, found in darkened.items() if found != format_color(color)}
    assert changed == {(240, 228, 66)}
    assert darken_for_white("#f0e442") == "#bfb535"
    assert darken_for_white("#ffffff") == "#b3b3b3"
    assert darken_for_white("#000000") == "#000000"


def test_spectrum_of_white_noise_is_one_and_of_a_wave_a_peak() -> None:
    random = np.random.default_rng(1)
    noise = [random.standard_normal((32, 32, 32)) for _ in range(4)]
    spectrum = measure_spectrum(noise, (10.0, 10.0, 10.0))
    assert spectrum.frequency_per_angstrom[-1] < 0.05
    np.testing.assert_allclose(spectrum.power[4:], 1.0, atol=0.25)
    wave = np.sin(2 * np.pi * np.arange(32) / 8)[None, None, :] + np.zeros((32, 32, 1))
    peak = measure_spectrum([wave], (10.0, 10.0, 10.0))
    assert peak.frequency_per_angstrom[np.argmax(peak.power)] == pytest.approx(1 / 80, abs=0.0016)
    assert not measure_spectrum([np.ones((8, 8, 8))], (10.0, 10.0, 10.0)).power.any()
    noise[0][3, 4, 5] = np.inf
    np.testing.assert_allclose(measure_spectrum(noise, (10.0, 10.0, 10.0)).power[4:], 1.0, atol=0.25)
