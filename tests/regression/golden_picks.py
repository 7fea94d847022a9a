"""Write what the shipped models pick in a phantom: `python tests/regression/golden_picks.py`, once for new weights."""

import json
from pathlib import Path
from typing import Any

import cryofind
from cryofind.testing import make_phantom
from cryofind.types import Picks

GOLDEN = Path(__file__).with_name("golden_picks.json")
SETTINGS = ("predict.device=cpu", "predict.engine=torch", "predict.precision=float32")


def pick_phantom(model: str) -> Picks:
    """Return the selected picks of a model in a phantom that is always the same."""
    tomogram = make_phantom(seed=11, shape_zyx=(64, 160, 160)).tomogram
    picker = cryofind.load_model(model, settings=SETTINGS)
    return picker.pick(tomogram.volume_zyx, voxel_spacing_angstrom=tomogram.grid.spacing_angstrom).only_selected()


def describe_picks(picks: Picks) -> list[dict[str, Any]]:
    """Return picks, JSON-ready."""
    return [
        {"object": str(name), "position_zyx_angstrom": position.round(2).tolist(), "score": round(float(score), 4)}
        for name, position, score in zip(picks.objects, picks.positions_zyx_angstrom, picks.scores, strict=True)
    ]


if __name__ == "__main__":
    golden = {model: describe_picks(pick_phantom(model)) for model in ("czii-sim", "czii-sim-small")}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
