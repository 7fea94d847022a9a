"""Charts never fail on numbers, stay in their frame, and are well-formed whatever the names."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofind.report.chart_axes import linear_ticks, log_ticks, thin
from cryofind.report.charts import Bar, Mark, Series, bars, histogram, line_chart
from tests.svg import all_points, parse, rows, view_box

ANY = st.floats(allow_nan=True, allow_infinity=True)
# XML cannot hold control characters and halves of surrogate pairs.
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), max_size=60)


@st.composite
def series(draw: st.DrawFn) -> Series:
    pairs = draw(st.lists(st.tuples(ANY, ANY), max_size=30))
    x, y = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    band = draw(st.booleans())
    return Series(
        draw(NAMES),
        x,
        y,
        low=y[::-1] if band else None,
        high=y if band else None,
        is_faint=draw(st.booleans()),
        is_dots=draw(st.booleans()),
    )


def assert_within(figure: str) -> None:
    tree = parse(figure)
    width, height = view_box(tree)
    for x, y in all_points(tree):
        assert -0.1 <= x <= width + 0.1
        assert -0.1 <= y <= height + 0.1


@settings(deadline=None, max_examples=60)
@given(st.lists(series(), max_size=4), NAMES, st.booleans(), st.booleans(), st.tuples(ANY, st.none() | ANY))
def test_lines_stay_in_their_frame(
    lines: list[Series], name: str, log_x: bool, log_y: bool, place: tuple[float, float | None]
) -> None:
    marks = [Mark(*place, name)]
    assert_within(line_chart(lines, title=name, x_label=name, y_label=name, log_x=log_x, log_y=log_y, marks=marks))


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(NAMES, st.lists(ANY, max_size=40), max_size=3), st.booleans(), st.none() | st.integers(1, 50))
def test_histograms_stay_in_their_frame_and_lose_no_finite_value(
    values: dict[str, list[float]], log_counts: bool, bins: int | None
) -> None:
    figure = histogram(values, title="t", x_label="x", bins=bins, log_counts=log_counts)
    assert_within(figure)
    table = rows(parse(figure))
    for column, found in enumerate(values.values(), start=2):
        assert sum(int(row[column]) for row in table[1:]) == np.isfinite(found).sum()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.builds(Bar, NAMES, ANY, st.none() | ANY, st.none() | ANY, NAMES), max_size=6), NAMES)
def test_bars_stay_in_their_frame(entries: list[Bar], name: str) -> None:
    assert_within(bars(entries, title=name, value_label=name))


@given(st.floats(-1e12, 1e12), st.floats(1e-6, 1e12))
def test_linear_ticks_rise_within_the_axis(low: float, span: float) -> None:
    if low + span - low < 1e-9 * max(abs(low), abs(low + span)):
        return
    ticks = linear_ticks(low, low + span)
    assert 3 <= len(ticks) <= 9
    assert low <= ticks[0] < ticks[-1] <= low + span
    assert (np.diff(ticks) > 0).all()


@given(st.floats(-200, 200), st.floats(0.001, 90))
def test_log_ticks_rise_within_the_axis(exponent: float, decades: float) -> None:
    low, high = 10.0**exponent, 10.0 ** (exponent + decades)
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 9
    assert low <= ticks[0] < ticks[-1] <= high


@given(st.lists(ANY, max_size=300), st.integers(4, 60))
def test_thinning_keeps_order_ends_and_extremes(values: list[float], limit: int) -> None:
    found = np.array(values, dtype=np.float64)
    kept = thin(found, limit)
    assert (np.diff(kept) > 0).all()
    assert len(kept) <= limit + 2
    finite = found[np.isfinite(found)]
    if len(finite):
        assert finite.max() in found[kept]
        assert finite.min() in found[kept]
    if len(found):
        assert {0, len(found) - 1} <= set(kept.tolist())
