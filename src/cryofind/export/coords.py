"""`.coords` files as crYOLO and TomoTwin read them: x y z in voxels, one file per object and run."""

from pathlib import Path

from cryofind.atomic import write_text
from cryofind.export.bundle import Exported, ExportOptions, describe_sizes, indices_xyz, summarize
from cryofind.types import Picks


def export_coords(picks: Picks, out_dir: Path, options: ExportOptions) -> Exported:
    """Write `OBJECT/RUN.coords`; the format has no room for scores and orientations."""
    paths = []
    for name in picks.object_names:
        of_object = picks.of_object(name)
        for run in of_object.run_names:
            points = indices_xyz(of_object.of_run(run), options.grids[run])
            path = out_dir / name / f"{run}.coords"
            write_text(path, "".join(f"{x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in points))
            paths.append(path)
    sizes = describe_sizes(options.grids[run].spacing_angstrom for run in picks.run_names)
    return summarize(picks, f"voxels of {sizes} from the corner, the first being 0", paths)
