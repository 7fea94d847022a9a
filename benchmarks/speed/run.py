"""Every number of the speed table, measured: `python benchmarks/speed/run.py [ROW ...]`; `make bench-speed`.

Every row runs in a process of its own. Its result, with the machine and the load it was measured under, goes into
`speed.json` and `speed.md` in --out as soon as it is there; rows that are not measured this time stay as they are.
See README.md for the method.
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from machine import describe_load, describe_machine, load_average, read_load
from measuring import describe_error, describe_exit
from options import Options, SkippedError, Triple
from report import as_documents, format_report, has_failed

from cryofind.atomic import write_json, write_text

# Row, and the module with `measure` and `lines`; one with `files` also gives files to lie beside the table.
ROWS = {
    "startup": "startup",
    "network": "network",
    "picks": "picking",
    "location": "location",
    "monai": "against_monai",
    "streaming": "streaming",
    "precision": "precision",
    "growth": "growth",
    "training": "training",
    "gpu": "gpu",
}
FORMAT = 2  # of speed.json
QUICK_SHAPE_ZYX = (64, 128, 128)

Found = dict[str, Any]


def main() -> int:
    arguments = parse_arguments()
    if arguments.measure:
        return measure_here(arguments.measure, Options.from_json(arguments.rows[0]), arguments.out)
    options = make_options(arguments)
    out = arguments.out or options.scratch / ("results-quick" if options.quick else "results")
    options.scratch.mkdir(parents=True, exist_ok=True)
    rows = read_results(out)
    measured = choose_rows(arguments)
    for row in measured:
        print(f"{row}: load {load_average()[0]}", flush=True)
        rows[row] = measure_apart(row, options, out)
        write_results(out, rows)
    print((out / "speed.md").read_text())
    return int(any(has_failed(rows[row]) for row in measured))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; default: all")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="the same as ROW")
    parser.add_argument("--repeats", type=int, help="of every case; default 5, with --quick 1")
    parser.add_argument("--slow-repeats", type=int, help="of what takes minutes (MONAI); default 2")
    parser.add_argument("--long-repeats", type=int, help="of `streaming` and `growth`; default 3")
    parser.add_argument("--shape", type=parse_shape, help="Z,Y,X of the tomogram; default 184,630,630")
    parser.add_argument("--quick", action="store_true", help="a small volume, once: does the benchmark work?")
    parser.add_argument("--model", default=Options.model, help="for `precision`; default: a shipped one")
    parser.add_argument("--runs", type=int, default=Options.runs, help="tomograms of `precision`; default 3")
    parser.add_argument("--streaming-gigabytes", type=float, default=Options.streaming_gigabytes)
    parser.add_argument("--scratch", type=Path, default=Options.scratch, help="what is made once is kept here")
    parser.add_argument("--out", type=Path, help="default: SCRATCH/results, with --quick SCRATCH/results-quick")
    parser.add_argument("--measure", choices=ROWS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = [] if arguments.measure else sorted({*arguments.rows, *arguments.only} - set(ROWS))
    if unknown:
        parser.error(f"'{unknown[0]}' is not a row; known: {', '.join(ROWS)}")
    return arguments


def parse_shape(text: str) -> Triple:
    z, y, x = (int(size) for size in text.split(","))
    return z, y, x


def choose_rows(arguments: argparse.Namespace) -> list[str]:
    """Return the rows to measure, in the order of the table."""
    asked = {*arguments.rows, *arguments.only}
    return [row for row in ROWS if row in asked or not asked]


def make_options(arguments: argparse.Namespace) -> Options:
    quick = arguments.quick
    return Options(
        shape_zyx=arguments.shape or (QUICK_SHAPE_ZYX if quick else Options.shape_zyx),
        repeats=arguments.repeats or (1 if quick else Options.repeats),
        slow_repeats=arguments.slow_repeats or (1 if quick else Options.slow_repeats),
        long_repeats=arguments.long_repeats or (1 if quick else Options.long_repeats),
        quick=quick,
        scratch=arguments.scratch.resolve(),
        model=arguments.model,
        runs=1 if quick else arguments.runs,
        streaming_gigabytes=arguments.streaming_gigabytes,
    )


def measure_apart(row: str, options: Options, out: Path) -> Found:
    """Measure a row in a process of its own; return its result, or why there is none, and how busy the computer was."""
    before = read_load()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "row.json"
        command = [sys.executable, __file__, "--measure", row, "--out", str(path), "--", options.to_json()]
        ended = subprocess.run(command, check=False)
        found: Found = json.loads(path.read_text()) if path.exists() else {}
    if not found.keys() & {"lines", "skipped", "failed"}:
        found["failed"] = describe_exit(ended.returncode)
    for name, text in found.pop("files", {}).items():
        write_text(out / name, text)
    return {**found, "options": json.loads(options.to_json()), "load": describe_load(before, read_load())}


def measure_here(row: str, options: Options, path: Path) -> int:
    """Measure a row in this process; write step by step what is known, the result or why there is none at last."""
    found: Found = {"machine": describe_machine()}
    write_json(path, found)
    try:
        module = importlib.import_module(ROWS[row])
        found["result"] = module.measure(options)
        write_json(path, found)
        found["lines"] = as_documents(module.lines(found["result"]))
        if hasattr(module, "files"):
            found["files"] = module.files(found["result"])
    except SkippedError as reason:
        found["skipped"] = str(reason)
    except Exception as error:  # one row must not take the others with it; the whole ends with exit code 1
        traceback.print_exc()
        found["failed"] = describe_error(error)
    write_json(path, found)
    return 0


def read_results(out: Path) -> dict[str, Found]:
    """Return the rows of an earlier call; none if there was none.

    Raises
    ------
    SystemExit
        If what is there cannot be read: it is not replaced.
    """
    path = out / "speed.json"
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text())
        if document["format"] == FORMAT:
            rows: dict[str, Found] = document["rows"]
            return rows
    except (ValueError, KeyError, TypeError):
        pass
    sys.exit(f"{path} is not a result of this version of the benchmark: move it away, or give another --out")


def write_results(out: Path, rows: dict[str, Found]) -> None:
    """Write the results first and then the table, which is made from them."""
    ordered = {row: rows[row] for row in ROWS if row in rows}
    write_json(out / "speed.json", {"format": FORMAT, "rows": ordered})
    write_text(out / "speed.md", format_report(ordered))


if __name__ == "__main__":
    sys.exit(main())
