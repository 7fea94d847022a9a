"""Does a second look help: a small network that sees a crop round every candidate and says what it is worth.

python benchmarks/quality/second_stage.py MODEL LEARN_PROJECT JUDGE_PROJECT --out FOLDER [--steps N] [--seeds N]

The model's candidates in the runs of LEARN_PROJECT, which it must not have learnt from, teach the small network; those
of JUDGE_PROJECT are judged by the model's scores and by what the network makes of them. Thresholds for each half of the
judging runs come from the other half, for both. The network adds to the logit of the model's score, so that untrained
it changes nothing. F4 and margins (paired by run; the mean of scores over seeds) go to FOLDER/second_stage.json and
to stdout.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from board import format_estimate
from experiment_training import select_crossed
from figures import Counts, Estimate, compare_paired, estimate_objects, estimate_total
from numpy.typing import NDArray
from places import run_cryofind
from scipy.special import expit, logit
from torch import Tensor, nn
from torch.nn import functional

from cryofind.atomic import write_json
from cryofind.config import Config
from cryofind.errors import CryofindError, InSampleError
from cryofind.io import open_project
from cryofind.models import LoadedModel
from cryofind.pipeline import InputSelection, load_model
from cryofind.pipeline.annotated import choose_annotated, read_annotated
from cryofind.pipeline.seen import is_seen, remember_run
from cryofind.preprocess import preprocess_tomogram
from cryofind.scoring import match_candidates
from cryofind.types import ParticleSpec, Picks, Tomogram

EDGE = 32  # voxels of a crop: the largest particles have radii of 15
BATCH = 64
LEARNING_RATE = 2e-3
MISS_WEIGHT = 16.0  # F4 takes a missed particle for so many false picks
SURE = 1e-4  # scores nearer to 0 or 1 are as good as these


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the model found in a project, with a look at each.

    Parameters
    ----------
    picks
        All N candidates with the model's scores.
    truth
        True picks of these runs.
    particles
        The objects, in the order of `objects`.
    crops
        Grey values around each candidate, shape (N, EDGE, EDGE, EDGE).
    objects
        Number of each candidate's object, shape (N,).
    is_hit
        Whether each lies on a particle of its kind, shape (N,).
    """

    picks: Picks
    truth: Picks
    particles: tuple[ParticleSpec, ...]
    crops: Tensor
    objects: Tensor
    is_hit: Tensor

    @property
    def logits(self) -> Tensor:
        """Logits of the model's scores, shape (N,)."""
        return torch.from_numpy(logit(np.clip(self.picks.scores, SURE, 1 - SURE)).astype(np.float32))


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
        """Return new logits (N,) of candidates from crops (N, EDGE, EDGE, EDGE), logits (N,) and objects (N,)."""
        seen = self.head(self.body(crops[:, None]).float().mean(dim=(2, 3, 4)))
        added: Tensor = seen.gather(1, objects[:, None])[:, 0]
        return self.slope[objects] * logits + added


def main() -> None:
    arguments = parse_arguments()
    try:
        model = load_model(arguments.model)
        learnt, judged = (
            find_candidates(model, arguments.model, project, arguments.out / name)
            for project, name in ((arguments.learn, "learn"), (arguments.judge, "judge"))
        )
    except CryofindError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    logits = [rescore(train(learnt, arguments.steps, seed), judged) for seed in range(arguments.seeds)]
    rescored = judged.picks.with_scores(expit(np.mean(logits, axis=0)))
    before, after = (count(picks, judged) for picks in (judged.picks, rescored))
    found = {
        "candidates": {"learnt": len(learnt.picks), "judged": len(judged.picks)},
        "before": describe(before),
        "after": describe(after),
        "gain": {name: show(estimate) for name, estimate in compare_paired(after, before).items()},
    }
    write_json(arguments.out / "second_stage.json", found)
    print(json.dumps(found, indent=2))


def find_candidates(model: LoadedModel, name: str, project_path: Path, folder: Path) -> Candidates:
    """Return the model's candidates in a project, picked where they are not there yet.

    Raises
    ------
    InSampleError
        If the model learnt from one of the runs.
    """
    project, selection = open_project(project_path), InputSelection()
    particles = tuple(spec for spec in project.objects if spec.is_particle)
    if not (folder / "picks.csv").is_file():
        run_cryofind("pick", project_path, "--model", name, "--out", folder, "--set", "locate.floor_factor=0")
    picks = Picks.from_csv(folder / "picks.csv")
    picks = picks.where(np.isin(picks.objects, [spec.name for spec in particles]))
    tables, truths, crops = [], [], []
    for _, _, entry in choose_annotated([project], selection, preferred_flavours=model.card.flavours):
        tomogram, truth = read_annotated(project, entry, selection)
        if is_seen(remember_run(tomogram, truth, role="tune"), model.card.training_runs):
            raise InSampleError(f"{project_path}: run {entry.run}", "is one that the model has seen", "use others")
        tables.append(picks.of_run(entry.run))
        truths.append(truth)
        spacing_angstrom = model.card.voxel_spacing_angstrom
        prepared = preprocess_tomogram(tomogram, model.card.preprocess, spacing_angstrom=spacing_angstrom)
        crops.append(cut_crops(prepared, tables[-1].positions_zyx_angstrom))
    found, truth = Picks.concatenate(tables), Picks.concatenate(truths)
    names = [spec.name for spec in particles]
    is_hit = np.zeros(len(found), bool)
    for match in match_candidates(found, truth, particles).values():
        is_hit[match.candidate_rows[match.pairs[:, 0]]] = True
    objects = torch.tensor([names.index(each) for each in found.objects])
    return Candidates(found, truth, particles, torch.from_numpy(np.concatenate(crops)), objects, torch.tensor(is_hit))


def cut_crops(tomogram: Tomogram, positions_zyx_angstrom: NDArray[np.float64]) -> NDArray[np.float16]:
    """Return crops (N, EDGE, EDGE, EDGE) about positions (N, 3), the tomogram mirrored at its faces."""
    padded = np.pad(tomogram.volume_zyx, EDGE // 2, mode="reflect")
    starts = np.rint(tomogram.grid.indices_from_positions(positions_zyx_angstrom)).astype(int)
    starts = np.clip(starts, 0, np.array(tomogram.volume_zyx.shape) - 1)
    crops = np.empty((len(starts), EDGE, EDGE, EDGE), np.float16)
    for crop, (z, y, x) in zip(crops, starts, strict=True):
        crop[:] = padded[z : z + EDGE, y : y + EDGE, x : x + EDGE]
    return crops


def train(learnt: Candidates, steps: int, seed: int) -> SecondLook:
    """Return a network that has learnt which candidates are particles."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = SecondLook(len(learnt.particles))
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    logits = learnt.logits
    for _ in range(steps):
        rows = torch.from_numpy(random.integers(len(logits), size=BATCH))
        crops = turn(learnt.crops[rows].float(), random)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(crops, logits[rows], learnt.objects[rows]).float()
        loss = functional.binary_cross_entropy_with_logits(
            found, learnt.is_hit[rows].float(), pos_weight=torch.tensor(MISS_WEIGHT)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def turn(crops: Tensor, random: np.random.Generator) -> Tensor:
    """Return crops (N, Z, Y, X) flipped and turned about z by a right angle: what leaves the missing wedge in place."""
    axes = [axis for axis in (1, 2, 3) if random.random() < 0.5]
    return torch.rot90(crops.flip(axes), 2 * int(random.integers(2)), (2, 3))


@torch.no_grad()
def rescore(network: SecondLook, judged: Candidates) -> NDArray[np.float32]:
    """Return new logits of all candidates, the mean over both views that a half turn gives."""
    parts = []
    for rows in torch.arange(len(judged.picks)).split(4 * BATCH):
        crops = judged.crops[rows].float()
        views = (crops, torch.rot90(crops, 2, (2, 3)))
        parts.append(sum(network(view, judged.logits[rows], judged.objects[rows]) for view in views) / len(views))
    return np.asarray(torch.cat(parts))


def count(picks: Picks, judged: Candidates) -> Counts:
    """Return the counts of candidates, selected by the thresholds of the other half of the runs."""
    truth, particles = judged.truth, judged.particles
    return Counts.of(select_crossed(picks, truth, particles, truth.run_names, Config()), truth, particles)


def describe(counts: Counts) -> dict[str, str]:
    """Return F4 in all and by object, with its interval."""
    return {"total": show(estimate_total(counts)), **{k: show(v) for k, v in estimate_objects(counts).items()}}


def show(estimate: Estimate) -> str:
    """Return a figure and its interval."""
    return format_estimate([value for value in (estimate.value, estimate.low, estimate.high) if np.isfinite(value)])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("learn", type=Path, help="project with candidates to learn from")
    parser.add_argument("judge", type=Path, help="project to judge by")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
