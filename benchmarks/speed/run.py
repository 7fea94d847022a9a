"""Every number of the speed table, measured: `python benchmarks/speed/run.py [ROW ...]`; `make bench-speed`.

Every row runs in a process of its own. Writes `speed.json` and `speed.md` into --out; see README.md for the method.
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import describe_machine, load_average
from options import PLOT_NAME, Options, SkippedError, Triple
from table import Line, format_table

from cryofind.atomic import write_json, write_text

# Row, and the module with `measure` and `lines`.
ROWS = {
    "network": "network",
    "picks": "picking",
    "location": "location",
    "monai": "against_monai",
    "streaming": "streaming",
    "precision": "precision",
    "growth": "growth",
    "gpu": "gpu",
}
QUICK_SHAPE_ZYX = (64, 128, 128)


def main() -> int:
    arguments = parse_arguments()
    if arguments.measure:
        return measure_here(arguments.measure, Options.from_json(arguments.rows[0]), arguments.out)
    options = make_options(arguments)
    options.scratch.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"machine": describe_machine(), "load_before": load_average(), "rows": {}}
    document["options"] = json.loads(options.to_json())
    for row in arguments.rows or ROWS:
        print(f"{row}: load {load_average()[0]}", flush=True)
        document["rows"][row] = {"load_before": load_average(), **measure_apart(row, options)}
        document["rows"][row]["load_after"] = load_average()
        document["load_after"] = load_average()
        write_results(arguments.out, document, options)
    print((arguments.out / "speed.md").read_text())
    return int(any("failed" in found for found in document["rows"].values()))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; default: all")
    parser.add_argument("--repeats", type=int, help="of every case; default 5, with --quick 1")
    parser.add_argument("--slow-repeats", type=int, default=1, help="of what takes minutes (MONAI); default 1")
    parser.add_argument("--shape", type=parse_shape, help="Z,Y,X of the tomogram; default 184,630,630")
    parser.add_argument("--quick", action="store_true", help="a small volume, once: does the benchmark work?")
    parser.add_argument("--model", default=Options.model, help="for `precision`; default: a shipped one")
    parser.add_argument("--runs", type=int, default=Options.runs, help="tomograms of `precision`; default 3")
    parser.add_argument("--streaming-gigabytes", type=float, default=Options.streaming_gigabytes)
    parser.add_argument("--scratch", type=Path, default=Options.scratch, help="what is made once is kept here")
    parser.add_argument("--out", type=Path, default=Options.scratch / "results")
    parser.add_argument("--measure", choices=ROWS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = [] if arguments.measure else sorted(set(arguments.rows) - set(ROWS))
    if unknown:
        parser.error(f"'{unknown[0]}' is not a row; known: {', '.join(ROWS)}")
    return arguments


def parse_shape(text: str) -> Triple:
    z, y, x = (int(size) for size in text.split(","))
    return z, y, x


def make_options(arguments: argparse.Namespace) -> Options:
    quick = arguments.quick
    return Options(
        shape_zyx=arguments.shape or (QUICK_SHAPE_ZYX if quick else Options.shape_zyx),
        repeats=arguments.repeats or (1 if quick else Options.repeats),
        slow_repeats=arguments.slow_repeats,
        quick=quick,
        scratch=arguments.scratch.resolve(),
        model=arguments.model,
        runs=1 if quick else arguments.runs,
        streaming_gigabytes=arguments.streaming_gigabytes,
    )


def measure_apart(row: str, options: Options) -> dict[str, Any]:
    """Measure a row in a process of its own; return its result, or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "row.json"
        command = [sys.executable, __file__, "--measure", row, "--out", str(out), "--", options.to_json()]
        finished = subprocess.run(command, check=False)
        if not out.exists():
            return {"failed": f"ended with exit code {finished.returncode}"}
        found: dict[str, Any] = json.loads(out.read_text())
    return found


def measure_here(row: str, options: Options, out: Path) -> int:
    """Measure a row in this process; write the result, or why there is none."""
    try:
        write_json(out, {"result": importlib.import_module(ROWS[row]).measure(options)})
    except SkippedError as reason:
        write_json(out, {"skipped": str(reason)})
    except Exception as error:  # one row must not take the others with it; the whole ends with exit code 1
        traceback.print_exc()
        write_json(out, {"failed": f"{type(error).__name__}: {error}"})
    return 0


def write_results(out: Path, document: dict[str, Any], options: Options) -> None:
    write_json(out / "speed.json", document)
    write_text(out / "speed.md", format_report(document))
    if "result" in document["rows"].get("growth", {}):
        write_text(out / PLOT_NAME, (options.scratch / PLOT_NAME).read_text())


def format_report(document: dict[str, Any]) -> str:
    machine, options = document["machine"], document["options"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items() if number)
    loads = " to ".join(f"{document[key][0]:g}" for key in ("load_before", "load_after"))
    head = [
        f"{machine['cpu']} (family {machine['cpu_family_and_model'][0]}, model {machine['cpu_family_and_model'][1]}), "
        f"{machine['cores']} cores, {machine['torch_threads']} threads, {machine['memory_gigabytes']:g} GB, "
        f"{' '.join(machine['flags'])}; GPU: {machine['gpu'] or 'none'}.",
        f"{versions}. Commit {machine['commit']}, {machine['date']}, load average {loads}.",
        f"Medians with quartiles; {options['repeats']} repeats, {options['slow_repeats']} of MONAI and its networks.",
    ]
    if options["quick"]:
        head.append("**A quick run on a small volume: it checks the benchmark and says nothing about speed.**")
    lines = [(row, line) for row, found in document["rows"].items() for line in lines_of(row, found)]
    if options["quick"]:
        lines = [(row, replace(line, reached=None)) for row, line in lines]
    return "\n".join([*head, "", format_table(lines), ""])


def lines_of(row: str, found: dict[str, Any]) -> list[Line]:
    if "result" in found:
        lines: list[Line] = importlib.import_module(ROWS[row]).lines(found["result"])
        return lines
    kind = "skipped" if "skipped" in found else "failed"
    last_line = found[kind].strip().splitlines()[-1]
    return [Line("whole row", "", f"{kind}: {last_line}")]


if __name__ == "__main__":
    sys.exit(main())
