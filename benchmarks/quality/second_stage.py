"""Does a second look help: a small network that sees a crop round every candidate and says what it is worth.

python benchmarks/quality/second_stage.py MODEL LEARN_PROJECT JUDGE_PROJECT --out FOLDER [--steps N] [--seeds N]

The model's candidates in the runs of LEARN_PROJECT teach the small network; those of JUDGE_PROJECT, which must not be a
test set, are judged by the model's scores (`before`) and by what the network makes of them (`after`, logits averaged
over seeds). The model may have seen none of the runs. Thresholds for each half of the judging runs come from the other
half, for both. The network adds to the logit of the model's score, so that untrained it changes nothing. It alone
learns from LEARN_PROJECT: what the model would gain from training on it, too, is another question. F4 and margins
(paired by run) go to FOLDER/second_stage.json and to stdout.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from crowding import read_unseen
from experiment_training import select_crossed
from figures import Counts, Estimate, compare_paired, estimate_objects, estimate_total
from hardware import read_commit
from numpy.typing import NDArray
from scipy.special import expit, logit
from torch import Tensor, nn
from torch.nn import functional

from cryofind.atomic import write_json
from cryofind.errors import CryofindError, InSampleError, PicksError
from cryofind.models import find_model, model_hash
from cryofind.pipeline import load_model
from cryofind.pipeline.picker import Picker
from cryofind.pipeline.records import timestamp
from cryofind.scoring import match_candidates
from cryofind.types import Picks, Tomogram

CROP_VOXELS = 33  # the largest particles have radii of 15; odd, so that a flip leaves the middle where it is
BATCH = 64
LEARNING_RATE = 2e-3
SURE = 1e-4  # scores nearer to 0 or 1 are as good as these


@dataclass(frozen=True, eq=False)
class Crops:
    """Grey values round N places, cut when they are asked for: all of them together would not fit into memory.

    Parameters
    ----------
    padded
        Tomograms (Z, Y, X), mirrored at their faces by half a crop.
    places
        Number of the tomogram and first voxel (z, y, x) of every crop, shape (N, 4).
    """

    padded: tuple[NDArray[np.float16], ...]
    places: NDArray[np.int64]

    @classmethod
    def concatenate(cls, parts: Sequence["Crops"]) -> "Crops":
        """Return the crops of all parts, one part after the other."""
        padded, places = [], []
        for part in parts:
            places.append(part.places + np.array([len(padded), 0, 0, 0]))
            padded += part.padded
        return cls(tuple(padded), np.concatenate(places))

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return the crops (n, CROP_VOXELS, CROP_VOXELS, CROP_VOXELS) of some rows."""
        size, crops = CROP_VOXELS, torch.empty(len(rows), *[CROP_VOXELS] * 3)
        for crop, (number, z, y, x) in zip(crops, self.places[rows.numpy()], strict=True):
            crop[:] = torch.from_numpy(self.padded[number][z : z + size, y : y + size, x : x + size])
        return crops


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the model found in a project, with a look at each.

    Parameters
    ----------
    picks
        All N candidates with the model's raw scores.
    truth
        True picks of these runs.
    runs
        Names of the runs.
    crops
        Grey values around each candidate.
    objects
        Channel of each candidate's object, shape (N,).
    is_hit
        Whether each lies on a particle of its kind, shape (N,).
    """

    picks: Picks
    truth: Picks
    runs: tuple[str, ...]
    crops: Crops
    objects: Tensor
    is_hit: Tensor

    @property
    def logits(self) -> Tensor:
        """Logits of the model's scores, shape (N,)."""
        return torch.from_numpy(logit(np.clip(self.picks.scores, SURE, 1 - SURE)).astype(np.float32))

    @property
    def fingerprints(self) -> set[str]:
        """What its runs are recognised by."""
        return {self.truth.of_run(run).fingerprint() for run in self.truth.run_names}


class SecondLook(nn.Module):
    """Convolutions over a crop, and a line through the logit of the first score, for each object."""

    def __init__(self, object_count: int, widths: tuple[int, ...] = (16, 32, 64, 64)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1, *widths[:-1]), widths, strict=True):
            layers += [nn.Conv3d(before, after, 3, 2, 1, bias=False), nn.BatchNorm3d(after), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], object_count)
        self.slope = nn.Parameter(torch.ones(object_count))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, crops: Tensor, logits: Tensor, objects: Tensor) -> Tensor:
        """Return new logits (N,) of candidates from crops (N, Z, Y, X), logits (N,) and objects (N,)."""
        seen = self.head(self.body(crops[:, None]).float().mean(dim=(2, 3, 4)))
        added: Tensor = seen.gather(1, objects[:, None])[:, 0]
        return self.slope[objects] * logits + added


def main() -> None:
    arguments = parse_arguments()
    try:
        found = measure(arguments)
    except CryofindError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "second_stage.json", found)
    print(json.dumps(found, indent=2))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return F4 before and after the second look, and what it was measured with, JSON-ready.

    Raises
    ------
    InSampleError
        If the model has seen one of the runs, or one is both learnt from and judged by.
    """
    picker = load_model(arguments.model)
    learnt, judged = (find_candidates(picker, project) for project in (arguments.learn, arguments.judge))
    if learnt.fingerprints & judged.fingerprints:
        raise InSampleError(str(arguments.judge), "holds a run that is learnt from, too", "judge by others")
    networks = [teach(learnt, len(picker.specs), arguments.steps, seed) for seed in range(arguments.seeds)]
    logits = np.mean([rescore(network, judged) for network in networks], axis=0)
    before, after = (
        count_crossed(picks, judged, picker) for picks in (judged.picks, judged.picks.with_scores(expit(logits)))
    )
    return {
        "model": {"name": arguments.model, "sha256": model_hash(find_model(arguments.model))},
        "learnt": describe(arguments.learn, learnt),
        "judged": describe(arguments.judge, judged),
        "steps": arguments.steps,
        "seeds": arguments.seeds,
        "commit": read_commit(),
        "date": timestamp(),
        "before": as_numbers(estimate_all(before)),
        "after": as_numbers(estimate_all(after)),
        "gain": as_numbers(compare_paired(after, before)),
    }


def find_candidates(picker: Picker, project: Path) -> Candidates:
    """Return the candidates in the annotated runs of a project.

    Errors are those of `read_unseen`; PicksError if there is no candidate.
    """
    tables, truths, crops, names = [], [], [], []
    for tomogram, truth in read_unseen(picker, project, ()):
        prepared = picker.prepare(tomogram)
        tables.append(picker.predict(prepared).find_picks(picker.specs, picker.config.locate))
        truths.append(truth)
        names.append(tomogram.run)
        crops.append(cut_crops(prepared, tables[-1].positions_zyx_angstrom))
    if not any(map(len, tables)):
        raise PicksError(str(project), "the model finds no candidate in its runs", "take others, or another model")
    found, truth = Picks.concatenate(tables), Picks.concatenate(truths)
    return label_candidates(picker, found, truth, names, Crops.concatenate(crops))


def label_candidates(picker: Picker, picks: Picks, truth: Picks, runs: Sequence[str], crops: Crops) -> Candidates:
    """Return candidates with what is to be learnt of them."""
    names = [spec.name for spec in picker.specs]
    objects = np.array([names.index(name) for name in picks.objects], np.int64)
    is_hit = np.zeros(len(picks), bool)
    for match in match_candidates(picks, truth, picker.specs).values():
        is_hit[match.candidate_rows] = match.candidate_is_hit
    return Candidates(picks, truth, tuple(runs), crops, torch.from_numpy(objects), torch.from_numpy(is_hit))


def cut_crops(tomogram: Tomogram, positions_zyx_angstrom: NDArray[np.float64]) -> Crops:
    """Return crops about positions (N, 3), the tomogram mirrored at its faces."""
    padded = np.pad(tomogram.volume_zyx.astype(np.float16), CROP_VOXELS // 2, mode="reflect")
    starts = np.rint(tomogram.grid.indices_from_positions(positions_zyx_angstrom)).astype(np.int64)
    starts = np.clip(starts, 0, np.array(tomogram.volume_zyx.shape) - 1)
    return Crops((padded,), np.pad(starts, ((0, 0), (1, 0))))


def teach(learnt: Candidates, object_count: int, steps: int, seed: int) -> SecondLook:
    """Return a network that has learnt which candidates are particles."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = SecondLook(object_count)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    logits = learnt.logits
    for _ in range(steps):
        rows = torch.from_numpy(random.integers(len(logits), size=BATCH))
        crops = flip_at_random(learnt.crops[rows], random)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(crops, logits[rows], learnt.objects[rows]).float()
        loss = functional.binary_cross_entropy_with_logits(found, learnt.is_hit[rows].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def flip_at_random(crops: Tensor, random: np.random.Generator) -> Tensor:
    """Return crops (N, Z, Y, X), all flipped along the same axes: flips leave the missing wedge where it is."""
    return crops.flip([axis for axis in (1, 2, 3) if random.random() < 0.5])


@torch.no_grad()
def rescore(network: SecondLook, judged: Candidates) -> NDArray[np.float32]:
    """Return new logits of all candidates, the mean over the crop and its half turn about z."""
    parts = []
    for rows in torch.arange(len(judged.picks)).split(4 * BATCH):
        crops = judged.crops[rows]
        views = (crops, crops.flip([2, 3]))
        parts.append(sum(network(view, judged.logits[rows], judged.objects[rows]) for view in views) / len(views))
    return np.asarray(torch.cat(parts))


def count_crossed(picks: Picks, judged: Candidates, picker: Picker) -> Counts:
    """Return the counts of candidates, selected by the thresholds of the other half of the runs."""
    truth, specs, runs = judged.truth, picker.specs, judged.runs
    return Counts.of(select_crossed(picks, truth, specs, runs, picker.config), truth, specs, runs=runs)


def describe(project: Path, candidates: Candidates) -> dict[str, Any]:
    """Return what there was to learn from or to judge."""
    runs, hits = list(candidates.runs), int(candidates.is_hit.sum())
    return {"project": str(project), "runs": runs, "candidates": len(candidates.picks), "hits": hits}


def estimate_all(counts: Counts) -> dict[str, Estimate]:
    """Return F4 in all and by object."""
    return {"total": estimate_total(counts), **estimate_objects(counts)}


def as_numbers(estimates: dict[str, Estimate]) -> dict[str, dict[str, float | None]]:
    """Return estimates by name, JSON-ready."""
    return {name: estimate.as_numbers() for name, estimate in estimates.items()}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("learn", type=Path, help="project with candidates to learn from")
    parser.add_argument("judge", type=Path, help="project to judge by")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if min(arguments.steps, arguments.seeds) < 1:
        parser.error("--steps and --seeds must be 1 or more")
    return arguments


if __name__ == "__main__":
    main()
