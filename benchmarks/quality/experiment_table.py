"""What the trainings of experiments.py found, as tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from figures import DRAWS, LEAST_RUNS, Counts, Estimate, Floats, draw_runs
from rows import counts_of_row

Row = Mapping[str, Any]

LEGEND = """The first line of a table is the common recipe with its F4; the others are differences from it, paired by
run and seed, with 95 % intervals by bootstrap over runs and seeds; `*`: the interval excludes 0. Of {count} variants
one in twenty would do so by chance; intervals over few seeds are too narrow. Thresholds of each half of the runs come
from the other half. `best`: F4 at the set's own best thresholds. All trainings took the same time of the processor."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A variant's trainings on one set, by seed: counts, and F4 at the best thresholds."""

    counts: Mapping[int, Counts]
    best: Mapping[int, float]

    @classmethod
    def of(cls, rows: Sequence[Row], name: str) -> "Trained":
        """Return what rows of one variant found on a set."""
        found = {row["seed"]: row["sets"][name] for row in rows}
        best = {seed: one["f4_at_best_thresholds"] for seed, one in found.items()}
        return cls({seed: counts_of_row(one) for seed, one in found.items()}, best)

    def paired_with(self, other: "Trained") -> "tuple[Trained, Trained]":
        """Return this one and another, both with the seeds that they share."""
        shared = [seed for seed in self.counts if seed in other.counts]
        one, two = (
            Trained({seed: t.counts[seed] for seed in shared}, {seed: t.best[seed] for seed in shared})
            for t in (self, other)
        )
        return one, two


def estimate_figures(trained: Trained, baseline: Trained | None = None) -> dict[str, Estimate]:
    """Return F4 in all (`total`) and by object, the mean over seeds, or how much more that is than the baseline's.

    Every draw of the bootstrap takes the same runs and seeds of both. With one seed the interval is over runs alone.
    """
    counts = [trained.counts[seed] for seed in sorted(trained.counts)]
    draws = draw_runs(len(counts[0].runs))
    values, drawn = _measure(counts, None), _measure(counts, draws)
    if baseline is not None:
        others = [baseline.counts[seed] for seed in sorted(trained.counts)]
        if {(one.runs, one.objects) for one in (*counts, *others)} != {(counts[0].runs, counts[0].objects)}:
            raise ValueError("only trainings judged by the same runs and objects can be compared")
        values, drawn = values - _measure(others, None), drawn - _measure(others, draws)
    seeds = np.random.default_rng(1).integers(0, len(counts), (DRAWS, len(counts)))
    means = drawn[seeds, np.arange(DRAWS)[:, None]].mean(axis=1)
    low, high = np.nanpercentile(means, [2.5, 97.5], axis=0)
    if len(counts[0].runs) < LEAST_RUNS:
        low, high = np.full_like(low, -np.inf), np.full_like(high, np.inf)
    names = ("total", *counts[0].objects)
    figures = zip(values[:, 0].mean(axis=0), low, high, strict=True)
    return {name: Estimate(*map(float, figure)) for name, figure in zip(names, figures, strict=True)}


def _measure(counts: Sequence[Counts], draws: Any) -> Floats:
    """Return F4 in all and by object, shape (seeds, draws, 1 + objects); without draws one of all runs."""
    rows = np.arange(len(counts[0].runs))[None] if draws is None else draws
    return np.stack([np.column_stack([one.total(rows), one.f_beta(rows)]) for one in counts])


def format_table(rows: Mapping[str, Sequence[Row]], asks: Mapping[str, str], baseline: str, name: str) -> str:
    """Return the Markdown table of a set; `rows` by variant, the baseline among them, in the order of the lines."""
    trained = {variant: Trained.of(found, name) for variant, found in rows.items()}
    reference = trained[baseline]
    objects = next(iter(reference.counts.values())).objects
    columns = ("variant", "", "steps", "seeds", "F4", "on the common recipe", "best", *objects)
    lines = [columns, ("---",) * len(columns)]
    for variant, found in rows.items():
        own = trained[variant]
        figures = estimate_figures(own)
        shared, others = own.paired_with(reference)
        is_compared = variant != baseline and bool(shared.counts)
        margins = estimate_figures(shared, others) if is_compared else None
        shown = margins or figures
        lines.append((
            variant,
            asks[variant],
            "/".join(dict.fromkeys(str(row["steps"]) for row in found)),
            ", ".join(f"{own.counts[seed].total():.3f}" for seed in sorted(own.counts)),
            f"**{figures['total'].value:.3f}**",
            _show(margins["total"], signed=True) if margins else "",
            f"{np.mean(list(own.best.values())):.3f}",
            *(_show(shown[one], signed=margins is not None) for one in objects),
        ))  # fmt: skip
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _show(estimate: Estimate, *, signed: bool) -> str:
    sign = "+" if signed else ""
    text = f"{estimate.value:{sign}.3f}"
    if np.isfinite(estimate.low):
        text += f" ({estimate.low:{sign}.3f} to {estimate.high:{sign}.3f})"
    return text + (" *" if signed and estimate.excludes_zero else "")


def format_report(rows: Mapping[str, Sequence[Row]], asks: Mapping[str, str], baseline: str, title: str) -> str:
    """Return the tables of all sets, rows being given by variant; empty without a row of the baseline."""
    trained = {name: [row for row in found if "sets" in row] for name, found in rows.items()}
    trained = {name: found for name, found in trained.items() if found}
    if baseline not in trained:
        return ""
    sections = [f"# {title}", LEGEND.format(count=len(trained) - 1)]
    for name in trained[baseline][0]["sets"]:
        counts = counts_of_row(trained[baseline][0]["sets"][name])
        numbers = zip(counts.references.sum(axis=0), counts.objects, strict=True)
        held = ", ".join(f"{number:.0f} {one}" for number, one in numbers)
        table = format_table(trained, asks, baseline, name)
        sections.append(f"## `{name}`: {len(counts.runs)} runs, {held}\n\n{table}")
    failed = [f"- {name}: {row['problem']}" for name, found in rows.items() for row in found if "problem" in row]
    if failed:
        sections.append("\n".join(["## Failed", "", *failed]))
    return "\n\n".join(sections) + "\n"
