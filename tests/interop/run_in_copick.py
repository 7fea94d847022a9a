"""Runs in copick's environment: `read CONFIG` prints what copick sees as JSON, `write FOLDER` makes a project."""

import json
import sys
from pathlib import Path
from typing import Any

import copick
import numpy as np

SPACING_ANGSTROM = 10.012
SHAPE_ZYX = (12, 20, 28)


def read_project(config: str) -> dict[str, Any]:
    root = copick.from_file(config)
    objects = {
        o.name: {"radius": o.radius, "label": o.label, "color": list(o.color), "is_particle": o.is_particle}
        for o in root.pickable_objects
    }
    return {"objects": objects, "runs": {run.name: describe_run(run) for run in root.runs}}


def describe_run(run: Any) -> dict[str, Any]:
    tomograms = [describe_tomogram(t) for spacing in run.voxel_spacings for t in spacing.tomograms]
    segmentations = [describe_segmentation(s) for s in run.segmentations]
    return {"picks": [describe_picks(p) for p in run.picks], "tomograms": tomograms, "segmentations": segmentations}


def describe_picks(picks: Any) -> dict[str, Any]:
    points = [
        {
            "xyz": [p.location.x, p.location.y, p.location.z],
            "score": p.score,
            "matrix": np.asarray(p.transformation).tolist(),
        }
        for p in picks.points
    ]
    return {"object": picks.pickable_object_name, "user": picks.user_id, "session": picks.session_id, "points": points}


def describe_tomogram(tomogram: Any) -> dict[str, Any]:
    volume = tomogram.numpy()
    return {
        "type": tomogram.tomo_type,
        "spacing": tomogram.voxel_spacing.voxel_size,
        "shape": list(volume.shape),
        "mean": float(volume.mean(dtype=np.float64)),
        "corner": float(volume[1, 2, 3]),
    }


def describe_segmentation(segmentation: Any) -> dict[str, Any]:
    labels = segmentation.numpy()
    values, counts = np.unique(labels, return_counts=True)
    return {
        "name": segmentation.name,
        "user": segmentation.user_id,
        "session": segmentation.session_id,
        "spacing": segmentation.voxel_size,
        "is_multilabel": segmentation.is_multilabel,
        "shape": list(labels.shape),
        "counts": {int(v): int(c) for v, c in zip(values, counts, strict=True)},
    }


def write_project(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "config_type": "filesystem",
        "name": "made by copick",
        "description": "",
        "version": "1.0.0",
        "pickable_objects": [
            {"name": "ribosome", "is_particle": True, "label": 1, "color": [0, 117, 220, 255], "radius": 150.0},
            {"name": "membrane", "is_particle": False, "label": 2, "color": [100, 100, 100, 255]},
        ],
        "overlay_root": f"local://{folder}/overlay/",
        "overlay_fs_args": {"auto_mkdir": True},
    }
    (folder / "copick.json").write_text(json.dumps(document))
    run = copick.from_file(str(folder / "copick.json")).new_run("TS_1")
    volume = np.arange(np.prod(SHAPE_ZYX), dtype=np.float32).reshape(SHAPE_ZYX)
    tomogram = run.new_voxel_spacing(SPACING_ANGSTROM).new_tomogram("denoised")
    tomogram.from_numpy(volume)
    picks = run.new_picks("ribosome", "7", "tester")
    points_xyz = np.array([[100.0, 50.0, 20.0], [10.012, 20.024, 30.036]])
    transforms = np.stack([np.eye(4), np.eye(4)])
    transforms[1, :3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]  # x goes to y
    picks.from_numpy(points_xyz, transforms)
    picks.store()
    labels = np.zeros(SHAPE_ZYX, dtype=np.uint8)
    labels[2:4, 5:8, 9:13] = 1
    labels[6, :, :] = 2
    segmentation = run.new_segmentation(SPACING_ANGSTROM, "particles", "7", is_multilabel=True, user_id="tester")
    segmentation.from_numpy(labels)


if __name__ == "__main__":
    action, place = sys.argv[1:]
    if action == "read":
        sys.stdout.write(json.dumps(read_project(place)))
    else:
        write_project(Path(place).resolve())
