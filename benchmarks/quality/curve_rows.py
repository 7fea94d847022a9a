"""The points of a learning curve: their rows, the table and the drawing."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from board import format_estimate
from figures import Counts, Estimate, compare_paired, estimate_objects, estimate_total
from hardware import describe_hardware, read_commit  # which brings the folder of `plot`
from plot import Series, draw_panels

from cryofind.atomic import write_text
from cryofind.errors import ConfigError

Row = Mapping[str, Any]

ROWS_NAME, TABLE_NAME, DRAWING_NAME = "results.jsonl", "curve.md", "curve.svg"
SHIPPED = "shipped"
LEGEND = """Thresholds of 0 annotated tomograms are the model's, of 1 they were chosen in-sample on it, of more by
cross-validation. `*`: the interval, 95 % by bootstrap over tomograms, excludes 0."""
_TABLES = ("weights", "references", "hits", "picks")


@dataclass(frozen=True)
class Piece:
    """One point of the curve: how many runs are annotated, how well, and what is made of them."""

    annotation: str
    way: str
    count: int
    seed: int = 0
    thresholds: Literal["tuned", "expected"] = "tuned"

    def __str__(self) -> str:
        return f"{self.annotation}-{self.way}-{self.count}-seed{self.seed}"


def make_row(piece: Piece, counts: Counts, **more: Any) -> dict[str, Any]:
    """Return the row of a point, JSON-ready."""
    tables = {name: getattr(counts, name).tolist() for name in _TABLES}
    written = {"objects": list(counts.objects), "runs": list(counts.runs), **tables}
    return {**more, **asdict(piece), "commit": read_commit(), "hardware": describe_hardware(), "counts": written}


def read_rows(folder: Path) -> dict[str, Row]:
    """Return the rows that are there, by their key.

    Raises
    ------
    ConfigError
        If a line cannot be read.
    """
    path = folder / ROWS_NAME
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    try:
        return {row["key"]: row for row in map(json.loads, lines)}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(path, f"has a line that is no row ({error!r})", "delete that line") from error


def append_row(folder: Path, row: Row) -> None:
    """Add a row to those that are there."""
    rows = [*read_rows(folder).values(), row]
    write_text(folder / ROWS_NAME, "".join(json.dumps(one, allow_nan=False) + "\n" for one in rows))


def write_curve(folder: Path, rows: Sequence[Row], *, title: str) -> str:
    """Write the table and the drawing of rows; return the table."""
    points = pool_seeds(rows)
    text = f"{title} {LEGEND}\n\n" + "\n".join(format_points(points)) + "\n"
    write_text(folder / TABLE_NAME, text)
    drawn = {panel: series for panel, series in draw_series(points).items() if series}
    if drawn:
        along = "annotated tomograms"
        write_text(folder / DRAWING_NAME, draw_panels(drawn, along=along, title=f"F4 on {rows[0]['judged']}"))
    return text


@dataclass(frozen=True, eq=False)
class Point:
    """What all seeds of one point found together, and the mean of F4 at the best thresholds."""

    piece: Piece
    counts: Counts
    best: float
    seeds: int


def pool_seeds(rows: Iterable[Row]) -> dict[Piece, Point]:
    """Return the points without their seeds: the counts of each run are the sum over seeds."""
    grouped: dict[Piece, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[Piece(row["annotation"], row["way"], row["count"], 0, row["thresholds"])].append(row)
    return {piece: _pool(piece, group) for piece, group in grouped.items()}


def _pool(piece: Piece, rows: Sequence[Row]) -> Point:
    every = [_read_counts(row["counts"]) for row in rows]
    sums = {name: np.sum([getattr(counts, name) for counts in every], axis=0) for name in _TABLES[1:]}
    best = float(np.mean([row["f4_at_best_thresholds"] for row in rows]))
    return Point(piece, replace(every[0], **sums), best, len(rows))


def _read_counts(written: Mapping[str, Any]) -> Counts:
    tables = {name: np.array(written[name], float) for name in _TABLES}
    return Counts(objects=tuple(written["objects"]), runs=tuple(written["runs"]), **tables)


def format_points(points: Mapping[Piece, Point]) -> list[str]:
    """Return a Markdown table, a line for each point."""
    objects = next(iter(points.values())).counts.objects
    gained, best = "gain on fewer annotated", "at the test set's best thresholds"
    columns = ["annotation", "way", "annotated", "F4", gained, "on `scratch`", best, *objects]
    lines = [[str(cell) for cell in _format_point(point, points)] for point in points.values()]
    return [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *lines)]


def _format_point(point: Point, points: Mapping[Piece, Point]) -> list[object]:
    piece = point.piece
    way = f"{piece.way}, {piece.thresholds} thresholds" if piece.way == SHIPPED else piece.way
    rivals = (_find_fewer(piece, points), points.get(replace(piece, way="scratch")))
    by_object = estimate_objects(point.counts).values()
    cells = (_show(estimate_total(point.counts)), *(_gain(point, other) for other in rivals), f"{point.best:.3f}")
    return [piece.annotation, way, piece.count, *cells, *(_show(estimate) for estimate in by_object)]


def _find_fewer(piece: Piece, points: Mapping[Piece, Point]) -> Point | None:
    """Return the point of the same way with the next lower number of runs: at 0 the model that it starts from."""
    same = [p for p in points if (p.annotation, p.way) == (piece.annotation, piece.way) and p.count < piece.count]
    if same:
        return points[max(same, key=lambda other: other.count)]
    return points.get(Piece("none", SHIPPED, 0)) if piece.way not in {"scratch", SHIPPED} else None


def _gain(point: Point, other: Point | None) -> str:
    if other is None or other is point:
        return ""
    scales = [{name: getattr(p.counts, name) / p.seeds for name in _TABLES[1:]} for p in (point, other)]
    one, two = (replace(p.counts, **scaled) for p, scaled in zip((point, other), scales, strict=True))
    margin = compare_paired(one, two)["total"]
    return _show(margin, signed=True) + (" *" if margin.excludes_zero else "")


def _show(estimate: Estimate, *, signed: bool = False) -> str:
    if not signed:
        return format_estimate([v for v in (estimate.value, estimate.low, estimate.high) if np.isfinite(v)])
    interval = f" ({estimate.low:+.3f} to {estimate.high:+.3f})" if np.isfinite(estimate.low) else ""
    return f"{estimate.value:+.3f}{interval}"


def draw_series(points: Mapping[Piece, Point]) -> dict[str, list[Series]]:
    """Return a panel for each annotation, with a line for each way; ways that start from the model start at its F4."""
    panels: dict[str, list[Series]] = {}
    ways = dict.fromkeys((p.annotation, p.way) for p in points if p.way != SHIPPED)
    start = points.get(Piece("none", SHIPPED, 0))
    for annotation, way in ways:
        line = sorted((p for p in points if (p.annotation, p.way) == (annotation, way)), key=lambda p: p.count)
        places = [(p.count, float(points[p].counts.total())) for p in line]
        if start is not None and way != "scratch":
            places.insert(0, (0, float(start.counts.total())))
        series = Series(way, [place[0] for place in places], [place[1] for place in places])
        panels.setdefault(f"{annotation} annotation", []).append(series)
    return panels
