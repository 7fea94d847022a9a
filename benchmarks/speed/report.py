"""The result of all rows as Markdown: what was measured, then how, row by row."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from measuring import last_line
from table import Line, format_columns, format_table

# Others that keep more than this many cores busy while a row is measured spoil it.
MAX_OTHERS = 0.5
BUSY_MARK = "**busy**"


def format_report(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of what was measured and the table of rows, with the machines on which they were."""
    lines = [(row, line) for row, found in rows.items() for line in lines_of(found)]
    parts = [format_table(lines)]
    if any(found["options"]["quick"] for found in rows.values()):
        parts.append("**Quick rows, on a small volume, check the benchmark and say nothing about speed.**")
    parts += ["Medians; in brackets the least, the most and how often.", format_rows(rows)]
    for number, (machine, named) in enumerate(group_by_machine(rows), start=1):
        parts.append(f"Machine {number} ({', '.join(named)}): {machine}")
    return "\n\n".join(parts) + "\n"


def lines_of(found: Mapping[str, Any]) -> list[Line]:
    """Return the lines of one row; of one that was not measured, why."""
    for kind in ("skipped", "failed"):
        if kind in found:
            return [Line("whole row", "", f"{kind}: {last_line(found[kind])}")]
    lines = [Line(**line) for line in found["lines"]]
    return [replace(line, reached=None) for line in lines] if found["options"]["quick"] else lines


def has_failed(found: Mapping[str, Any]) -> bool:
    """Say whether a row, or a part of it, could not be measured though it should have been."""
    return any(line.measured.startswith("failed: ") for line in lines_of(found))


def format_rows(rows: Mapping[str, Mapping[str, Any]]) -> str:
    names = ("row", "measured at", "commit", "minutes", "load before", "load after", "cores kept busy by others", "")
    return format_columns(names, [(row, *describe_row(found)) for row, found in rows.items()])


def describe_row(found: Mapping[str, Any]) -> tuple[str, ...]:
    machine, load = found.get("machine", {}), found["load"]
    others = "unknown" if load["others"] is None else f"{load['others']:.2f}"
    notes = ["quick"] if found["options"]["quick"] else []
    notes += [BUSY_MARK] if (load["others"] or 0.0) > MAX_OTHERS else []
    return (
        machine.get("date", "unknown"),
        machine.get("commit", "unknown"),
        f"{load['seconds'] / 60:.1f}",
        f"{load['load_before']:.2f}",
        f"{load['load_after']:.2f}",
        others,
        ", ".join(notes),
    )


def group_by_machine(rows: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return the machines that rows were measured on, each with its rows."""
    groups: dict[str, list[str]] = {}
    for row, found in rows.items():
        groups.setdefault(describe_machine(found.get("machine")), []).append(row)
    return list(groups.items())


def describe_machine(machine: Mapping[str, Any] | None) -> str:
    if not machine:
        return "unknown"
    family, model = machine["cpu_family_and_model"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items() if number)
    return (
        f"{machine['cpu']} (family {family}, model {model}), {machine['cores']} cores, {machine['torch_threads']} "
        f"threads, {machine['memory_gigabytes']:g} GB, {' '.join(machine['flags'])}; GPU: {machine['gpu'] or 'none'}; "
        f"{versions}."
    )


def as_documents(lines: list[Line]) -> list[dict[str, Any]]:
    """Return lines as JSON keeps them."""
    return [asdict(line) for line in lines]
