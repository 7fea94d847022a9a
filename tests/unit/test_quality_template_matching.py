"""The template matching of the quality benchmark: what it must find, and that its fast sums are the plain ones."""

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.fft import irfftn, rfftn
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from cryofind import czii
from cryofind.cli import main as cryofind_main
from cryofind.io import Project, TomogramEntry, open_project
from cryofind.io.copick import point_copick_config
from cryofind.simulate.body import Body
from cryofind.simulate.ctf import Optics
from cryofind.simulate.densities import load_body
from cryofind.simulate.render import render_body
from cryofind.types import Picks, Tomogram, VoxelGrid
from tests.benchmark_scripts import import_scripts

PARTS = ("template_rotations", "template_densities", "template_correlation", "template_matching")
STEP_DEGREES = 40.0
SPACING_ANGSTROM = 20.0
Volume = NDArray[np.float32]


class Modules:
    """The scripts under test, by the end of their names."""

    def __init__(self) -> None:
        self.rotations, self.densities, self.correlation, self.matching = map(importlib.import_module, PARTS)


@pytest.fixture(scope="module")
def modules() -> Iterator[Modules]:
    with import_scripts("quality/peers", PARTS):
        yield Modules()


@pytest.fixture(scope="module")
def covers(modules: Modules) -> dict[str, NDArray[np.float64]]:
    return {group: modules.rotations.cover_rotations(group, STEP_DEGREES) for group in ("C1", "C2", "D2", "O", "I")}


def noise(shape: tuple[int, ...], seed: int = 0) -> Volume:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def rotation_of(vector: tuple[float, float, float]) -> NDArray[np.float64]:
    return np.asarray(Rotation.from_rotvec(vector).as_matrix())


turns = st.tuples(*[st.floats(-3.0, 3.0)] * 3)


@given(turn=turns, group=st.sampled_from(["C2", "D2", "O", "I"]))
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_cover_reduced_by_symmetry_is_as_dense_as_the_full_one(
    modules: Modules, covers: dict[str, NDArray[np.float64]], turn: tuple[float, float, float], group: str
) -> None:
    # An orientation of the pool lies within 6 degrees of any.
    reach = np.sqrt(3) / 2 * STEP_DEGREES + 6
    rotation = rotation_of(turn)
    assert modules.rotations.angle_degrees(rotation, covers["C1"], "C1").min() < reach
    assert modules.rotations.angle_degrees(rotation, covers[group], group).min() < reach


def test_symmetry_saves_templates_by_its_order(covers: dict[str, NDArray[np.float64]]) -> None:
    for group, order in (("C2", 2), ("D2", 4), ("O", 24)):
        assert len(covers[group]) == pytest.approx(len(covers["C1"]) / order, rel=0.35)
    # As many as a cubic grid of that step, or fewer.
    assert len(covers["C1"]) <= 8 * np.pi**2 / np.deg2rad(STEP_DEGREES) ** 3
    assert np.linalg.det(covers["C1"]) == pytest.approx(1.0)


@pytest.mark.parametrize(("name", "group"), [("beta-galactosidase", "D2"), ("apo-ferritin", "O")])
def test_the_axes_of_a_body_are_found_however_it_lies(modules: Modules, name: str, group: str) -> None:
    body = load_body(name)
    turned = Body.centered(
        name, body.rotated_centers(rotation_of((0.3, -1.2, 0.7))), body.masses_kilodalton, body.sigma_angstrom
    )
    operations = Rotation.create_group(group).as_matrix()
    assert modules.rotations.share_left(turned, operations, modules.rotations.find_frame(turned, group)) > 0.9995
    assert modules.rotations.share_left(turned, operations, np.eye(3)) < 0.9985


def test_orientations_alike_by_symmetry_look_alike(modules: Modules) -> None:
    body, operations = load_body("thyroglobulin"), Rotation.create_group("C2").as_matrix()
    frame = modules.rotations.find_frame(body, "C2")
    rotations = [rotation_of((0.4, 0.9, -0.2)) @ operation @ frame.T for operation in operations]
    one, other = draw(modules, body, rotations)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99


def imaging(modules: Modules, *, flavour: str = "wbp", tilt_degrees: float = 45.0) -> Any:
    return modules.densities.Imaging(tilt_degrees, 3.0, Optics(), flips_phases=flavour != "wbp")


def draw(modules: Modules, body: Body, rotations: Any, **options: Any) -> list[Volume]:
    size = len(modules.densities.draw_mask(body, SPACING_ANGSTROM))
    return list(modules.densities.draw_templates(body, rotations, SPACING_ANGSTROM, size, imaging(modules, **options)))


def test_a_template_fits_itself_perfectly(modules: Modules) -> None:
    body = load_body("ribosome")
    mask = modules.densities.draw_mask(body, SPACING_ANGSTROM)
    (template,) = draw(modules, body, [np.eye(3)])
    padded = np.pad(template * 7, 5)
    # The mean that is taken off before is that of the volume, so the surroundings may be anything.
    found = modules.correlation.correlate_locally(padded + 100, [template], mask)
    middle = (len(padded) // 2,) * 3
    assert np.unravel_index(found.argmax(), found.shape) == middle
    assert found[middle] == pytest.approx(1.0, abs=1e-3)
    inverse = modules.correlation.correlate_locally(-padded, [template], mask)
    assert inverse[middle] == pytest.approx(-1.0, abs=1e-3)


@pytest.mark.parametrize("workers", [1, 3])
def test_tiles_and_transforms_give_the_plain_sums(
    modules: Modules, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(modules.correlation, "TILE_VOXELS", 10)
    volume, templates = noise((7, 19, 14)), [noise((5, 5, 5), 1), noise((5, 5, 5), 2)]
    mask = np.ones((5, 5, 5), np.float32)
    mask[0, 0, 0] = mask[-1, -1, -1] = 0.25
    assert len(modules.correlation.Tiles.cut(volume, mask.shape).outputs) > 4
    fast = modules.correlation.correlate_locally(volume, iter(templates), mask, workers=workers)
    padded = np.pad(volume - volume.mean(), 2)
    for place in product(*map(range, volume.shape)):
        around = padded[tuple(slice(at, at + 5) for at in place)]
        plain = max(weighted_correlation(template, around, mask) for template in templates)
        assert fast[place] == pytest.approx(plain, abs=1e-4)


def weighted_correlation(one: Volume, other: Volume, weights: Volume) -> float:
    deviations = [values - np.average(values, weights=weights) for values in (one.astype(float), other.astype(float))]
    covariance = np.average(deviations[0] * deviations[1], weights=weights)
    return float(covariance / np.sqrt(np.prod([np.average(part**2, weights=weights) for part in deviations])))


@pytest.mark.parametrize("name", ["apo-ferritin", "thyroglobulin"])
def test_a_body_in_noise_is_found_at_its_place(modules: Modules, name: str) -> None:
    body, known = load_body(name), imaging(modules)
    grid = VoxelGrid.isotropic((33, 40, 36), SPACING_ANGSTROM)
    place = np.array([15.3, 22.6, 17.0])
    density = np.zeros(grid.shape_zyx, np.float32)
    render_body(density, None, grid, body, rotation_of((1.0, 0.5, -0.8)), place * SPACING_ANGSTROM)
    seen = irfftn(rfftn(density) * known.factor(grid.shape_zyx, SPACING_ANGSTROM), s=grid.shape_zyx)
    volume = (seen / np.abs(seen).max() + 0.12 * noise(grid.shape_zyx)).astype(np.float32)
    search = modules.matching.plan_searches([name], 50.0)[name]
    mask = modules.densities.draw_mask(body, SPACING_ANGSTROM)
    templates = list(modules.densities.draw_templates(body, search.rotations, SPACING_ANGSTROM, len(mask), known))
    found = modules.correlation.correlate_locally(volume, templates, mask)
    assert np.abs(np.unravel_index(found.argmax(), found.shape) - place).max() <= 1.0
    # Bright particles are none.
    assert modules.correlation.correlate_locally(-volume, templates, mask).max() < found.max() - 0.1


def test_templates_know_the_wedge_the_transfer_and_the_contrast(modules: Modules) -> None:
    shape = (64, 64, 64)
    factor = imaging(modules).factor(shape, 5.0)
    flipped = imaging(modules, flavour="denoised").factor(shape, 5.0)
    z, x = np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(64)
    is_missing = np.abs(z) > 1.1 * x + 0.02
    assert not factor[:, 0][is_missing].any()
    assert factor[0, 0, 2] < 0  # dark
    assert factor.max() > 0.5  # beyond the first zero, at 24 Angstrom, contrast is inverted ...
    assert flipped.max() <= 0.0  # ... and set right here
    assert np.abs(factor) == pytest.approx(np.abs(flipped))
    (template,) = draw(modules, load_body("ribosome"), [np.eye(3)])
    assert template[(len(template) // 2,) * 3] < 0


def test_coarsening_and_cropping_keep_places(modules: Modules) -> None:
    grid = VoxelGrid.isotropic((48, 61, 81), 10.0)
    place = np.array([233.0, 312.0, 405.0])
    volume = np.zeros(grid.shape_zyx, np.float32)
    render_body(volume, None, grid, load_body("ribosome"), np.eye(3), place)
    part, inside = modules.matching.middle_of(grid, (40, 56, 400))
    assert part.shape_zyx == (40, 56, 81)
    for tomogram in (Tomogram("R", volume, grid), Tomogram("R", volume[inside], part)):
        coarse = modules.matching.coarsen_tomogram(tomogram)
        voxels = np.indices(coarse.volume_zyx.shape).reshape(3, -1)
        middle = np.average(voxels, axis=1, weights=coarse.volume_zyx.ravel())
        assert coarse.grid.spacing_zyx_angstrom == pytest.approx([20.0] * 3, rel=0.02)
        assert coarse.grid.positions_from_indices(middle) == pytest.approx(place, abs=1.0)


def test_a_flat_spectrum_has_no_scale_of_its_own(modules: Modules) -> None:
    volume = noise((40, 48, 44))
    blurred = gaussian_filter(volume, 0.7, mode="wrap")
    sharp, smooth = (modules.correlation.flatten_spectrum(part) for part in (volume, blurred))
    # A filter that only depends on the resolution is undone.
    assert np.corrcoef(sharp.ravel(), smooth.ravel())[0, 1] > 0.98
    assert np.abs(rfftn(sharp)[24:, 0, 0]).max() > 0
    assert np.abs(rfftn(sharp)[20, 24, 22]) < 1e-3


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small simulated run with two ribosomes."""
    folder = tmp_path_factory.mktemp("simulated")
    options = ("--shape", "48,96,96", "--seed", "1", "--jobs", "1", "--set", "species.ribosome.count=200")
    with pytest.raises(SystemExit, match="0"):
        cryofind_main(["--quiet", "simulate", "easy", "--out", str(folder), *options])
    return folder


def match(
    modules: Modules,
    monkeypatch: pytest.MonkeyPatch,
    project: Path,
    out: Path,
    *options: str,
    validation: Path | None = None,
) -> Picks:
    monkeypatch.setattr(modules.matching, "POINT_GROUPS", {"ribosome": "C1"})
    command = ("template_matching.py", project, "--validation-project", validation or project, "--out", out, *options)
    monkeypatch.setattr(sys, "argv", [str(part) for part in command])
    modules.matching.main()
    return Picks.from_csv(out / "picks.csv")


def test_simulated_particles_lead_the_candidates(
    modules: Modules, monkeypatch: pytest.MonkeyPatch, project: Path, tmp_path: Path
) -> None:
    picks = match(modules, monkeypatch, project, tmp_path, "--step", "60")
    truth = open_project(project).read_picks().of_object("ribosome")
    assert picks.object_names == ("ribosome",)
    best = picks.where(np.argsort(-picks.scores)[: len(truth)]).positions_zyx_angstrom
    for place in truth.positions_zyx_angstrom:
        # Half a radius, as in the challenge.
        assert np.linalg.norm(best - place, axis=1).min() < 75.0
    assert {"thresholds", "f_beta"} < set(json.loads((tmp_path / "tuning.json").read_text()))
    made = (tmp_path / "seconds.jsonl").read_text()
    again = match(modules, monkeypatch, project, tmp_path, "--step", "60")
    assert again.to_csv_text() == picks.to_csv_text()
    assert (tmp_path / "seconds.jsonl").read_text() == made  # nothing was matched again
    with pytest.raises(SystemExit, match="use another --out"):
        match(modules, monkeypatch, project, tmp_path, "--step", "50")


def test_runs_of_one_name_in_two_projects_are_two(
    modules: Modules, monkeypatch: pytest.MonkeyPatch, project: Path, tmp_path: Path
) -> None:
    other, out = tmp_path / "other", tmp_path / "out"
    shutil.copytree(project, other)
    point_copick_config(other / "copick.json", other)
    matched: list[Path] = []

    def find_one(opened: Project, entry: TomogramEntry, *_: Any) -> Picks:
        matched.append(opened.path)
        return Picks.build(entry.run, "ribosome", np.full((1, 3), 100.0 * len(matched)), scores=[0.5])

    monkeypatch.setattr(modules.matching, "match_run", find_one)
    picks = match(modules, monkeypatch, project, out, validation=other)
    assert [path.parent for path in matched] == [other, project]
    assert picks.positions_zyx_angstrom.tolist() == [[200.0] * 3]
    match(modules, monkeypatch, project, out, validation=other)
    assert len(matched) == 2
    with pytest.raises(SystemExit, match="use another --out"):
        match(modules, monkeypatch, project, out, validation=project)
    with pytest.raises(SystemExit, match="use another --out"):
        match(modules, monkeypatch, other, out, validation=other)


def test_particles_do_not_lie_in_better_ones_of_another_kind(modules: Modules) -> None:
    names = ["ribosome", "apo-ferritin", "apo-ferritin", "apo-ferritin"]
    # In the ribosome; beside it; another run's.
    x = [0.0, 140.0, 160.0, 140.0]
    places = [[0.0, 0.0, at] for at in x]
    runs = ["A", "A", "A", "B"]
    candidates = Picks.build(runs, names, places, scores=[0.9, 0.5, 0.5, 0.5])
    kept = modules.matching.compete(candidates, list(czii.OBJECTS))
    assert kept.positions_zyx_angstrom[:, 2].tolist() == [0.0, 160.0, 140.0]
    kept = modules.matching.compete(candidates.with_scores([0.1, 0.5, 0.5, 0.5]), list(czii.OBJECTS))
    assert kept.objects.tolist() == ["apo-ferritin"] * 3
    assert len(modules.matching.compete(Picks.empty(), list(czii.OBJECTS))) == 0


def test_a_crop_has_its_own_truth(
    modules: Modules, monkeypatch: pytest.MonkeyPatch, project: Path, tmp_path: Path
) -> None:
    picks = match(modules, monkeypatch, project, tmp_path, "--step", "90", "--crop", "48,96,50")
    truth = Picks.from_csv(tmp_path / "truth.csv")
    assert len(truth) < len(open_project(project).read_picks())
    for table in (picks, truth):
        x = table.positions_zyx_angstrom[:, 2]
        assert np.all((x >= 230.0) & (x <= 731.0))


def test_a_run_without_a_record_is_refused(
    modules: Modules, monkeypatch: pytest.MonkeyPatch, project: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(project, bare)
    point_copick_config(bare / "copick.json", bare)
    next(bare.rglob("simulation.json")).unlink()
    with pytest.raises(SystemExit, match=r"simulation\.json.*give a project of `cryofind simulate`"):
        match(modules, monkeypatch, bare, tmp_path / "out", "--step", "90")
