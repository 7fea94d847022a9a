"""How good the published recipes became over time: `python benchmarks/quality/peers/curves.py FOLDER... --out DIR`.

Every FOLDER is one that train.py wrote. DIR/curves.md gets a line for each validation of each: minutes of the
processor spent on training, steps, F4 of the validation runs at the best thresholds for them, in all and by object;
DIR/curves.svg is F4 over minutes.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from loop import CURVE, OPTIONS, read_curve

sys.path.append(str(Path(__file__).resolve().parents[2] / "speed"))

from plot import Series, draw_panels

from cryofind.atomic import write_text

Curves = list[tuple[str, list[dict[str, Any]]]]


def main() -> None:
    arguments = parse_arguments()
    curves = [(read_name(folder), read_curve(folder)) for folder in arguments.folders]
    if missing := [name for name, rows in curves if not rows]:
        sys.exit(f"{missing[0]}: was not validated yet ({CURVE}); train it for longer")
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out / "curves.md", text := format_curves(curves))
    write_text(arguments.out / "curves.svg", draw_curves(curves))
    print(text, end="")


def read_name(folder: Path) -> str:
    """Return the recipe that was trained into a folder."""
    try:
        return str(json.loads((folder / OPTIONS).read_text())["peer"])
    except FileNotFoundError:
        sys.exit(f"{folder}: holds no training ({OPTIONS}); name folders that train.py wrote")


def format_curves(curves: Curves) -> str:
    """Return a Markdown table, a line for each validation."""
    objects = list(curves[0][1][0]["by_object"])
    columns = ["recipe", "CPU minutes", "steps", "F4", *objects]
    lines = [columns, ["---"] * len(columns)]
    for name, rows in curves:
        for row in rows:
            found = [f"{value:.3f}" for value in (row["f4"], *map(row["by_object"].__getitem__, objects))]
            lines.append([name, f"{row['cpu_seconds'] / 60:.0f}", f"{row['step']:,}", *found])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def draw_curves(curves: Curves) -> str:
    """Return F4 over minutes of the processor, as SVG."""
    series = [
        Series(name, [row["cpu_seconds"] / 60 for row in rows], [row["f4"] for row in rows]) for name, rows in curves
    ]
    panels = {"F4 of the validation runs": series}
    return draw_panels(panels, along="CPU minutes of training", title="Published recipes")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="that train.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
