"""Failure rates by circumstance: counts with intervals, and whether one of them stands out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cryofind.scoring.chance import hypergeometric_moments, tail_probability
from cryofind.scoring.circumstances import wilson_interval
from cryofind.scoring.places import SCALES, RateCircumstance

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# `missed`: the share of true particles that no selected pick hits. `false`: the share of selected picks that is false.
Failure = Literal["missed", "false"]

# A bin stands out if its failures are as improbable as this over all bins that were looked at (Bonferroni): one
# analysis in a hundred says something of nothing. And if its rate is so far above the expected one that it matters.
LARGEST_CHANCE = 0.01
LEAST_EXCESS = 0.05

MOST_NAMED = 3  # bins in one sentence


@dataclass(frozen=True)
class RateBin:
    """Failures among the particles or picks of one bin.

    Parameters
    ----------
    label
        What they have in common, in words that follow "of 40 particles ...".
    count
        How many there are.
    failures
        Of these, how many failed.
    expected
        How many would have failed if the circumstance did not matter: at the rates of their objects in their runs (for
        the circumstances `object` and `run`: at those of the other of the two).
    chance
        The probability of at least so many failures if it did not matter (see `tail_probability`); None where there are
        no more than expected, and for the bins of one object, which are not judged.
    low, high
        The bin's limits, low included (the last bin: both); None for names, and where a bin is open.
    stands_out
        Whether there are so many more failures that chance is no explanation; see `judge_tables`.
    """

    label: str
    count: int
    failures: int
    expected: float
    chance: float | None
    low: float | None = None
    high: float | None = None
    stands_out: bool = False

    @property
    def rate(self) -> float:
        """The share of failures, 0 to 1; 0 where there is nothing."""
        return self.failures / self.count if self.count else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the rate; see `wilson_interval`."""
        return wilson_interval(self.failures, self.count)

    def to_dict(self) -> dict[str, Any]:
        """Return the bin as a JSON-ready dictionary."""
        low, high = self.interval
        return {**vars(self), "rate": self.rate, "interval": [low, high]}


@dataclass(frozen=True)
class RateTable:
    """Failure rate over one circumstance.

    Parameters
    ----------
    failure
        What is counted: missed particles or false picks.
    circumstance
        What the bins are of.
    title
        A heading for people.
    bins
        All objects together; no bin is empty.
    by_object
        The same bins of each object alone, not judged; empty for the circumstances `object` and `run`.
    unknown
        Particles or picks left out, since it is not known how they lie (no tomogram, no segmentation).
    sentence
        What stands out and by how much, with its counts; empty when nothing does.
    """

    failure: Failure
    circumstance: RateCircumstance
    title: str
    bins: tuple[RateBin, ...]
    by_object: dict[str, tuple[RateBin, ...]]
    unknown: int
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return the table as a JSON-ready dictionary."""
        by_object = {name: [row.to_dict() for row in bins] for name, bins in self.by_object.items()}
        return {**vars(self), "bins": [row.to_dict() for row in self.bins], "by_object": by_object}


@dataclass(frozen=True, eq=False)
class Sample:
    """The particles or picks whose failures are counted, N of them.

    Parameters
    ----------
    failure
        What a failure is called.
    objects, runs
        Name of the object and of the run of each, shape (N,).
    is_failure
        Whether each failed, shape (N,).
    """

    failure: Failure
    objects: NDArray[np.str_]
    runs: NDArray[np.str_]
    is_failure: NDArray[np.bool_]


def tabulate_names(sample: Sample, circumstance: Literal["object", "run"]) -> RateTable:
    """Return the failure rate of every object, or of every run; nothing stands out yet."""
    names, others = sample.objects, sample.runs
    if circumstance == "run":
        names, others = others, names
    labels, bins = _encode(names)
    phrases = tuple(f"of {name}" if circumstance == "object" else f"in run {name}" for name in labels)
    limits = (None,) * (len(labels) + 1)
    return _tabulate(sample, circumstance, bins, phrases, limits, _encode(others)[1])


def tabulate_values(sample: Sample, circumstance: RateCircumstance, values: Floats) -> RateTable:
    """Return the failure rate over a value (N,) that has a scale, NaN where it is not known; nothing stands out yet."""
    scale = SCALES[circumstance]
    limits = tuple(limit if np.isfinite(limit) else None for limit in scale.limits)
    _, objects = _encode(sample.objects)
    _, runs = _encode(sample.runs)
    strata = np.unique(objects * (runs.max(initial=0) + 1) + runs, return_inverse=True)[1]
    return _tabulate(sample, circumstance, scale.bin_of(values), scale.labels, limits, strata)


def _encode(names: NDArray[np.str_]) -> tuple[tuple[str, ...], Ints]:
    """Return the distinct names, sorted, and which of them each one is."""
    listed = names.tolist()
    distinct = sorted(set(listed))
    code_of = {name: code for code, name in enumerate(distinct)}
    return tuple(distinct), np.array([code_of[name] for name in listed], dtype=np.int64)


def _tabulate(
    sample: Sample,
    circumstance: RateCircumstance,
    bins: Ints,
    labels: Sequence[str],
    limits: Sequence[float | None],
    strata: Ints,
) -> RateTable:
    known = bins >= 0
    rows = _count_bins(bins[known], sample.is_failure[known], strata[known], labels, limits, is_judged=True)
    by_object = {}
    if circumstance not in {"object", "run"}:
        for name in _encode(sample.objects)[0]:
            mine = known & (sample.objects == name)
            by_object[name] = _count_bins(
                bins[mine], sample.is_failure[mine], strata[mine], labels, limits, is_judged=False
            )
    what = "Missed particles" if sample.failure == "missed" else "False picks"
    title = f"{what} {_TITLES[circumstance]}"
    unknown = int(np.count_nonzero(~known))
    return RateTable(sample.failure, circumstance, title, rows, by_object, unknown, "")


_TITLES: dict[RateCircumstance, str] = {
    "object": "by object",
    "run": "by run",
    "depth": "over depth",
    "crowding": "over crowding",
    "edge": "over the distance to the box's faces",
    "membrane": "over the distance to the nearest membrane",
    "score": "over score",
}


def _count_bins(
    bins: Ints,
    is_failure: NDArray[np.bool_],
    strata: Ints,
    labels: Sequence[str],
    limits: Sequence[float | None],
    *,
    is_judged: bool,
) -> tuple[RateBin, ...]:
    """Return the bins that hold anything."""
    strata = np.unique(strata, return_inverse=True)[1]
    shape = (len(labels), int(strata.max(initial=-1)) + 1)
    cells = bins * shape[1] + strata
    counts = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
    failures = np.bincount(cells[is_failure], minlength=shape[0] * shape[1]).reshape(shape)
    all_counts, all_failures = counts.sum(axis=0), failures.sum(axis=0)
    rows = []
    for number in np.flatnonzero(counts.sum(axis=1)).tolist():
        in_bin, failed = counts[number], int(failures[number].sum())
        expected = float(hypergeometric_moments(all_failures, all_counts, in_bin)[0].sum())
        is_above = is_judged and failed > expected
        chance = tail_probability(all_failures, all_counts, in_bin, failed) if is_above else None
        total = int(in_bin.sum())
        rows.append(RateBin(labels[number], total, failed, expected, chance, limits[number], limits[number + 1]))
    return tuple(rows)


def judge_tables(tables: Sequence[RateTable]) -> tuple[RateTable, ...]:
    """Return the tables with the bins marked that stand out, and a sentence on them.

    A bin stands out if the probability of its failures, times the number of bins of all tables, is at most
    `LARGEST_CHANCE`, and its rate at least `LEAST_EXCESS` above the expected one. Particles are taken to fail
    independently of each other.
    """
    looked_at = sum(len(table.bins) for table in tables)
    judged = []
    for table in tables:
        bins = tuple(replace(row, stands_out=_stands_out(row, looked_at)) for row in table.bins)
        judged.append(replace(table, bins=bins, sentence=_say(table, [row for row in bins if row.stands_out])))
    return tuple(judged)


def _stands_out(row: RateBin, looked_at: int) -> bool:
    if row.chance is None:
        return False
    return row.chance * looked_at <= LARGEST_CHANCE and row.failures - row.expected >= LEAST_EXCESS * row.count


def _say(table: RateTable, outstanding: Sequence[RateBin]) -> str:
    if not outstanding:
        return ""
    first, *others = sorted(outstanding, key=lambda row: (row.chance or 0.0, row.expected - row.failures))
    what = "particles" if table.failure == "missed" else "selected picks"
    basis = {"object": "runs", "run": "objects"}.get(table.circumstance, "objects and runs")
    sentence = (
        f"{first.failures} of {first.count} {what} {first.label} are {table.failure}: {say_rate(first)}, where "
        f"{say_percent(first.expected / first.count)} would be expected from their {basis}."
    )
    if not others:
        return sentence
    named = ", ".join(f"{row.failures} of {row.count} {row.label}" for row in others[: MOST_NAMED - 1])
    more = len(others) - (MOST_NAMED - 1)
    return f"{sentence} So are {named}" + (f", and those of {more} more such groups." if more > 0 else ".")


def say_rate(row: RateBin) -> str:
    """Return the rate of a bin in words, with its interval."""
    low, high = row.interval
    return f"{say_percent(row.rate)} (95 % interval {say_percent(low)} to {say_percent(high)})"


def say_percent(share: float) -> str:
    """Return a share of 1 in words, such as `55 %`."""
    return f"{100 * share:.0f} %"
