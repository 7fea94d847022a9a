"""How good picks are, measured: sets, rows, comparisons, the leaderboard.

python benchmarks/quality/run.py sets [NAME...] [--freeze]
python benchmarks/quality/run.py model [MODEL...] [--sets NAME...] [--label TEXT] [--thresholds tuned|expected]
python benchmarks/quality/run.py picks PICKS_CSV --set NAME --label TEXT
python benchmarks/quality/run.py compare ROW_A ROW_B
python benchmarks/quality/run.py table
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from board import format_estimate, write_tables
from figures import Estimate, compare_paired
from hardware import describe_load, read_load
from lock import SHOWN, Content, check_content, check_identity, freeze, measure_content, read_lock, refuse_unfrozen
from places import Places, run_cryofind
from rows import Method, check_label, choose_row, counts_of_row, find_row, row_path, write_row
from sets import OpenSet, SetMissingError, find_set, open_set, read_definitions

from cryofind.errors import ConfigError, CryofindError, InSampleError
from cryofind.io import read_points_table
from cryofind.models import find_model, model_hash, shipped_model_names
from cryofind.pipeline.points import read_points
from cryofind.pipeline.records import hash_file, read_record
from cryofind.pipeline.scoring import find_in_sample_runs
from cryofind.types import Picks

# Registered models that are measured when none is named.
MEASURED = ("czii-sim", "czii-sim-small")


@dataclass(frozen=True, eq=False)
class CheckedSet:
    """A set that holds what was frozen; `has_frozen_voxels` is false where another processor rounded them otherwise."""

    opened: OpenSet
    content: Content
    has_frozen_voxels: bool


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for."""
    asked = _parse(arguments)
    places = Places(asked.definitions, asked.scratch)
    try:
        asked.command(places, asked)
    except CryofindError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def make_sets(places: Places, asked: argparse.Namespace) -> None:
    """Make sets, check them against the lock or write them into it, and say where they are."""
    for name in asked.names or read_definitions(places):
        try:
            print(_make_set(places, name, is_freezing=asked.freeze), flush=True)
        except SetMissingError as error:
            _skip(error, is_asked_for=bool(asked.names))


def _make_set(places: Places, name: str, *, is_freezing: bool) -> str:
    if not is_freezing:
        check_identity(places, name, find_set(places, name))
    opened = open_set(places, name)
    content = measure_content(opened)
    if is_freezing:
        freeze(places, opened, content)
    state = "not frozen"
    if name in read_lock(places):
        state = "as frozen" if check_content(places, opened, content) else "picks as frozen"
    hashes = f"picks {content.picks_sha256[:SHOWN]}, voxels {content.voxels_sha256[:SHOWN]}"
    count = f"{len(opened.runs)} run{'s' if len(opened.runs) > 1 else ''}"
    return f"{name}: {count}, {hashes}, {state} -> {opened.project.path}"


def _skip(error: SetMissingError, *, is_asked_for: bool) -> None:
    if is_asked_for:
        raise error
    print(f"skipped: {error}", file=sys.stderr)


def score_models(places: Places, asked: argparse.Namespace) -> None:
    """Pick sets with models, and write a row for each."""
    models = asked.models or [name for name in MEASURED if name in shipped_model_names()]
    groups = [models] if asked.ensemble else [[model] for model in models]
    if asked.label and len(groups) > 1:
        raise ConfigError("--label", f"is one for {len(groups)} models", "give one model, or --ensemble")
    definitions = read_definitions(places)
    for name in asked.sets or [name for name, spec in definitions.items() if spec.role == "test"]:
        try:
            checked = _check_set(places, name)
        except SetMissingError as error:
            _skip(error, is_asked_for=bool(asked.sets))
            continue
        for group in groups:
            _report(places, _score_model(places, group, checked, asked))


def _check_set(places: Places, name: str) -> CheckedSet:
    spec = find_set(places, name)
    if spec.role == "train":
        raise ConfigError(f"set {name}", "is learnt from", "score on validation or test")
    refuse_unfrozen(places, name)
    check_identity(places, name, spec)
    opened = open_set(places, name)
    content = measure_content(opened)
    return CheckedSet(opened, content, check_content(places, opened, content))


def _score_model(
    places: Places, models: Sequence[str], checked: CheckedSet, asked: argparse.Namespace
) -> dict[str, Any]:
    method = _describe_models(models, asked)
    row = find_row(places, method, checked.opened)
    if row is not None:
        return row
    opened = checked.opened
    out = places.scratch / "picks" / row_path(places, method.label, opened.name).stem
    before = read_load()
    _pick(models, opened, out, asked)
    load = describe_load(before, read_load())
    _refuse_in_sample(out, opened)
    record = read_record(out) or {}
    seconds = [sum(run["seconds"].values()) for run in record["runs"]]
    method = replace(method, seconds_per_tomogram=round(float(np.mean(seconds)), 3))
    candidates = Picks.from_csv(out / "picks.csv")
    return write_row(
        places, method, opened, checked.content, candidates, has_frozen_voxels=checked.has_frozen_voxels, load=load
    )


def _describe_models(models: Sequence[str], asked: argparse.Namespace) -> Method:
    described = [{"name": folder.name, "sha256": model_hash(folder)} for folder in map(find_model, models)]
    made_by = {"models": described, "thresholds": asked.thresholds, "settings": asked.set}
    if asked.label is None and (asked.set or len(models) > 1):
        raise ConfigError("--label", "is missing", "settings and ensembles need one, to tell the row from others")
    label = asked.label or f"{described[0]['name']}-{described[0]['sha256'][:8]}"
    if asked.label is None and asked.thresholds != "tuned":
        label += f"-{asked.thresholds}"
    return Method(check_label(label), made_by, asked.training_seconds, note=asked.note)


def _pick(models: Sequence[str], opened: OpenSet, out: Path, asked: argparse.Namespace) -> None:
    """Pick a set, all candidates kept; which of them are selected does not change by that."""
    options = [part for model in models for part in ("--model", model)]
    options += [part for run in opened.runs for part in ("--run", run)]
    options += [part for setting in ("locate.floor_factor=0", *asked.set) for part in ("--set", setting)]
    options += ["--tomogram", opened.spec.flavour] if opened.spec.flavour else []
    run_cryofind("pick", opened.project.path, "--out", out, "--thresholds", asked.thresholds, *options)


def _refuse_in_sample(out: Path, opened: OpenSet) -> None:
    seen = find_in_sample_runs(read_points(out), opened.truth)
    if seen:
        problem = f"run {seen[0]} is one that the model was trained or tuned on"
        raise InSampleError(f"set {opened.name}", problem, "score a set that it never saw")


def score_picks(places: Places, asked: argparse.Namespace) -> None:
    """Write the row of picks that another program made; all candidates should be there, with `selected`."""
    checked = _check_set(places, asked.set_name)
    made_by = {"picks_csv_sha256": hash_file(asked.picks)}
    method = Method(check_label(asked.label), made_by, asked.training_seconds, asked.seconds_per_tomogram, asked.note)
    row = find_row(places, method, checked.opened)
    if row is None:
        candidates = read_points_table(asked.picks)
        row = write_row(
            places, method, checked.opened, checked.content, candidates, has_frozen_voxels=checked.has_frozen_voxels
        )
    _report(places, row)


def _report(places: Places, row: dict[str, Any]) -> None:
    print(f"{row['label']} on {row['set']}: F4 {format_estimate(row['figures']['f4'])}")
    for name, estimate in row["figures"]["objects"].items():
        print(f"  {name}: {format_estimate(estimate)}")
    print(f"-> {row_path(places, row['label'], row['set'])}", flush=True)


def compare_rows(places: Places, asked: argparse.Namespace) -> None:
    """Say how much better one row is than another of the same set, and whether that counts."""
    one, other = (choose_row(places, name) for name in (asked.one, asked.other))
    for field, what in (("set", "sets"), ("set_identity", "identities"), ("picks_sha256", "true picks")):
        if one[field] != other[field]:
            raise ConfigError(f"{asked.one} and {asked.other}", f"have other {what}", "compare rows of one frozen set")
    if one["voxels_sha256"] != other["voxels_sha256"]:
        print("warning: voxels of the two rows were rounded by other processors", file=sys.stderr)
    print(f"{one['label']} less {other['label']} on {one['set']}, {len(one['counts']['runs'])} runs, F4:")
    for name, estimate in compare_paired(counts_of_row(one), counts_of_row(other)).items():
        print(f"  {name}: {_format_margin(estimate)}")


def _format_margin(estimate: Estimate) -> str:
    if not np.isfinite(estimate.low):
        return f"{estimate.value:+.3f} (too few runs for an interval: does not count)"
    verdict = "counts" if estimate.excludes_zero else "does not count"
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f}): {verdict}"


def make_table(places: Places, asked: argparse.Namespace) -> None:
    """Write the leaderboard's tables."""
    write_tables(places)
    print(places.leaderboard)


def _parse(arguments: Iterable[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--definitions", type=Path, default=Places.definitions, help="the sets; lock and rows beside")
    parser.add_argument("--scratch", type=Path, default=Places.scratch, help="sets and picks are made here")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sets = commands.add_parser("sets", help="make sets and check them against the lock")
    sets.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    sets.add_argument("--freeze", action="store_true", help="write what is not yet in the lock into it")
    sets.set_defaults(command=make_sets)

    model = commands.add_parser("model", help="pick sets with models; a row for each")
    model.add_argument("models", nargs="*", metavar="MODEL", help=f"default: those of {', '.join(MEASURED)} there are")
    model.add_argument("--sets", nargs="+", default=[], metavar="NAME", help="default: all test sets")
    model.add_argument("--thresholds", choices=("tuned", "expected"), default="tuned")
    model.add_argument("--ensemble", action="store_true", help="one row for all models together")
    model.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="passed on to pick")
    model.add_argument("--label", help="default: the model's name and the first 8 digits of its SHA-256")
    model.set_defaults(command=score_models)

    picks = commands.add_parser("picks", help="a row for picks made elsewhere")
    picks.add_argument("picks", type=Path, metavar="PICKS_CSV", help="all candidates, with `selected`")
    picks.add_argument("--set", dest="set_name", required=True, metavar="NAME")
    picks.add_argument("--label", required=True)
    picks.add_argument("--seconds-per-tomogram", type=float)
    picks.set_defaults(command=score_picks)
    for command in (model, picks):
        command.add_argument("--training-seconds", type=float, help="what training took")
        command.add_argument("--note", default="", help="a remark for the row")

    compare = commands.add_parser("compare", help="two rows of one set, paired")
    compare.add_argument("one", metavar="ROW_A", help="LABEL--SET or a file")
    compare.add_argument("other", metavar="ROW_B")
    compare.set_defaults(command=compare_rows)

    table = commands.add_parser("table", help="write the rows into LEADERBOARD.md")
    table.set_defaults(command=make_table)
    return parser.parse_args(None if arguments is None else list(arguments))


if __name__ == "__main__":
    main()
