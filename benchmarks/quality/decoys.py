"""Hard negatives: where a model saw particles and there are none, written as picks of an object of its own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from places import run_cryofind
from scipy.spatial import KDTree
from sets import OpenSet, write_over

from cryofind.locate import suppress_neighbours
from cryofind.models import find_model, model_hash
from cryofind.pipeline.records import hash_document
from cryofind.types import ParticleSpec, Picks

DECOY_NAME, DECOY_RADIUS_ANGSTROM = "decoy", 60.0


def write_decoy_project(opened: OpenSet, model: str, scratch: Path) -> Path:
    """Write a copick project with tomograms and picks of a set, and with decoys; return its configuration.

    Parameters
    ----------
    opened
        The set; its tomograms stay where they are.
    model
        Whose false picks are taken.
    scratch
        Folder for the project, whose name tells what it was made from; picking goes on where it stopped.
    """
    made_from = [opened.identity, model_hash(find_model(model)), DECOY_RADIUS_ANGSTROM]
    folder = scratch / f"{opened.name}-{model}-{hash_document(made_from)[:8]}"
    runs = [part for run in opened.runs for part in ("--run", run)]
    run_cryofind("pick", opened.project.path, "--model", model, "--out", folder / "picks", *runs)
    decoys = find_decoys(Picks.from_csv(folder / "picks" / "picks.csv"), opened.truth, opened.particles, opened.runs)
    label = 1 + max(spec.label for spec in opened.project.objects)
    objects = [*opened.project.objects, ParticleSpec(DECOY_NAME, DECOY_RADIUS_ANGSTROM, label, score_weight=0.0)]
    return write_over(opened, folder, decoys, names=(DECOY_NAME,), objects=objects)


def find_decoys(picks: Picks, truth: Picks, specs: Sequence[ParticleSpec], runs: Sequence[str]) -> Picks:
    """Return the selected picks that lie on no particle of any kind, as picks of the decoy, the surest first.

    None is nearer to a true particle's middle than its radius and half of a decoy's together, so that their targets
    stay apart, or nearer to another decoy than a decoy's radius.
    """
    found = []
    for run in runs:
        of_run, true = picks.of_run(run).only_selected(), truth.of_run(run)
        is_free = np.ones(len(of_run), bool)
        for spec in specs:
            places = true.of_object(spec.name).positions_zyx_angstrom
            if len(places):
                reach = float(spec.radius_angstrom or 0.0) + DECOY_RADIUS_ANGSTROM / 2
                is_free &= KDTree(places).query(of_run.positions_zyx_angstrom)[0] > reach
        free = of_run.where(is_free)
        kept = suppress_neighbours(
            free.positions_zyx_angstrom,
            free.scores,
            np.zeros(len(free), np.int64),
            separations_angstrom=np.full((1, 1), DECOY_RADIUS_ANGSTROM),
        )
        found.append(Picks.build(run, DECOY_NAME, free.positions_zyx_angstrom[kept]))
    return Picks.concatenate(found)
