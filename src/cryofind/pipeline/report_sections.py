"""Parts of a report's pages that come from picks alone: scores, curves, failures, offsets."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from cryofind.config import ScoreConfig
from cryofind.pipeline.failures import FailureReport
from cryofind.report.charts import Bar, Mark, Series, bars, histogram, line_chart
from cryofind.report.colors import choose_colors, format_color
from cryofind.report.rendering import format_percent
from cryofind.report.tomogram_page import Section, Table
from cryofind.scoring.curves import ScoreCurve, trace_curves
from cryofind.scoring.rates import RateTable
from cryofind.scoring.residuals import Residual, Residuals
from cryofind.types import ParticleSpec, Picks

SCORE_BINS = np.linspace(0.0, 1.0, 26)
CURVE_POINTS = 120
MOST_BARS = 24

_CAUSES = {
    "threshold": "the candidate in reach was not selected",
    "shared": "the pick in reach went to a neighbour",
    "confused": "on a particle of another kind",
    "absent": "no candidate in reach",
    "duplicate": "a better pick has the particle",
    "background": "no particle in reach",
}


def colors_in_words(specs: Sequence[ParticleSpec]) -> dict[str, str]:
    """Return the colour of every object as `#rrggbb`."""
    return {name: format_color(color) for name, color in choose_colors(specs).items()}


def describe_cause(cause: str) -> str:
    """Return in words why a particle was missed or a pick is false."""
    return _CAUSES.get(cause, cause)


def show_scores(
    picks: Picks, specs: Sequence[ParticleSpec], curves: Sequence[ScoreCurve] = (), *, beta: float = 1.0
) -> tuple[Section, ...]:
    """Return histograms of scores and what every threshold would give; nothing without candidates.

    Parameters
    ----------
    picks
        All candidates.
    specs
        Objects, with their colours.
    curves
        What thresholds score, with the selection that was made; none without a truth.
    beta
        Weight of recall against precision in the curves.
    """
    found = {spec.name: picks.of_object(spec.name).scores for spec in specs if spec.is_particle}
    scores = {name: values for name, values in found.items() if len(values)}
    if not scores:
        return ()
    colors = colors_in_words(specs)
    counts = histogram(
        scores,
        title="Scores of all candidates",
        x_label="score",
        y_label="candidates",
        bins=SCORE_BINS,
        log_counts=True,
        colors=colors,
    )
    sentences = ("A ring in a curve marks what was selected.",) if curves else ()
    figures = (counts, *_draw_curves(curves, colors, beta)) if curves else (counts,)
    return (Section("scores", "Scores and thresholds" if curves else "Scores", sentences=sentences, figures=figures),)


def _draw_curves(curves: Sequence[ScoreCurve], colors: dict[str, str], beta: float) -> tuple[Markup, Markup]:
    """Return F-beta over the threshold and precision over recall, with the selection that was made marked."""
    chosen = [curve.chosen for curve in curves]
    over_threshold = line_chart(
        [Series(curve.name, curve.thresholds, curve.f_beta, color=colors.get(curve.name)) for curve in curves],
        title=f"F{beta:g} over the threshold",
        x_label="lowest score that is picked",
        y_label=f"F{beta:g}",
        marks=[Mark(point.threshold, point.f_beta, "") for point in chosen if point.threshold is not None],
        x_limits=(0.0, 1.0),
        y_limits=(0.0, 1.0),
    )
    over_recall = line_chart(
        [Series(curve.name, curve.recall, curve.precision, color=colors.get(curve.name)) for curve in curves],
        title="Precision over recall",
        x_label="recall",
        y_label="precision",
        marks=[Mark(point.recall, point.precision, "") for point in chosen if point.threshold is not None],
        x_limits=(0.0, 1.0),
        y_limits=(0.0, 1.0),
    )
    return over_threshold, over_recall


def trace_thinned(
    picks: Picks, truth: Picks, specs: Sequence[ParticleSpec], config: ScoreConfig, runs: Sequence[str]
) -> list[ScoreCurve]:
    """Return what every threshold would score, for each object that has candidates and particles."""
    curves = trace_curves(picks, truth, specs, config=config, runs=runs)
    return [curve.thinned(CURVE_POINTS) for curve in curves.values() if len(curve.thresholds)]


def show_failures(explained: FailureReport, *, with_rates: bool = True) -> Section:
    """Return what went wrong: what stands out, causes, confusions and, of many tomograms, rates by circumstance."""
    analysis = explained.analysis
    few = (*([explained.mistake] if explained.mistake else []), *analysis.remarks)
    figures = [
        *_draw_causes("Missed particles by cause", analysis.causes_missed),
        *_draw_causes("False picks by cause", analysis.causes_false),
    ]
    if with_rates:
        figures += [_draw_rates(table) for table in analysis.tables]
    rows = tuple(
        (one.picked, one.true, str(one.count), str(one.missed), format_percent(one.count / max(one.false_picks, 1)))
        for one in analysis.confusions
    )
    header = ("picked as", "is in truth", "false picks", "of particles that were missed", "of its false picks")
    return Section(
        "failures",
        "What went wrong",
        sentences=explained.sentences if with_rates else few,
        figures=tuple(figures),
        tables=(Table(header, rows),) if rows else (),
    )


def _draw_causes(title: str, causes: dict[str, int]) -> list[Markup]:
    """Return a chart of the causes that occur; nothing without failures."""
    shown = [Bar(describe_cause(cause), count) for cause, count in causes.items() if count]
    return [bars(shown, title=title, value_label="count")] if shown else []


def _draw_rates(table: RateTable) -> Markup:
    chosen, title = list(table.bins), table.title
    if len(chosen) > MOST_BARS:
        chosen, title = sorted(chosen, key=lambda row: -row.rate)[:MOST_BARS], f"{title}: the {MOST_BARS} highest"
    shown = []
    for row in chosen:
        low, high = row.interval
        name = f"{row.label.removeprefix('of ').removeprefix('in run ')}{' (stands out)' if row.stands_out else ''}"
        shown.append(Bar(name, round(row.rate, 2), low, high, note=f"({row.failures} of {row.count})"))
    return bars(shown, title=title, value_label=f"share that is {table.failure}", limits=(0.0, 1.0))


def show_residuals(residuals: Residuals) -> tuple[Section, ...]:
    """Return how far matched picks lie from their particles; nothing without a matched pick."""
    if residuals.pooled is None:
        return ()
    rows = tuple(_describe_residual(part) for part in (residuals.pooled, *residuals.by_object))
    sentences = residuals.sentences or ("No mean offset stands out.",)
    table = Table(("object", "matched", "z, Å", "y, Å", "x, Å"), rows)
    return (Section("residuals", "Offsets of matched picks", sentences=sentences, tables=(table,)),)


def _describe_residual(part: Residual) -> tuple[str, ...]:
    cells = [
        f"{mean:+.1f} ± {error:.1f}" if np.isfinite(error) else f"{mean:+.1f}"
        for mean, error in zip(part.mean_zyx_angstrom, part.error_zyx_angstrom, strict=True)
    ]
    return (part.object or "all", str(part.count), *cells)
