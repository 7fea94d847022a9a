"""How real do simulated tomograms look? Compare a copick project of them with one real slice; `make bench-realism`.

First the published rows of the real slice and of an external simulation are measured again, so that the method is
known to be the one behind them; then the project's slices. Prints a table, writes `realism.json` and `realism.png`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from measures import REAL_PLANE, REAL_RUN, ReferenceMissing, find_reference_data, real_reference
from picture import Panel, draw_panels
from runs import measure_run
from sections import (
    Report,
    report_contrasts,
    report_moments,
    report_real_spread,
    report_reproduction,
    report_spectra,
)

from cryofind.errors import CryofindError
from cryofind.io import Project, TomogramEntry, open_project

FIGURES = Path(__file__).resolve().parent / "figures"


def compare(project: Project, picks_uri: str, flavour: str, depths: int, seed: int, out: Path) -> Report:
    """Measure everything and write the picture and the numbers into `out`."""
    report = Report()
    real = real_reference()
    external_panel = report_reproduction(report, find_reference_data(), real)
    report_real_spread(report, real)
    runs = [
        measure_run(entry, project.read_picks(picks_uri, runs=(entry.run,)), real, depths)
        for entry in first_of_each_run(project.select_tomograms(flavour))
    ]
    report_spectra(report, runs, real)
    report_moments(report, runs, real)
    report_contrasts(report, runs, real, seed)
    report.numbers["slices"] = {run.run: run.z_indices for run in runs}
    report.numbers["verdicts"] = report.verdicts
    particles = np.concatenate(list(real.positions_yx_pixels.values()))
    real_panel = Panel(f"real, {REAL_RUN}, z {REAL_PLANE - 1} to {REAL_PLANE + 1}", real.slice_yx, particles)
    draw_panels([real_panel, *(run.panel for run in runs[:2]), external_panel], out / "realism.png")
    (out / "realism.json").write_text(json.dumps(report.numbers, indent=1) + "\n", encoding="utf-8")
    return report


def first_of_each_run(entries: Sequence[TomogramEntry]) -> list[TomogramEntry]:
    """Return one tomogram a run: the first where there are several spacings."""
    return list({entry.run: entry for entry in reversed(entries)}.values())[::-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path, help="copick project of simulated tomograms with their true picks")
    parser.add_argument("--out", type=Path, default=FIGURES, help="folder of realism.json and realism.png")
    parser.add_argument("--flavour", default="denoised")
    parser.add_argument("--picks", default="", help="OBJECT:USER/SESSION of the truth, where there are other picks too")
    parser.add_argument("--depths", type=int, default=3, help="slices a run")
    parser.add_argument("--seed", type=int, default=0, help="of the draws of particles")
    options = parser.parse_args()
    try:
        report = compare(
            open_project(options.project), options.picks, options.flavour, options.depths, options.seed, options.out
        )
    except ReferenceMissing as missing:
        print(f"skipped: {missing}", file=sys.stderr)
        return 0
    except CryofindError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(report.lines))
    failed = [name for name, passed in report.verdicts.items() if not passed]
    print(f"\nmissed: {', '.join(failed) or 'nothing'}; written: {options.out}/realism.json, realism.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
