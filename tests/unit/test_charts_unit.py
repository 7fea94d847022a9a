"""Charts of reports, read back as XML."""

import numpy as np
import pytest

from cryofind.report.chart_axes import axis_of, format_ticks, linear_ticks, log_ticks, smooth, thin
from cryofind.report.chart_parts import DASHES, LINE_COLORS
from cryofind.report.charts import Bar, Mark, Series, bars, histogram, line_chart
from tests.svg import SVG, drawing, legend, parse, path_points, rows, texts

NASTY = "<script>alert(\"1\")</script> & 'long' {{ name }}"


def draw(*series: Series, **options: object) -> str:
    return line_chart(series, title="Loss", x_label="step", y_label="loss", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (1, 12000, [2000, 4000, 6000, 8000, 10000, 12000]),
        (-0.35, 0.35, [-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3]),
    ],
)
def test_linear_ticks_are_round_and_within(low: float, high: float, expected: list[float]) -> None:
    np.testing.assert_allclose(linear_ticks(low, high), expected, atol=1e-12)


def test_log_ticks_are_powers_or_have_steps_between() -> None:
    np.testing.assert_allclose(log_ticks(0.05, 2), [0.05, 0.1, 0.2, 0.5, 1, 2])
    np.testing.assert_allclose(log_ticks(1e-4, 10), [1e-4, 1e-3, 1e-2, 1e-1, 1, 10])
    np.testing.assert_allclose(log_ticks(2.1, 2.2), [2.1, 2.12, 2.14, 2.16, 2.18, 2.2])
    assert len(log_ticks(1e-20, 1e20)) < 10


def test_ticks_are_told_apart() -> None:
    assert format_ticks([0.0, 0.25, 0.5]) == ["0.00", "0.25", "0.50"]
    assert format_ticks([0.0, 2500.0, 5000.0]) == ["0", "2,500", "5,000"]
    assert format_ticks([1e-6, 2e-6]) == ["1e-06", "2e-06"]
    assert format_ticks([0.0, 3e7]) == ["0", "3e+07"]


def test_a_line_runs_through_its_points() -> None:
    figure = parse(draw(Series("a", [0, 5, 10], [0.0, 1.0, 0.5])))
    (path,) = [p for p in drawing(figure).iter(f"{SVG}path") if p.get("stroke") == LINE_COLORS[0]]
    (x0, y0), (x1, y1), (x2, y2) = path_points(path.attrib["d"])
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 > y2 > y1
    assert y0 - y2 == pytest.approx((y0 - y1) / 2, abs=0.2)


def test_the_table_holds_the_numbers() -> None:
    figure = parse(draw(Series("a", [1, 2], [0.5, 0.25]), Series("b", [1, 2], [4, np.nan])))
    assert rows(figure) == [["step", "a", "b"], ["1", "0.5", "4"], ["2", "0.25", "-"]]
    other = parse(draw(Series("a", [1, 2], [0.5, 0.25]), Series("b", [7], [3]), marks=[Mark(2, 0.25, "best")]))
    assert rows(other)[1:] == [["best", "2", "0.25"], ["a", "1", "0.5"], ["a", "2", "0.25"], ["b", "7", "3"]]


def test_every_text_is_escaped() -> None:
    figures = [
        line_chart([Series(NASTY, [1], [1]), Series("b", [1], [2])], title=NASTY, x_label=NASTY, y_label=NASTY),
        histogram({NASTY: [1, 2], "b": [2]}, title=NASTY, x_label=NASTY, marks=[Mark(1.5, None, NASTY)]),
        bars([Bar(NASTY, 1.0, note=NASTY)], title=NASTY, value_label=NASTY),
    ]
    for figure in figures:
        assert "<script" not in figure
        assert NASTY in "".join(parse(figure).itertext())


def test_the_chart_says_what_it_shows_without_being_seen() -> None:
    picture = drawing(parse(draw(Series("train", [1, 2, 3], [3, 1, 2]))))
    assert picture.get("role") == "img"
    assert picture.attrib["aria-label"] == "Loss: loss over step. train: from 1 to 3, last 2"
    title = picture.find(f"{SVG}title")
    assert title is not None
    assert title.text == "Loss"


def test_lines_differ_in_colour_and_in_dash() -> None:
    strokes = set()
    figure = parse(draw(*(Series(str(n), [0, 1], [n, n]) for n in range(6))))
    for path in drawing(figure).iter(f"{SVG}path"):
        if path.get("stroke") in LINE_COLORS:
            strokes.add((path.get("stroke"), path.get("stroke-dasharray")))
    assert len(strokes) == len({color for color, _ in strokes}) == len({dash for _, dash in strokes}) == 6
    assert len(DASHES) * len(LINE_COLORS) == 42
    assert legend(figure) == ["0", "1", "2", "3", "4", "5"]


def test_a_faint_line_has_the_colour_of_the_line_on_it() -> None:
    figure = parse(draw(Series("each", [0, 1], [1, 2], is_faint=True), Series("mean", [0, 1], [1, 2])))
    lines = [path for path in drawing(figure).iter(f"{SVG}path") if path.get("stroke") == LINE_COLORS[0]]
    assert [path.get("stroke-opacity") for path in lines] == ["0.35", None]


def test_nan_interrupts_a_line_and_a_log_axis_leaves_out_what_is_not_positive() -> None:
    figure = parse(draw(Series("a", [1, 2, 3, 4, 5], [1, np.nan, 3, 0, 2]), log_y=True))
    line = next(p.attrib["d"] for p in drawing(figure).iter(f"{SVG}path") if p.get("stroke") == LINE_COLORS[0])
    assert line.count("M") == 3
    assert [row[1] for row in rows(figure)[1:]] == ["1", "-", "3", "-", "2"]


@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [np.inf]])
def test_without_values_a_chart_says_so(values: list[float]) -> None:
    assert "no values" in texts(parse(draw(Series("a", list(range(len(values))), values))))
    assert "no values" in texts(parse(histogram({"a": values}, title="t", x_label="x")))
    assert parse(bars([Bar("a", value) for value in values], title="t", value_label="x")) is not None


def test_a_single_point_is_drawn() -> None:
    figure = parse(draw(Series("a", [3], [4])))
    assert len(list(drawing(figure).iter(f"{SVG}circle"))) == 1


def test_a_long_line_is_thinned_and_keeps_its_extremes() -> None:
    values = np.random.default_rng(0).normal(size=100_000)
    values[[31_234, 77_777]] = 50, -50
    kept = thin(values, 600)
    assert len(kept) <= 602
    assert {0, 31_234, 77_777, 99_999} <= set(kept.tolist())
    figure = draw(Series("a", np.arange(100_000), values))
    assert len(figure) < 60_000
    assert "of 100,000 points, highest and lowest ones kept" in figure
    assert {"50", "-50"} <= {row[1] for row in rows(parse(figure))}


def test_smoothing_is_a_centred_mean_of_finite_values() -> None:
    np.testing.assert_allclose(smooth(np.array([1.0, 2, 3, np.nan, 5]), 3), [1.5, 2, 2.5, 4, 5])
    assert smooth(np.zeros(0), 3).shape == (0,)
    assert np.isnan(smooth(np.full(9, np.nan), 3)).all()


def test_a_histogram_counts_every_value_once() -> None:
    figure = parse(histogram({"a": [0.1, 0.1, 0.9], "b": [0.5, 7, np.nan]}, title="t", x_label="x", bins=[0, 0.5, 1]))
    assert rows(figure) == [["from", "to", "a", "b"], ["0", "0.5", "2", "0"], ["0.5", "1", "1", "1"]]
    assert "b: 2 outside of the bins or not finite" in "".join(figure.itertext())
    values = np.random.default_rng(1).normal(size=500)
    own = rows(parse(histogram({"a": values}, title="t", x_label="x")))
    assert sum(int(row[2]) for row in own[1:]) == 500
    assert len(rows(parse(histogram({"a": values}, title="t", x_label="x", bins=7)))) == 8


def test_edges_that_do_not_rise_are_refused() -> None:
    with pytest.raises(ValueError, match="must rise"):
        histogram({"a": [1]}, title="t", x_label="x", bins=[1, 1, 0])


def test_bars_begin_at_zero_and_show_their_interval() -> None:
    entries = [Bar("a", 0.8, 0.7, 0.9, "of 53"), Bar("b", -0.4), Bar("c", float("nan"))]
    figure = parse(bars(entries, title="Recall", value_label="recall"))
    upper, lower = drawing(figure).iter(f"{SVG}rect")
    assert float(upper.attrib["x"]) == pytest.approx(float(lower.attrib["x"]) + float(lower.attrib["width"]), abs=0.2)
    assert float(upper.attrib["width"]) == pytest.approx(2 * float(lower.attrib["width"]), abs=0.3)
    assert {"0.8 of 53", "-0.4", "-"} <= set(texts(figure))
    assert rows(figure)[1:] == [["a", "0.8", "0.7", "0.9", "of 53"], ["b", "-0.4", "-", "-", ""], ["c", *"---", ""]]


def test_a_marked_point_lies_on_its_line() -> None:
    figure = parse(draw(Series("a", np.arange(100), np.arange(100.0)), marks=[Mark(50, 50.0, "chosen")]))
    (ring,) = drawing(figure).iter(f"{SVG}circle")
    line = next(p.attrib["d"] for p in drawing(figure).iter(f"{SVG}path") if p.get("stroke") == LINE_COLORS[0])
    assert (float(ring.attrib["cx"]), float(ring.attrib["cy"])) in list(path_points(line))
    assert "chosen" in texts(figure)


def test_an_axis_of_one_value_has_room_around_it() -> None:
    axis = axis_of(np.array([5.0, 5.0]), 0.0, 100.0)
    assert axis.low < 5 < axis.high
    assert float(axis.place(5.0)) == pytest.approx(50)


def test_arrays_of_different_length_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match="2 x and 3 y"):
        draw(Series("a", [1, 2], [1, 2, 3]))
    with pytest.raises(ValueError, match="a band of 1 and 2"):
        draw(Series("a", [1, 2], [1, 2], low=[1], high=[1, 2]))
