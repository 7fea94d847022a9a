"""Failures in words: their causes, which kinds are taken for which, and a short text of all that stands out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryofind.scoring.circumstances import wilson_interval
from cryofind.scoring.rates import Failure, RateTable, say_percent, say_rate
from cryofind.scoring.tables import align_row

# A confusion is worth a sentence from this share of a kind's false picks on, by the lower end of its 95 % interval.
LEAST_CONFUSED = 0.1

_WORDS: dict[Failure, dict[str, str]] = {
    "missed": {
        "threshold": "with a candidate of their kind in reach that was not selected",
        "shared": "that share the pick in reach with a neighbour",
        "confused": "under a pick of another kind",
        "absent": "with nothing in reach",
    },
    "false": {
        "duplicate": "on a particle that a better pick of its kind has",
        "confused": "on a particle of another kind",
        "background": "on none",
    },
}


@dataclass(frozen=True)
class Confusion:
    """False picks of one kind that lie on particles of another.

    Parameters
    ----------
    picked, true
        The object of the picks, and that of the particles.
    count
        False picks of `picked` within the match radius of a particle of `true`.
    missed
        Of these, how many lie on a particle that was missed: one was taken for the other. The others lie on a particle
        that was found as well.
    false_picks
        All false picks of `picked`, for the share.
    """

    picked: str
    true: str
    count: int
    missed: int
    false_picks: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dictionary."""
        return dict(vars(self))


def make_remarks(
    tables: Sequence[RateTable],
    causes_missed: Mapping[str, int],
    causes_false: Mapping[str, int],
    confusions: Sequence[Confusion],
) -> tuple[str, ...]:
    """Return a sentence each on the missed, on the false picks, on the worst object (if one is) and on confusions.

    Parameters
    ----------
    tables
        All failure rates; those by object give the totals.
    causes_missed, causes_false
        Failures by cause.
    confusions
        Which kinds are taken for which; those are said whose share of the kind's false picks is at least
        `LEAST_CONFUSED`, by the lower end of its interval.
    """
    by_object = {table.failure: table for table in tables if table.circumstance == "object"}
    causes = {"missed": causes_missed, "false": causes_false}
    remarks = [_say_causes(table, causes[failure]) for failure, table in by_object.items()]
    remarks += [_say_worst(table) for table in by_object.values()]
    remarks += [_say_confusion(confusion) for confusion in confusions if _is_frequent(confusion)]
    return tuple(remark for remark in remarks if remark)


def _say_causes(table: RateTable, causes: Mapping[str, int]) -> str:
    failures, count = sum(row.failures for row in table.bins), sum(row.count for row in table.bins)
    verb = "is" if failures == 1 else "are"
    what = f"particles {verb} missed" if table.failure == "missed" else f"selected picks {verb} false"
    parts = ", ".join(f"{number} {_WORDS[table.failure][cause]}" for cause, number in causes.items() if number)
    return f"{failures} of {count} {what} ({say_percent(failures / count)}){': ' if parts else ''}{parts}."


def _say_worst(table: RateTable) -> str:
    worst = max(table.bins, key=lambda row: row.rate)
    if all(row.rate == worst.rate for row in table.bins):
        return ""
    what = ("Most missed", "particles") if table.failure == "missed" else ("Most often false", "picks")
    return f"{what[0]}: {worst.failures} of {worst.count} {what[1]} {worst.label}: {say_rate(worst)}."


def _is_frequent(confusion: Confusion) -> bool:
    return wilson_interval(confusion.count, confusion.false_picks)[0] >= LEAST_CONFUSED


def _say_confusion(confusion: Confusion) -> str:
    return (
        f"{confusion.count} of {confusion.false_picks} false picks of {confusion.picked} lie on particles of "
        f"{confusion.true}; {confusion.missed} of them on such as were missed."
    )


def format_failures(sentences: Sequence[str], tables: Sequence[RateTable], confusions: Sequence[Confusion]) -> str:
    """Return what stands out as lines of text: the sentences, where nothing does, and a table of confusions."""
    quiet = dict.fromkeys(table.circumstance for table in tables)
    for table in tables:
        if table.sentence:
            quiet.pop(table.circumstance, None)
    lines = [*sentences]
    if quiet:
        lines.append(f"No rate of failures stands out by {', '.join(quiet)}.")
    if confusions:
        header = ("false picks of", "on particles of", "count", "of them missed", "all false picks")
        rows = [(c.picked, c.true, str(c.count), str(c.missed), str(c.false_picks)) for c in confusions]
        widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
        lines += ["", *(align_row(row, widths, left=2) for row in (header, *rows))]
    return "\n".join(lines) + "\n"
