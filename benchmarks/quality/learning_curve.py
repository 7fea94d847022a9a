"""What a lab gains by annotating one tomogram more of "another microscope".

python benchmarks/quality/learning_curve.py [--simulated PROJECT] [--counts 0,1,2,4,7] [--ways scratch,init,mixed]
    [--annotation complete,poor] [--steps N] [--seeds N] [--minutes M] [--scratch DIR]

Annotated tomograms are the first N of the set `other-microscope-train`; the 12 of the set `other-microscope-test`, with
their complete truth, judge. All trainings make the same number of steps.

- `scratch` learns from the annotated runs alone;
- `init` too, but starts from the model (--model) with a lower learning rate (--learning-rate);
- `mixed` starts likewise, and every other crop comes from a simulated project (--simulated): that of
  `cryofind simulate czii-wide --runs 12 --seed 31 --out PROJECT`, which was not made for this microscope;
- without an annotated run: the model as it is, with its own thresholds and with `--thresholds expected`.

Thresholds, one rule for all ways: from two annotated runs on by cross-validation (`train --folds`, 2 or 3 folds, then
once more on all runs); with a single one IN-SAMPLE, from the very run that was learnt from (`tune --in-sample`), for
there is no other. What the test set's own best thresholds would give stands beside it: the network alone.
Annotation is `complete`, or `poor`: of every run 30 % of the picks are left out and the others are moved by 5 to 10
Angstrom; a training on it takes no loss where it is sure of a particle that nobody annotated (train.unlabelled_after).

Everything is made piece by piece in DIR/learning-curve, and a call that was cut off, or stopped by --minutes (exit code
143), goes on where it was. Results: results.jsonl there, and curve.md and curve.svg of what the settings asked for.
Choices (learning rate, steps) are made with `--judge other-microscope-validation`.

24 points are 72 trainings (those of folds among them) of 1,000 steps: at 0.33 s a step (res16, two quiet cores) 6.6
hours; picking 26 times 12 tomograms, reading, and the candidates of folds: one hour more. In all about 8 hours.
"""

import argparse
import os
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curve_rows import SHIPPED, Piece, append_row, make_row, read_rows, write_curve
from figures import Counts
from lock import check_content, check_identity, measure_content
from places import REPOSITORY, Places, run_cryofind
from sets import OpenSet, find_set, open_set
from spoiled_annotation import write_spoiled_project

from cryofind.config import Config
from cryofind.errors import ConfigError, CryofindError, InSampleError
from cryofind.io import open_project
from cryofind.models import find_model, load_model_folder, model_hash
from cryofind.pipeline.points import read_points
from cryofind.pipeline.records import hash_document, hash_file, timestamp
from cryofind.pipeline.scoring import find_in_sample_runs
from cryofind.pipeline.tuning import best_f_beta, weigh_f_beta
from cryofind.types import Picks

WAYS = ("scratch", "init", "mixed")
ANNOTATIONS = ("complete", "poor")
MOST_FOLDS = 3
SHARES = "[0.5, 0.5]"  # of the crops of `mixed`: simulated, annotated
FOR_ANNOTATION = {"complete": (), "poor": ("train.unlabelled_after=0.5",)}


@dataclass(frozen=True, eq=False)
class Curve:
    """All that the points of the curve have in common.

    Parameters
    ----------
    folder
        Where everything is made.
    learnt, judged
        The sets of annotated runs, and of those that judge.
    model, learning_rate, simulated
        What to start from and how, and the project that `mixed` mixes with.
    recipe, steps
        Of all trainings.
    """

    folder: Path
    learnt: OpenSet
    judged: OpenSet
    model: str
    recipe: Path
    steps: int
    learning_rate: float
    simulated: Path | None

    def describe_training(self, piece: Piece) -> dict[str, Any]:
        """Return what a training depends on, JSON-ready."""
        if piece.way == SHIPPED:
            return {"model": model_hash(find_model(self.model))}
        starts_from_model = piece.way != "scratch"
        simulated = list(open_project(self.simulated).runs) if self.simulated and piece.way == "mixed" else []
        return {
            "way": piece.way,
            "annotation": piece.annotation,
            "learnt": self.learnt.identity,
            "runs": list(self.learnt.runs[: piece.count]),
            "simulated": simulated,
            "seed": piece.seed,
            "steps": self.steps,
            "recipe": hash_file(self.recipe),
            "model": model_hash(find_model(self.model)) if starts_from_model else None,
            "learning_rate": self.learning_rate if starts_from_model else None,
        }

    def name(self, piece: Piece) -> str:
        """Return the name of a training's folder: what is made otherwise lies elsewhere."""
        return f"{piece}-{hash_document(self.describe_training(piece))[:8]}"

    def key(self, piece: Piece) -> str:
        """Return what tells a point of the curve from all others."""
        return f"{self.name(piece)}-{piece.thresholds}-on-{self.judged.name}-{self.judged.identity[:8]}"

    def measure(self, piece: Piece) -> dict[str, Any]:
        """Train, pick and score one point; return its row."""
        model = self.model if piece.way == SHIPPED else self.train(piece)
        candidates = self.pick(str(model), piece)
        truth, specs, config = self.judged.truth, self.judged.particles, Config()
        best = best_f_beta(candidates, truth, specs, config)
        return make_row(
            piece,
            Counts.of(candidates, truth, specs, runs=self.judged.runs),
            key=self.key(piece),
            judged=self.judged.name,
            made_from=self.describe_training(piece),
            model_sha256=model_hash(find_model(str(model))),
            f4_at_best_thresholds=weigh_f_beta(best, truth, specs, config),
            date=timestamp(),
        )

    def train(self, piece: Piece) -> Path:
        """Return the folder of a trained model with thresholds, made or finished where it is not there."""
        model = self.folder / "models" / self.name(piece)
        project = self.learnt.project.path
        if piece.annotation == "poor":
            project = write_spoiled_project(self.learnt, self.folder / f"poor-seed{piece.seed}", seed=piece.seed)
        if not (model / "model.json").is_file():
            run_cryofind("train", *self.list_training_options(piece, project), "--out", model)
        if piece.count > 1:
            return model
        tuned = model.with_name(f"{model.name}-tuned")
        if not (tuned / "model.json").is_file():
            shutil.rmtree(tuned, ignore_errors=True)  # of a call that was cut off
            run = self.learnt.runs[0]
            options = ["--in-sample", "--set", "tune.separation=false"]  # folds choose no distances either
            run_cryofind("tune", project, "--model", model, "--run", run, *options, "--out", tuned)
        return tuned

    def list_training_options(self, piece: Piece, project: Path) -> list[object]:
        """Return the arguments of `cryofind train`, but for the folder to write."""
        made_from = self.describe_training(piece)
        weights = SHARES if piece.way == "mixed" else "[]"
        settings = [f"train.steps={self.steps}", f"train.seed={piece.seed}", f"train.project_weights={weights}"]
        settings += ["train.project_weights_end=[]", *FOR_ANNOTATION[piece.annotation]]
        options: list[object] = [project, "--recipe", self.recipe]
        if piece.way == "mixed":
            options.insert(0, self.simulated)
        if piece.way != "scratch":
            options += ["--init", self.model]
            settings.append(f"train.learning_rate={self.learning_rate}")
        if piece.count > 1:
            options += ["--folds", min(piece.count, MOST_FOLDS)]
        options += [part for run in (*made_from["simulated"], *made_from["runs"]) for part in ("--run", run)]
        return options + [part for setting in settings for part in ("--set", setting)]

    def pick(self, model: str, piece: Piece) -> Picks:
        """Return all candidates of the set that judges; a model that has seen one of its runs is refused."""
        out = self.folder / "picks" / self.key(piece)
        options = ["--thresholds", piece.thresholds, "--set", "locate.floor_factor=0"]
        options += [part for run in self.judged.runs for part in ("--run", run)]
        run_cryofind("pick", self.judged.project.path, "--model", model, "--out", out, *options)
        if seen := find_in_sample_runs(read_points(out), self.judged.truth):
            raise InSampleError(f"run {seen[0]}", "is one that the model has seen", "judge by another set")
        return Picks.from_csv(out / "picks.csv")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for and not yet there, and write the curve."""
    asked = _parse(arguments)
    if asked.minutes:
        _stop_after(asked.minutes)
    try:
        curve = _open_curve(asked)
        pieces = plan_pieces(curve, asked)
        for piece in pieces:
            if curve.key(piece) not in read_rows(curve.folder):
                append_row(curve.folder, curve.measure(piece))
                print(f"done: {curve.key(piece)}", flush=True)
    except CryofindError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    rows = read_rows(curve.folder)
    title = (
        f"{len(curve.judged.runs)} simulated tomograms of {curve.judged.name}, {curve.steps:,} steps, {curve.model}."
    )
    print(write_curve(curve.folder, [rows[curve.key(piece)] for piece in pieces], title=title), end="")


def plan_pieces(curve: Curve, asked: argparse.Namespace) -> list[Piece]:
    """Return the points that are asked for, those of the first seed first; refuse (ConfigError) what cannot be made."""
    if max(asked.counts) > len(curve.learnt.runs):
        problem = f"asks for {max(asked.counts)} annotated runs, set {curve.learnt.name} has {len(curve.learnt.runs)}"
        raise ConfigError("--counts", problem, "ask for fewer")
    counts = [count for count in asked.counts if count]
    if counts and "mixed" in asked.ways and curve.simulated is None:
        advice = "make one (cryofind simulate czii-wide --runs 12 --seed 31 --out PROJECT), or leave `mixed` out"
        raise ConfigError("--simulated", "is missing, and `mixed` needs it", advice)
    shipped = [Piece("none", SHIPPED, 0)]
    if has_expectations(curve.model):
        shipped.append(Piece("none", SHIPPED, 0, thresholds="expected"))
    else:
        print(f"{curve.model}: scores are not calibrated, so there are no expected thresholds", file=sys.stderr)
    return (shipped if 0 in asked.counts else []) + [
        Piece(annotation, way, count, seed)
        for seed in range(asked.seeds)
        for annotation in asked.annotation
        for count in counts
        for way in asked.ways
    ]


def has_expectations(model: str) -> bool:
    """Say whether `pick --thresholds expected` can be had of a model."""
    calibrations = load_model_folder(find_model(model)).card.calibration.values()
    return any(calibration.counts is not None for calibration in calibrations)


def _open_curve(asked: argparse.Namespace) -> Curve:
    places = Places(asked.definitions, asked.scratch)
    learnt, judged = (_open_frozen(places, name) for name in (asked.learn, asked.judge))
    recipe = asked.recipe or REPOSITORY / "recipes" / f"{asked.model}.toml"
    if not recipe.is_file():
        raise ConfigError(recipe, "is not there", "name the recipe of all trainings with --recipe")
    given = (asked.model, recipe, asked.steps, asked.learning_rate, asked.simulated)
    return Curve(asked.scratch / "learning-curve", learnt, judged, *given)


def _open_frozen(places: Places, name: str) -> OpenSet:
    check_identity(places, name, find_set(places, name))
    opened = open_set(places, name)
    check_content(places, opened, measure_content(opened))
    return opened


def _stop_after(minutes: float) -> None:
    """Let SIGTERM end this program: a training finishes its step and writes a checkpoint first."""
    timer = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=_parse_counts, default=[0, 1, 2, 4, 7], help="annotated runs")
    parser.add_argument("--ways", type=_one_of(WAYS), default=list(WAYS))
    parser.add_argument("--annotation", type=_one_of(ANNOTATIONS), default=list(ANNOTATIONS))
    parser.add_argument("--steps", type=_parse_positive, default=1000, help="of every training")
    parser.add_argument("--seeds", type=_parse_positive, default=1)
    parser.add_argument("--minutes", type=float, help="stop after so many, to be taken up again")
    parser.add_argument("--model", default="czii-sim-small", help="to start from")
    parser.add_argument("--recipe", type=Path, help="of all trainings; default: recipes/MODEL.toml")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of trainings that start from the model")
    parser.add_argument("--simulated", type=Path, metavar="PROJECT", help="what `mixed` mixes with")
    parser.add_argument("--learn", default="other-microscope-train", metavar="SET", help="annotated runs")
    parser.add_argument("--judge", default="other-microscope-test", metavar="SET")
    parser.add_argument("--definitions", type=Path, default=Places.definitions, help="the sets; the lock beside")
    parser.add_argument("--scratch", type=Path, default=Places.scratch, help="sets are found or made in it")
    return parser.parse_args(arguments)


def _parse_positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _parse_counts(text: str) -> list[int]:
    counts = sorted({int(part) for part in text.split(",")})
    if counts[0] < 0:
        raise argparse.ArgumentTypeError(f"{counts[0]} runs cannot be annotated")
    return counts


def _one_of(known: Sequence[str]) -> Any:
    def parse(text: str) -> list[str]:
        named = text.split(",")
        if unknown := set(named) - set(known):
            raise argparse.ArgumentTypeError(f"'{sorted(unknown)[0]}' is none of {', '.join(known)}")
        return [name for name in known if name in named]

    return parse


if __name__ == "__main__":
    main()
