"""Do scores mean what they say, and what do thresholds cost that no truth has chosen?

    python benchmarks/quality/calibration.py find MODEL FOLDER NAME=PROJECT ...   writes tables of candidates and truth
    python benchmarks/quality/calibration.py report FOLDER VALIDATION TEST ...    reads them, prints tables

`VALIDATION` calibrates and gives the tuned thresholds, as `cryofind tune` does; every `TEST` is judged with these. Its
own name among the tests is judged run by run, each with what the other runs teach.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from figures import Counts, Estimate, compare_paired, draw_runs, estimate_total
from numpy.typing import NDArray

from cryofind import czii
from cryofind.config import Config
from cryofind.locate import find_new_hits, fit_threshold
from cryofind.pipeline.trust import Selection, select_picks
from cryofind.pipeline.tuning import Tuning, fit_tuning
from cryofind.scoring import match_candidates
from cryofind.types import Picks

Floats = NDArray[np.float64]

CONFIG = Config()
EXPECTED = CONFIG.model_copy(update={"locate": CONFIG.locate.model_copy(update={"thresholds": "expected"})})

# Where decisions fall, and into how many parts of equally many stated hits that is cut.
BAND = (0.01, 0.2)
BINS = 3


@dataclass(frozen=True, eq=False)
class Judged:
    """A test set with its candidates calibrated and selected in three ways.

    Parameters
    ----------
    truth
        True picks.
    tuned, expected, best
        All candidates with calibrated scores; selected by thresholds of the validation runs, by expectation, and by
        the thresholds that the truth itself gives.
    selections
        What to expect of every run.
    """

    truth: Picks
    tuned: Picks
    expected: Picks
    best: Picks
    selections: dict[str, Selection]


def read_tables(folder: Path, name: str) -> tuple[Picks, Picks]:
    """Return candidates with raw scores, and the truth."""
    return Picks.from_csv(folder / f"{name}.candidates.csv"), Picks.from_csv(folder / f"{name}.truth.csv")


def judge(validation: tuple[Picks, Picks], test: tuple[Picks, Picks], *, left_out: bool) -> Judged:
    """Return a test set judged by what validation runs teach; `left_out`: by the other runs of the test itself."""
    candidates, truth = test
    tuned, selections = [], {}
    for run, tuning in _tunings(validation, test, left_out=left_out):
        tuned.append(tuning.select(candidates.of_run(run)))
        selections[run] = select_picks(candidates.of_run(run), tuning, czii.OBJECTS, EXPECTED)
    calibrated = Picks.concatenate(tuned)
    expected = Picks.concatenate(selection.picks for selection in selections.values())
    return Judged(truth, calibrated, expected, select_best(calibrated, truth), selections)


def _tunings(
    validation: tuple[Picks, Picks], test: tuple[Picks, Picks], *, left_out: bool
) -> Iterator[tuple[str, Tuning]]:
    candidates, truth = test
    once = None if left_out else fit_tuning(*validation, czii.OBJECTS, CONFIG)
    for run in truth.run_names:
        others = candidates.where(candidates.runs != run), truth.where(truth.runs != run)
        yield run, once or fit_tuning(*others, czii.OBJECTS, CONFIG)


def select_best(candidates: Picks, truth: Picks) -> Picks:
    """Return the candidates, of each object those selected above the threshold of the highest F-beta of all."""
    thresholds = {}
    for name, match in match_candidates(candidates, truth, czii.OBJECTS).items():
        if len(match.pairs):
            curve = fit_threshold(match.scores, match.pairs, match.reference_count, beta=CONFIG.score.beta).curve
            thresholds[name] = float(curve.thresholds[np.argmax(curve.f_beta)])
    return candidates.selected_above(thresholds, default=np.inf)


def describe_reliability(judged: Judged) -> list[str]:
    """Return a row for every object: observed over stated hits where decisions fall, and the Brier skill."""
    lines = ["| object | stated | observed / stated (95 %) | in parts of equal stated mass | Brier skill |"]
    lines.append("|---|---|---|---|---|")
    for name, match in match_candidates(judged.expected, judged.truth, czii.OBJECTS).items():
        scores, is_hit = match.scores, find_new_hits(match.scores, match.pairs)
        runs = judged.expected.runs[match.candidate_rows]
        inside = (scores >= BAND[0]) & (scores < BAND[1])
        ratio = _estimate_ratio(scores[inside], is_hit[inside], runs[inside], judged.truth.run_names)
        parts = " ".join(f"{part:.2f}" for part in _ratios_by_part(scores[inside], is_hit[inside]))
        skill = _brier_skill(scores[scores >= BAND[0]], is_hit[scores >= BAND[0]])
        stated = scores[inside].sum()
        lines.append(f"| {name} | {stated:.1f} | {_format(ratio)} | {parts} | {skill:.3f} |")
    return lines


def _estimate_ratio(
    scores: Floats, is_hit: NDArray[np.bool_], runs: NDArray[np.str_], names: Sequence[str]
) -> Estimate:
    """Return observed over stated hits, with its interval by bootstrap over runs."""
    stated = np.array([scores[runs == run].sum() for run in names])
    observed = np.array([is_hit[runs == run].sum() for run in names])
    draws = draw_runs(len(names))
    drawn = observed[draws].sum(axis=1) / np.maximum(stated[draws].sum(axis=1), 1e-9)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(float(observed.sum() / max(stated.sum(), 1e-9)), float(low), float(high))


def _ratios_by_part(scores: Floats, is_hit: NDArray[np.bool_]) -> list[float]:
    order = np.argsort(scores)
    mass = np.cumsum(scores[order])
    parts = np.minimum((mass / max(mass[-1:].sum(), 1e-9) * BINS).astype(int), BINS - 1)
    return [
        float(is_hit[order][parts == part].sum() / max(scores[order][parts == part].sum(), 1e-9))
        for part in range(BINS)
    ]


def _brier_skill(scores: Floats, is_hit: NDArray[np.bool_]) -> float:
    """Return 1 - the mean squared error over that of the share of hits, which tells no candidate from another."""
    share = is_hit.mean() if len(is_hit) else 0.0
    return float(1 - ((scores - is_hit) ** 2).mean() / max(share * (1 - share), 1e-9)) if len(is_hit) else 0.0


def describe_loss(judged: Judged) -> list[str]:
    """Return a row for every object and one for all: F4 of the three selections, and what no truth costs."""
    best, expected, tuned = (
        Counts.of(picks, judged.truth, czii.OBJECTS) for picks in (judged.best, judged.expected, judged.tuned)
    )
    lost, lost_by_tuned = compare_paired(best, expected), compare_paired(best, tuned)
    lines = ["| object | truth-tuned | tuned on validation | expected | lost by tuned | lost by expected |"]
    lines.append("|---|---|---|---|---|---|")
    values = zip(best.objects, best.f_beta(), tuned.f_beta(), expected.f_beta(), strict=True)
    totals = ("total", *(estimate_total(counts).value for counts in (best, tuned, expected)))
    for name, *numbers in (*values, totals):
        row = " | ".join(f"{number:.4f}" for number in numbers)
        lines.append(f"| {name} | {row} | {_format(lost_by_tuned[name], 4)} | {_format(lost[name], 4)} |")
    return lines


def describe_intervals(judged: Judged) -> str:
    """Return how many of the 95 % intervals of abundance hold, and how wide they are beside the numbers."""
    inside, widths = [], []
    for run, selection in judged.selections.items():
        truth = judged.truth.of_run(run)
        for name, known in selection.trust["objects"].items():
            low, high = known["interval_95"]
            number = np.count_nonzero(truth.objects == name)
            inside.append(np.floor(low) <= number <= np.ceil(high))
            widths.append((high - low) / max(number, 1))
    hold = f"95 % intervals of abundance that hold: {np.mean(inside):.3f} of {len(inside)}"
    return f"{hold}; median width over number: {np.median(widths):.2f}"


def _format(estimate: Estimate, decimals: int = 2) -> str:
    if not np.isfinite(estimate.low):
        return f"{estimate.value:.{decimals}f}"
    return f"{estimate.value:.{decimals}f} ({estimate.low:.{decimals}f} to {estimate.high:.{decimals}f})"


def find(model: str, folder: Path, projects: Sequence[str]) -> None:
    """Write the tables of candidates and truth of `NAME=PROJECT` each."""
    from cryofind import load_model, open_project

    picker = load_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    for item in projects:
        name, _, path = item.partition("=")
        project = open_project(Path(path))
        entries = project.select_tomograms()
        Picks.concatenate(picker.find_candidates(entry.read()) for entry in entries).to_csv(
            folder / f"{name}.candidates.csv"
        )
        project.read_picks(runs=tuple(entry.run for entry in entries)).to_csv(folder / f"{name}.truth.csv")


def report(folder: Path, validation: str, tests: Sequence[str]) -> None:
    """Print the tables of every test."""
    taught = read_tables(folder, validation)
    for name in tests:
        judged = judge(taught, taught if name == validation else read_tables(folder, name), left_out=name == validation)
        how = "each run by the others" if name == validation else f"calibrated on {validation}"
        print(f"\n## {name} ({how})\n")
        print("\n".join([*describe_reliability(judged), "", *describe_loss(judged), "", describe_intervals(judged)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    finding = commands.add_parser("find")
    finding.add_argument("model")
    finding.add_argument("folder", type=Path)
    finding.add_argument("projects", nargs="+", metavar="NAME=PROJECT")
    reporting = commands.add_parser("report")
    reporting.add_argument("folder", type=Path)
    reporting.add_argument("validation")
    reporting.add_argument("tests", nargs="+")
    given = parser.parse_args()
    if given.command == "find":
        find(given.model, given.folder, given.projects)
    else:
        report(given.folder, given.validation, given.tests)


if __name__ == "__main__":
    main()
