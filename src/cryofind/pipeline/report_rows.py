"""The cells of a summary's tables, from the numbers of `report.json`."""

from collections import defaultdict
from typing import Any

from cryofind.report.rendering import format_percent, format_share
from cryofind.report.summary_page import Column
from cryofind.report.tomogram_page import Facts

Record = dict[str, Any]


def describe_result(record: Record) -> Facts:
    """Return what made a result."""
    models = "\n".join(f"{model['name']} (SHA-256 {model['sha256']})" for model in record.get("models", []))
    environment = record.get("environment", {})
    packages = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    facts = [
        ("model", models or "unknown"),
        ("recipe (SHA-256)", record.get("recipe_sha256", "unknown")),
        ("thresholds", record.get("config", {}).get("locate", {}).get("thresholds", "unknown")),
        ("finished", record.get("finished", "unknown")),
        ("command", environment.get("command", "unknown")),
        ("cryofind", environment.get("cryofind", "unknown")),
        ("packages", packages or "unknown"),
        ("computer", f"{environment.get('platform', 'unknown')}, {environment.get('cores', '?')} cores"),
    ]
    return tuple((label, str(value)) for label, value in facts)


def object_columns(document: Record) -> tuple[Column, ...]:
    """Return the columns of the table of objects; those of a score or of expectations where there are any."""
    score = document["score"]
    columns = [Column("picks", "picks")]
    if score is not None:
        columns += [Column("f", f"F{score['beta']:g}"), Column("precision", "precision"), Column("recall", "recall")]
        columns += [Column(key, title) for key, title in (("true", "true"), ("tp", "TP"), ("fp", "FP"), ("fn", "FN"))]
        columns.append(Column("weight", "weight"))
    if _has_expectations(document):
        columns += [Column("expected", "expected particles"), Column("right", "expected right")]
    columns += [Column("threshold", "threshold"), Column("candidates", "candidates"), Column("radius", "radius,\xa0Å")]
    return tuple(columns)


def _has_expectations(document: Record) -> bool:
    return any(numbers["expected"] is not None for numbers in document["objects"].values())


def object_row(name: str, numbers: Record) -> Record:
    """Return the cells of an object."""
    rated = numbers.get("score") or {}
    hits, picks = numbers["expected_hits"], numbers["picks"]
    return {
        "name": name,
        "color": numbers["color"],
        "radius": f"{numbers['radius_angstrom']:g}",
        "threshold": "-" if numbers["threshold"] is None else f"{numbers['threshold']:.3f}",
        "candidates": f"{numbers['candidates']:,}",
        "picks": f"{picks:,}",
        "expected": "-" if numbers["expected"] is None else f"{numbers['expected']:.0f}",
        "right": format_percent(min(1.0, hits / picks) if hits is not None and picks else None),
        "true": numbers.get("true", "-"),
        **{key: rated.get(key, "-") for key in ("tp", "fp", "fn")},
        **{key: format_share(rated.get(key)) for key in ("precision", "recall")},
        "f": format_share(rated.get("f_beta")),
        "weight": f"{rated['weight']:g}" if rated else "-",
    }


def run_columns(document: Record) -> tuple[Column, ...]:
    """Return the columns of the table of runs."""
    score = document["score"]
    columns = [Column("picks", "picks")]
    if _has_expectations(document):
        columns.append(Column("right", "expected right"))
    if score is not None:
        columns += [Column("f", f"F{score['beta']:g}"), Column("tp", "TP"), Column("fp", "FP"), Column("fn", "FN")]
    columns += [Column(f"of {name}", name, numbers["color"]) for name, numbers in document["objects"].items()]
    return (*columns, Column("seconds", "seconds"))


def run_row(run: Record) -> Record:
    """Return the cells of a run, or of a tomogram that could not be picked."""
    if "error" in run:
        return defaultdict(lambda: "-", run=run["run"] or run["item"], page="", notes=(run["error"],))
    objects = run["objects"]
    rated = [one["score"] for one in objects.values() if one.get("score")]
    known = [one for one in objects.values() if one["expected"]]
    hits, promised = sum(one["expected"]["expected_hits"] for one in known), sum(one["picks"] for one in known)
    counts = {key: sum(one[key] for one in rated) if rated else "-" for key in ("tp", "fp", "fn")}
    return {
        "run": run["run"],
        "page": run["page"],
        "notes": tuple(run["warnings"]),
        "picks": sum(one["picks"] for one in objects.values()),
        **{f"of {name}": one["picks"] for name, one in objects.items()},
        "right": format_percent(min(1.0, hits / promised) if promised else None),
        **counts,
        "f": format_share(run["f_beta"]),
        "seconds": f"{sum(run['seconds'].values()):.1f}",
    }
