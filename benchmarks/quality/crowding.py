"""Particles that nearly touch, touch another kind, or are cut off: how many are found, and what tuning changes.

python benchmarks/quality/crowding.py MODEL VALIDATION_PROJECT TEST_PROJECT [--out FOLDER]
    [--validation-run RUN]... [--test-run RUN]...

Before: picks at least as far apart as the model has it. After: as `tune.separation` chooses on the validation project.
Thresholds and calibration come from the validation project both times, so that nothing else differs. Networks run once
on a tomogram. Writes crowding.json and crowding.md into FOLDER, and the tables to stdout.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from figures import Counts, Estimate, compare_paired, estimate_total

from cryofind.atomic import write_text
from cryofind.config import LocateConfig
from cryofind.errors import CryofindError, InSampleError
from cryofind.io import open_project
from cryofind.pipeline import load_model
from cryofind.pipeline.annotated import choose_annotated, read_annotated
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.picker import Picker
from cryofind.pipeline.seen import is_seen, remember_run
from cryofind.pipeline.tune_location import choose_separations, find_in_ways
from cryofind.pipeline.tuning import Tuning, fit_tuning
from cryofind.scoring import CIRCUMSTANCES, Recall, RecallTable, recall_by_circumstance
from cryofind.types import Picks, Tomogram, VoxelGrid

ALL = "all"


@dataclass(frozen=True, eq=False)
class Located:
    """A way to locate, and the thresholds that belong to it."""

    locate: LocateConfig
    tuning: Tuning


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one way to locate finds in the test project."""

    recalls: RecallTable
    counts: Counts
    f4: Estimate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("validation", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--validation-run", action="append", default=[])
    parser.add_argument("--test-run", action="append", default=[])
    asked = parser.parse_args()
    try:
        report = measure(asked.model, asked.validation, asked.test, asked.validation_run, asked.test_run)
    except CryofindError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    text = format_report(report)
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        write_text(asked.out / "crowding.json", json.dumps(report, indent=2) + "\n")
        write_text(asked.out / "crowding.md", text)
    print(text, end="")


def measure(
    model: str, validation: Path, test: Path, validation_runs: Sequence[str] = (), test_runs: Sequence[str] = ()
) -> dict[str, Any]:
    """Return F4 and recall by circumstance in a test project, before and after tuning, JSON-ready.

    Raises
    ------
    InSampleError
        If the model has seen one of the runs.
    PicksError
        If a project holds no annotated run.
    """
    picker = load_model(model, settings=("tune.separation=true",))
    before, after = tune_both(picker, validation, validation_runs)
    outcomes = dict(zip(("before", "after"), find_outcomes(picker, [before, after], test, test_runs), strict=True))
    margins = compare_paired(outcomes["after"].counts, outcomes["before"].counts)
    return {
        "model": model,
        "test_runs": list(outcomes["before"].counts.runs),
        "separation_factors": after.locate.separation_factors,
        "f4": {name: outcome.f4.as_numbers() for name, outcome in outcomes.items()},
        "f4_by_object": {
            name: dict(zip(outcome.counts.objects, outcome.counts.f_beta().tolist(), strict=True))
            for name, outcome in outcomes.items()
        },
        "gain": {name: estimate.as_numbers() for name, estimate in margins.items()},
        "recall": {name: _as_record(outcome.recalls) for name, outcome in outcomes.items()},
    }


def tune_both(picker: Picker, project: Path, runs: Sequence[str]) -> tuple[Located, Located]:
    """Return the model's own way to locate and the tuned one, each with thresholds of the same runs."""
    found_by_run, truths = [], []
    for tomogram, truth in read_unseen(picker, project, runs):
        found_by_run.append(find_in_ways(picker, picker.prepare(tomogram)))
        truths.append(truth)
    tuned, found_tuned = choose_separations(picker, found_by_run, truths)

    def fit(one: Picker, found: Sequence[Picks]) -> Located:
        tuning = fit_tuning(Picks.concatenate(found), Picks.concatenate(truths), one.specs, one.config)
        return Located(one.config.locate, tuning)

    return fit(picker, [found[0] for found in found_by_run]), fit(tuned, found_tuned)


def find_outcomes(picker: Picker, ways: Sequence[Located], project: Path, runs: Sequence[str]) -> list[Outcome]:
    """Return what each way finds in a project; networks run once on a tomogram."""
    picks: list[list[Picks]] = [[] for _ in ways]
    truths: list[Picks] = []
    grids: dict[str, VoxelGrid] = {}
    for tomogram, truth in read_unseen(picker, project, runs):
        prediction = picker.predict(picker.prepare(tomogram))
        for way, found in zip(ways, picks, strict=True):
            found.append(way.tuning.select(prediction.find_picks(picker.specs, way.locate)))
        truths.append(truth)
        grids[tomogram.run] = tomogram.grid
    truth = Picks.concatenate(truths)
    return [_judge(Picks.concatenate(found), truth, picker, grids) for found in picks]


def _judge(picks: Picks, truth: Picks, picker: Picker, grids: Mapping[str, VoxelGrid]) -> Outcome:
    counts = Counts.of(picks, truth, picker.specs)
    return Outcome(recall_by_circumstance(picks, truth, picker.specs, grids), counts, estimate_total(counts))


def read_unseen(picker: Picker, path: Path, runs: Sequence[str]) -> Iterator[tuple[Tomogram, Picks]]:
    """Yield the annotated tomograms of a project with their true picks.

    Raises
    ------
    InSampleError
        If the model has seen one of them.
    PicksError
        If there is none.
    """
    project, selection = open_project(path), InputSelection(runs=tuple(runs))
    annotated = choose_annotated([project], selection, preferred_flavours=picker.card.flavours)
    for number, (_, _, entry) in enumerate(annotated):
        tomogram, truth = read_annotated(project, entry, selection)
        if is_seen(remember_run(tomogram, truth, role="tune"), picker.seen_runs):
            raise InSampleError(f"{path}: run {entry.run}", "is one that the model has seen", "leave it out")
        print(f"{number + 1} of {len(annotated)}: {entry.run}", file=sys.stderr, flush=True)
        yield tomogram, truth


def _as_record(table: RecallTable) -> dict[str, dict[str, dict[str, Any]]]:
    """Return a table and the sum over its objects, JSON-ready."""
    everything = {name: sum((row[name] for row in table.values()), Recall(0, 0, 0)) for name in CIRCUMSTANCES}
    return {
        kind: {name: {**asdict(recall), "interval": recall.interval} for name, recall in row.items()}
        for kind, row in {**table, ALL: everything}.items()
    }


def format_report(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    f4, gain = report["f4"], report["gain"]["total"]
    return "\n".join(
        [
            f"`{report['model']}` on {len(report['test_runs'])} runs. {_describe_choice(report)}",
            "",
            f"F4 {_span(**f4['before'])} before and {_span(**f4['after'])} after, gain {_span(**gain, signed=True)}.",
            "",
            *_format_objects(report),
            "",
            *_format_recalls(report["recall"]),
            "",
        ]
    )


def _describe_choice(report: Mapping[str, Any]) -> str:
    chosen = [f"{name} at least {factor:g} radii apart" for name, factor in report["separation_factors"].items()]
    return f"Chosen on validation: {', '.join(chosen) or 'nothing else than before'}."


def _format_objects(report: Mapping[str, Any]) -> list[str]:
    before, after = report["f4_by_object"]["before"], report["f4_by_object"]["after"]
    lines = ["| object | F4 before | after | gain |", "|---|---|---|---|"]
    return lines + [
        f"| {name} | {before[name]:.3f} | {after[name]:.3f} | {_span(**report['gain'][name], signed=True)} |"
        for name in before
    ]


def _format_recalls(recalls: Mapping[str, Any]) -> list[str]:
    lines = [
        "| object | circumstance | references | recall before | after | located before | after |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in recalls["before"].items():
        for circumstance, before in row.items():
            if before["references"]:
                after = recalls["after"][name][circumstance]
                shares = [*map(_share, (before, after)), *map(_located, (before, after))]
                lines.append(f"| {name} | {circumstance} | {before['references']} | {' | '.join(shares)} |")
    return lines


def _share(recall: Mapping[str, Any]) -> str:
    low, high = recall["interval"]
    return f"{recall['hits'] / recall['references']:.3f} ({low:.2f} to {high:.2f})"


def _located(recall: Mapping[str, Any]) -> str:
    return f"{recall['located'] / recall['references']:.3f}"


def _span(value: float, low: float | None, high: float | None, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    interval = f" ({low:{sign}.3f} to {high:{sign}.3f})" if low is not None and high is not None else ""
    return f"{value:{sign}.4f}{interval}"


if __name__ == "__main__":
    main()
