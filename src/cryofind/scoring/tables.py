"""A score report as plain text."""

from cryofind.types import ObjectScore, ScoreReport

HEADER = ("object", "TP", "FP", "FN", "precision", "recall", "F", "weight")


def format_score_table(report: ScoreReport) -> str:
    """Return the report as a table: a row per object, the total, and how it was counted.

    When runs are among those that the model was trained on, every line with a number says so, and a last one which.
    """
    header = tuple(f"F{report.beta:g}" if title == "F" else title for title in HEADER)
    rows = [_row(name, rated) for name, rated in report.objects.items()]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    mark = "  in-sample" if report.in_sample_runs else ""
    lines = [align_row(header, widths), *(align_row(row, widths) + mark for row in rows)]
    lines.insert(1, "-" * len(lines[0]))
    runs = f"{len(report.runs)} run" + ("s" if len(report.runs) != 1 else "")
    lines += [
        lines[1],
        f"weighted F{report.beta:g}: {report.f_beta:.6f}{mark}",
        f"mode {report.mode}, beta {report.beta:g}, {runs}, weights divided by {report.divisor:g}",
    ]
    if report.in_sample_runs:
        lines.append(f"WARNING: in-sample, the model was trained on: {', '.join(report.in_sample_runs)}")
    return "\n".join(lines) + "\n"


def _row(name: str, rated: ObjectScore) -> tuple[str, ...]:
    counts = (str(rated.tp), str(rated.fp), str(rated.fn))
    return (name, *counts, f"{rated.precision:.4f}", f"{rated.recall:.4f}", f"{rated.f_beta:.4f}", f"{rated.weight:g}")


def align_row(row: tuple[str, ...], widths: list[int], *, left: int = 1) -> str:
    """Return the cells of a row in columns of these widths: the first `left` begin, the others end in line."""
    justified = [
        cell.ljust(width) if column < left else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(justified)
