"""Picks of a trained model in bf16 and in int8 against those in float32, on simulated tomograms it never saw."""

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
from materials import choices_of, core_engine, openvino_engine, read_runs, simulate
from numpy.typing import NDArray
from options import Options, SkippedError, describe
from scipy.spatial import cKDTree
from table import Line

from cryofind.config import load_config
from cryofind.models import shipped_model_names
from cryofind.pipeline.loading import load_model
from cryofind.pipeline.picker import Picker
from cryofind.scoring import score
from cryofind.types import Picks

SEED = 900
WITHIN_VOXELS = 0.5
WANTED = {"bf16": 0.995, "int8": 0.98}
REFERENCE = "float32"


def measure(options: Options) -> dict[str, Any]:
    """Return, for each number type, the share of picks that are the same, score differences and F-beta."""
    model = options.model or choose_model()
    variants = find_variants()
    runs = read_runs(simulate(options, options.shape_zyx, seed=SEED, runs=options.runs))
    pickers = {name: load_model(model, settings=settings) for name, settings in variants.items()}
    picked = {name: [picker.pick_tomogram(tomogram).picks for tomogram, _ in runs] for name, picker in pickers.items()}
    picker = pickers[REFERENCE]
    truth = Picks.concatenate(picks for _, picks in runs)
    spacing = picker.card.voxel_spacing_angstrom
    return {
        "model": model,
        "tomograms": len(runs),
        "shape_zyx": list(runs[0][0].grid.shape_zyx),
        "kind": "recipe czii",
        "variants": {
            name: {
                "settings": list(variants[name]),
                "f_beta": f_beta(picked[name], truth, picker),
                **compare(picked[REFERENCE], picked[name], spacing),
            }
            for name in variants
        },
    }


def choose_model() -> str:
    """Return the first shipped model."""
    names = shipped_model_names()
    if not names:
        raise SkippedError("no model is shipped; name one with --model")
    return names[0]


def find_variants() -> dict[str, list[str]]:
    """Return the settings of every number type that can be had here, the reference first."""
    core = [f"predict.{key}={value}" for key, value in core_engine().items()]
    variants = {name: [f"predict.precision={name}", *core] for name in (REFERENCE, "bf16")}
    if "int8" in choices_of("precision") and (engine := openvino_engine()) is not None:
        if importlib.util.find_spec("nncf"):
            variants["int8"] = ["predict.precision=int8", *(f"predict.{key}={value}" for key, value in engine.items())]
        variants["bf16, OpenVINO"] = ["predict.precision=bf16", f"predict.engine={engine['engine']}"]
    for settings in variants.values():
        load_config(None, settings)  # a name that this version does not know is named now, not after minutes
    return variants


def f_beta(picked: Sequence[Picks], truth: Picks, picker: Picker) -> float:
    return score(Picks.concatenate(picked), truth, picker.specs, runs=truth.run_names).f_beta


def compare(reference: Sequence[Picks], other: Sequence[Picks], spacing_angstrom: float) -> dict[str, Any]:
    """Return shares of the same picks, of those selected and of all candidates, and differences of their scores."""
    reach = WITHIN_VOXELS * spacing_angstrom
    candidates = count_same(reference, other, reach)
    selected = count_same([p.only_selected() for p in reference], [p.only_selected() for p in other], reach)
    return {"selected": selected, "candidates": candidates}


def count_same(reference: Sequence[Picks], other: Sequence[Picks], reach_angstrom: float) -> dict[str, Any]:
    """Match one to one, run by run and species by species; the share is 2 x pairs / all picks of both."""
    pairs, total, differences = 0, 0, [np.zeros(0)]
    by_object: dict[str, list[int]] = {}
    for first, second in zip(reference, other, strict=True):
        for name in sorted({*first.object_names, *second.object_names}):
            ours, theirs = first.of_object(name), second.of_object(name)
            rows = match_mutually(ours.positions_zyx_angstrom, theirs.positions_zyx_angstrom, reach_angstrom)
            differences.append(np.abs(ours.scores[rows[:, 0]] - theirs.scores[rows[:, 1]]))
            counts = by_object.setdefault(name, [0, 0])
            counts[0] += 2 * len(rows)
            counts[1] += len(ours) + len(theirs)
            pairs, total = pairs + 2 * len(rows), total + len(ours) + len(theirs)
    scores = np.concatenate(differences)
    return {
        "picks": total / 2,
        "share_same": pairs / total if total else None,
        "share_same_by_object": {name: same / count for name, (same, count) in by_object.items()},
        "largest_score_difference": float(scores.max()) if len(scores) else None,
        "mean_score_difference": float(scores.mean()) if len(scores) else None,
    }


def match_mutually(first: NDArray[np.float64], second: NDArray[np.float64], reach: float) -> NDArray[np.int64]:
    """Return pairs of rows, shape (N, 2), that are each other's nearest and in reach; no row occurs twice."""
    if not (len(first) and len(second)):
        return np.zeros((0, 2), np.int64)
    distances, forth = cKDTree(second).query(first)
    _, back = cKDTree(first).query(second)
    rows = np.arange(len(first))
    kept = (back[forth] == rows) & (distances <= reach)
    return np.stack([rows[kept], forth[kept]], axis=1)


def lines(result: dict[str, Any]) -> list[Line]:
    """Return the lines of the table."""
    table = []
    base = result["variants"][REFERENCE]["f_beta"]
    where = f"`{result['model']}`, {result['tomograms']} x {describe(tuple(result['shape_zyx']))}, {result['kind']}"
    for name, found in result["variants"].items():
        if name == REFERENCE:
            continue
        wanted = WANTED.get(name)
        for kind, title in (("selected", "selected picks"), ("candidates", "all candidates")):
            same = found[kind]
            share = same["share_same"]
            text = "no picks to compare"
            if share is not None:
                difference = same["largest_score_difference"]
                text = f"{100 * share:.2f} % of {same['picks']:g}"
                text += "" if difference is None else f"; scores differ by up to {difference:.3f}"
            judged = wanted is not None and kind == "selected"
            target = f">= {100 * wanted:g} %" if judged and wanted else ""
            reached = share >= wanted if judged and share is not None and wanted else None
            what = f"{name} against float32, {title} the same within 0.5 voxel ({where})"
            table.append(Line(what, target, text, reached))
        change = found["f_beta"] - base
        table.append(Line(f"{name}: F-beta and its change", "reported", f"{found['f_beta']:.4f}, {change:+.4f}"))
    if "int8" not in result["variants"]:
        table.append(Line("int8 against float32", ">= 98 %", "skipped: no int8 here (OpenVINO and nncf are needed)"))
    return table
