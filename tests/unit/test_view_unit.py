"""What the viewer is told to draw: layers, places, sliders; and nothing from data in a shader."""

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from cryofind import czii
from cryofind.atomic import write_json
from cryofind.errors import MemoryLimitError
from cryofind.io import (
    OWN_SESSION,
    OWN_USER,
    open_project,
    picks_json_path,
    write_copick_config,
    write_mrc,
    write_picks_json,
    write_probability_zarr,
)
from cryofind.pipeline import InputSelection, ViewRequest
from cryofind.pipeline.view import gather_scene
from cryofind.pipeline.view_points import choose_threshold
from cryofind.pipeline.view_volumes import MEMORY_SHARE
from cryofind.testing import write_phantom_project
from cryofind.types import Picks, ProbabilityVolume, Tomogram, VoxelGrid
from cryofind.types.particles import find_spec
from cryofind.view import GreyVolume, Labels, Particles, Probability, Scene, choose_grey_scale
from cryofind.view.drawing import draw_scene
from tests.unit.test_import_weight import loaded_after

GRID = VoxelGrid((20, 40, 60), (10.0, 8.0, 5.0))
NASTY = '"); discard; //<script>alert(1)</script>'
RED, BLUE = (213, 94, 0), (0, 114, 178)


def particles(name: str = "ribosome", *, threshold: float | None = 0.25) -> Particles:
    positions = GRID.positions_from_indices([[3.0, 10, 20], [4.5, 11, 30]])
    return Particles(name, RED, 50.0, positions, np.array([0.125, 0.75]), threshold)


def scene(**parts: Any) -> Scene:
    return Scene("TS_1", GreyVolume(np.zeros(GRID.shape_zyx, np.uint8), GRID, (40, 200)), **parts)


def drawn(scene: Scene) -> dict[str, dict[str, Any]]:
    """Return the layers of the page by name."""
    return {layer["name"]: layer for layer in draw_scene(scene).to_json()["layers"]}


def test_axes_are_xyz_in_metres_and_the_tomogram_is_grey() -> None:
    state = draw_scene(scene()).to_json()
    assert list(state["dimensions"]) == ["x", "y", "z"]
    np.testing.assert_allclose([scale for scale, _ in state["dimensions"].values()], [5e-10, 8e-10, 10e-10])
    assert {unit for _, unit in state["dimensions"].values()} == {"m"}
    (layer,) = state["layers"]
    assert layer["opacity"] == 1
    assert "invlerp contrast(range=[40, 200]" in layer["shader"]
    assert "bool invert checkbox(default=false)" in layer["shader"]
    assert layer["source"][0]["url"].shape == (60, 40, 20)


def test_picks_are_ellipsoids_of_the_true_radius_at_voxel_middles() -> None:
    layer = drawn(scene(picks=(particles(),)))["ribosome"]
    first, second = layer["annotations"]
    assert first["type"] == "ellipsoid"
    np.testing.assert_allclose(first["center"], [20.5, 10.5, 3.5])
    np.testing.assert_allclose(second["center"], [30.5, 11.5, 5.0])
    np.testing.assert_allclose(first["radii"], [10.0, 6.25, 5.0])
    assert layer["annotationColor"] == "#d55e00"
    assert [mark["props"] for mark in layer["annotations"]] == [[0.125], [0.75]]


def test_a_slider_begins_at_the_threshold() -> None:
    with_slider = drawn(scene(picks=(particles(threshold=0.25),)))["ribosome"]
    assert "minimum_score slider(min=0.000000, max=1.000000, step=0.001, default=0.250000)" in with_slider["shader"]
    assert "if (prop_score() < minimum_score) discard;" in with_slider["shader"]
    wide = replace(particles(), scores=np.array([-1.5, 12.0]))
    assert "slider(min=-1.500000, max=12.000000, step=0.0135, " in drawn(scene(picks=(wide,)))["ribosome"]["shader"]
    without = drawn(scene(picks=(particles(threshold=None),)))["ribosome"]
    assert "minimum_score" not in without["shader"]


@pytest.mark.parametrize("scores", [[-1.2345678, 12.3456494], [-1234567.8, -3.5], [2.5e7, 3.1234567e7], [0.2, 0.2]])
@pytest.mark.parametrize("selected", [[True, True], [False, True], [False, False]])
def test_a_slider_begins_within_its_range(scores: list[float], selected: list[bool]) -> None:
    """Otherwise Neuroglancer draws nothing of the layer."""
    picks = Picks.build("A", "x", np.zeros((2, 3)), scores=scores, selected=selected)
    threshold = choose_threshold(picks, None)
    shader = drawn(scene(picks=(replace(particles(), scores=picks.scores, threshold=threshold),)))["ribosome"]["shader"]
    found = re.search(r"slider\(min=(\S+), max=(\S+), step=(\S+), default=(\S+)\)", shader)
    assert (found is None) == (threshold is None)
    if found is not None:
        low, high, step, least = (float(number) for number in found.groups())
        assert low <= least <= high
        assert step > 0


def test_the_truth_differs_by_form_not_by_colour_alone() -> None:
    layers = drawn(scene(picks=(particles(),), truth=(particles(threshold=None),)))
    assert list(layers) == ["tomogram", "ribosome", "truth ribosome"]
    truth = layers["truth ribosome"]
    box = truth["annotations"][0]
    assert box["type"] == "axis_aligned_bounding_box"
    np.testing.assert_allclose(box["pointA"], [10.5, 4.25, -1.5])
    np.testing.assert_allclose(box["pointB"], [30.5, 16.75, 8.5])
    assert "setBoundingBoxBorderColor" in truth["shader"]
    assert truth["annotationColor"] != layers["ribosome"]["annotationColor"]


def test_volumes_lie_where_their_grids_say_and_are_hidden() -> None:
    coarse = GRID.coarsened(2)
    probability = Probability("ribosome", RED, np.zeros(coarse.shape_zyx, np.uint8), coarse)
    other = GRID.resampled(20.0)
    labels = Labels("all", np.zeros(other.shape_zyx, np.uint8), other, {1: RED, 7: BLUE})
    layers = drawn(scene(probabilities=(probability,), segmentations=(labels,)))
    cloud, segments = layers["probability ribosome"], layers["segmentation all"]
    assert cloud["visible"] is segments["visible"] is False
    assert (cloud["blend"], cloud["opacity"]) == ("additive", 1)
    # The first coarse cell begins where the first voxel begins; the first voxel of 20 Angstrom is centred on it.
    np.testing.assert_allclose(np.array(cloud["source"][0]["transform"]["matrix"])[:, 3], 0, atol=1e-6)
    shift = np.array(segments["source"][0]["transform"]["matrix"])[:, 3]
    np.testing.assert_allclose(shift, (np.array([5, 8, 10]) / 2 - 10) / 20, atol=1e-6)
    assert segments["segmentColors"] == {"1": "#d55e00", "7": "#0072b2"}
    assert sorted(segments["segments"]) == ["1", "7"]


def test_names_from_data_never_reach_a_shader() -> None:
    coarse = GRID.coarsened(2)
    nasty = scene(
        picks=(particles(NASTY),),
        truth=(particles(NASTY),),
        probabilities=(Probability(NASTY, RED, np.zeros(coarse.shape_zyx, np.uint8), coarse),),
        segmentations=(Labels(NASTY, np.zeros(GRID.shape_zyx, np.uint8), GRID, {}),),
    )
    plain = scene(picks=(particles(),), truth=(particles(),), probabilities=(nasty.probabilities[0],))
    layers = drawn(nasty)
    assert list(layers) == ["tomogram", NASTY, f"truth {NASTY}", f"probability {NASTY}", f"segmentation {NASTY}"]
    shaders = [layer.get("shader", "") for layer in layers.values()]
    assert shaders[:4] == [layer["shader"] for layer in drawn(plain).values()]
    assert not any("script" in shader or '");' in shader for shader in shaders)


def test_the_first_look_is_at_the_picks() -> None:
    state = draw_scene(scene(picks=(particles(),)))
    np.testing.assert_allclose(state.position, [30.0, 20.0, 5.5])  # only the second is above the threshold
    assert state.selected_layer.layer == "ribosome"
    raw = draw_scene(scene())
    np.testing.assert_allclose(raw.position, [30.0, 20.0, 10.0])
    assert raw.selected_layer.layer == "tomogram"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float32])
def test_greys_keep_the_order_and_the_contrast(dtype: type) -> None:
    voxels: NDArray[Any] = np.random.default_rng(0).normal(100, 20, (30, 30, 30)).clip(0, 255).astype(dtype)
    scale = choose_grey_scale(voxels)
    grey = scale.to_grey(voxels)
    black, white = np.percentile(voxels, [0.5, 99.5])
    np.testing.assert_allclose(np.interp(scale.shown, [0, 255], [scale.low, scale.high]), [black, white], atol=0.6)
    assert scale.shown[1] - scale.shown[0] >= 127
    order = np.argsort(voxels, axis=None)
    assert (np.diff(grey.ravel()[order].astype(int)) >= 0).all()


def test_greys_of_odd_voxels() -> None:
    voxels = np.array([np.nan, np.inf, -np.inf, 0.0, 1.0], np.float32)
    grey = choose_grey_scale(voxels).to_grey(voxels)
    assert grey.tolist() == [127, 255, 0, 0, 255]
    assert choose_grey_scale(np.full(5, 3.0)).to_grey(np.full(2, 3.0)).tolist() == [128, 128]
    assert choose_grey_scale(np.full(5, np.nan)).to_grey(np.zeros(2)).tolist() == [128, 128]
    mask = np.zeros(10_000, np.uint8)
    mask[0] = 1
    assert choose_grey_scale(mask).to_grey(mask)[:2].tolist() == [255, 0]


@pytest.mark.parametrize(
    ("scores", "selected", "stated", "expected"),
    [
        ([0.1, 0.5, 0.9], [0, 1, 1], 0.3, 0.3),
        ([0.1, 0.5, 0.9], [0, 1, 1], None, 0.5),
        ([0.1, 0.5, 0.9], [0, 0, 1], 0.3, 0.9),  # chosen for this tomogram alone
        ([0.1, 0.5, 0.9], [0, 0, 0], 0.95, 0.95),
        ([0.1, 0.5, 0.9], [0, 0, 0], None, 1.0),
        ([0.123457, 0.5], [1, 1], 0.1234574, 0.123457),  # files round scores
        ([1.0, 1.0], [1, 1], 0.5, None),
        ([0.5, 0.5], [0, 0], 0.6, 0.6),
        ([2.5, 7.5], [0, 1], 3.0, 3.0),
    ],
)
def test_the_threshold_hides_what_is_not_selected(
    scores: list[float], selected: list[int], stated: float | None, expected: float | None
) -> None:
    picks = Picks.build("A", "x", np.zeros((len(scores), 3)), scores=scores, selected=selected)
    assert choose_threshold(picks, stated) == expected


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    return write_phantom_project(folder, runs=("P_1", "P_2"), seed=3, shape_zyx=(16, 48, 48))


def of_run(run: str) -> InputSelection:
    return InputSelection(runs=(run,))


def test_a_project_shows_its_picks_and_segmentations(project: Path) -> None:
    shown = gather_scene(ViewRequest(project))
    assert shown.title == "P_1 denoised"
    true = open_project(project).read_picks(runs=("P_1",))
    assert [layer.name for layer in shown.picks] == list(true.object_names)
    for layer in shown.picks:
        spec = find_spec(czii.OBJECTS, layer.name)
        assert (layer.radius_angstrom, layer.color) == (spec.radius_angstrom, spec.color[:3])
        np.testing.assert_allclose(layer.positions_zyx_angstrom, true.of_object(layer.name).positions_zyx_angstrom)
        assert layer.threshold is None
    assert not shown.truth
    assert [labels.name for labels in shown.segmentations] == ["particles:curation/0"]
    assert set(shown.segmentations[0].colors) <= {spec.label for spec in czii.OBJECTS}


def test_own_picks_stand_beside_the_truth(project: Path) -> None:
    own = Picks.build("P_2", "ribosome", [[50.0, 100.0, 150.0]])
    path = picks_json_path(project.parent, "P_2", OWN_USER, OWN_SESSION, "ribosome")
    write_picks_json(path, own, user=OWN_USER, session=OWN_SESSION, voxel_spacing_angstrom=10.012)
    shown = gather_scene(ViewRequest(project, of_run("P_2")))
    (layer,) = shown.picks
    np.testing.assert_allclose(layer.positions_zyx_angstrom, [[50.0, 100.0, 150.0]], atol=1e-3)
    assert shown.truth
    chosen = gather_scene(ViewRequest(project, of_run("P_2"), picks="*:curation/0"))
    assert {layer.name for layer in chosen.picks} == {layer.name for layer in shown.truth}
    assert not chosen.truth


def write_result(folder: Path, project: Path, picks: Picks, *, tomogram: Path | None = None) -> Path:
    """Write what `cryofind pick` writes, with these candidates of P_1."""
    (entry,) = open_project(project).select_tomograms(runs=("P_1",))
    grid = entry.read_grid()
    run = {
        "run": "P_1",
        "flavour": entry.flavour,
        "path": str(tomogram or entry.path),
        "shape_zyx": grid.shape_zyx,
        "spacing_zyx_angstrom": grid.spacing_zyx_angstrom,
        "origin_zyx_angstrom": grid.origin_zyx_angstrom,
    }
    objects = [{**vars(spec), "color": (1, 2, 3, 255)} for spec in czii.OBJECTS]
    record = {"made_by": "cryofind pick", "runs": [run], "objects": objects, "thresholds": {"ribosome": 0.4}}
    picks.to_csv(folder / "picks.csv")
    write_json(folder / "run.json", record)
    write_copick_config(
        folder / "copick.json", name="picks", objects=czii.OBJECTS, overlay_root=folder, static_root=project.parent
    )
    return folder


CANDIDATES = Picks.build(
    "P_1", "ribosome", [[50, 100, 150], [60, 90, 80], [70, 70, 70]], scores=[0.6, 0.5, 0.2], selected=[1, 1, 0]
)


def test_a_result_shows_candidates_probabilities_and_the_truth(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = write_result(tmp_path / "result", project, CANDIDATES)
    coarse = VoxelGrid.isotropic((16, 48, 48), 10.012).coarsened(2)
    channels = np.stack([np.full(coarse.shape_zyx, value, np.float32) for value in (0.0, 0.5)])
    volume = ProbabilityVolume("P_1", channels, coarse, ("apo-ferritin", "ribosome"))
    write_probability_zarr(result / "probabilities" / "P_1.zarr", volume)
    shown = gather_scene(ViewRequest(result))
    (layer,) = shown.picks
    assert (layer.name, layer.color, layer.threshold) == ("ribosome", (1, 2, 3), 0.4)
    assert len(layer.scores) == 3
    true = open_project(project).read_picks(runs=("P_1",))
    assert {layer.name: len(layer.scores) for layer in shown.truth} == {
        name: len(true.of_object(name)) for name in true.object_names
    }
    assert [(cloud.name, cloud.color) for cloud in shown.probabilities] == [
        ("apo-ferritin", (1, 2, 3)),
        ("ribosome", (1, 2, 3)),
    ]
    assert np.unique(shown.probabilities[1].values_zyx).tolist() == [128]
    assert shown.probabilities[1].grid == coarse
    (result / "probabilities" / "P_1.zarr" / ".zattrs").write_text("{")
    with caplog.at_level(logging.WARNING, "cryofind"):
        assert not gather_scene(ViewRequest(result)).probabilities
    assert "probabilities are not shown" in caplog.text


@pytest.mark.parametrize("is_result", [True, False])
def test_all_volumes_together_must_fit_into_memory(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_result: bool
) -> None:
    """Of P_1: greys, a segmentation as large and, of a result, probabilities of two objects in cells of 2 x 2 x 2."""
    path, voxels = project, 16 * 48 * 48
    needed = 3 * voxels  # the segmentation counts twice: while it is read it is in memory once more
    (entry,) = open_project(project).select_tomograms(runs=("P_1",))
    if is_result:
        path = write_result(tmp_path / "result", project, CANDIDATES)
        coarse = entry.read_grid().coarsened(2)
        channels = np.zeros((2, *coarse.shape_zyx), np.float32)
        volume = ProbabilityVolume("P_1", channels, coarse, ("apo-ferritin", "ribosome"))
        write_probability_zarr(path / "probabilities" / "P_1.zarr", volume)
        needed += voxels // 4
    free = [needed / MEMORY_SHARE + 1]
    monkeypatch.setattr("cryofind.pipeline.view_volumes.read_free_bytes", lambda: free[0])
    shown = gather_scene(ViewRequest(path))
    assert (len(shown.segmentations), len(shown.probabilities)) == (1, 2 * is_result)
    free[0] -= 2
    with pytest.raises(MemoryLimitError, match="with its probabilities and segmentations") as refused:
        gather_scene(ViewRequest(path))
    picks = f", with --picks {path} --run P_1" if is_result else ", and whose picks with --picks"
    assert refused.value.advice == f"give the tomogram alone{picks}"
    shown = gather_scene(ViewRequest(entry.path, of_run("P_1"), picks=str(path) if is_result else ""))
    assert len(shown.picks) == is_result
    assert (shown.segmentations, shown.probabilities) == ((), ())


def test_labels_beyond_255_take_four_bytes_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = write_phantom_project(tmp_path, runs=("P_1",), seed=3, shape_zyx=(16, 48, 48))
    (entry,) = open_project(project).select_segmentations()
    volume = entry.read({})
    instances = volume.labels_zyx.astype(np.uint16)
    instances[0, 0, 0] = 300
    levels = zarr.open_group(entry.path)
    del levels["0"]
    levels.create_array("0", data=instances)  # other programs write such; ours writes 8 bits
    needed = instances.size * (1 + 2 + 4)  # greys, the segmentation as it is in its file, and as it is shown
    free = [needed / MEMORY_SHARE + 1]
    monkeypatch.setattr("cryofind.pipeline.view_volumes.read_free_bytes", lambda: free[0])
    assert gather_scene(ViewRequest(project)).segmentations[0].labels_zyx.dtype == np.uint32
    free[0] -= 2
    with pytest.raises(MemoryLimitError):
        gather_scene(ViewRequest(project))


def test_a_tomogram_is_read_with_the_voxel_spacing_it_was_picked_with(project: Path, tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).normal(size=(16, 48, 48)).astype(np.float32)
    write_mrc(tmp_path / "a.mrc", Tomogram("P_1", voxels, VoxelGrid.isotropic(voxels.shape, 7.5)))
    result = write_result(tmp_path / "result", project, CANDIDATES, tomogram=tmp_path / "a.mrc")
    shown = gather_scene(ViewRequest(result))
    np.testing.assert_allclose(shown.tomogram.grid.spacing_zyx_angstrom, 10.012, rtol=1e-6)
    asked = gather_scene(ViewRequest(result, InputSelection(voxel_spacing_angstrom=8.0)))
    assert asked.tomogram.grid.spacing_angstrom == 8.0


def test_a_bare_tomogram_with_a_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    voxels = np.random.default_rng(0).normal(size=(16, 24, 32)).astype(np.float32)
    write_mrc(tmp_path / "a.mrc", Tomogram("a", voxels, VoxelGrid.isotropic(voxels.shape, 10.0)))
    raw = gather_scene(ViewRequest(tmp_path / "a.mrc"))
    assert (raw.title, raw.picks, raw.truth, raw.segmentations) == ("a", (), (), ())
    assert raw.tomogram.values_zyx.std() > 20
    names = ["ribosome", "my-protein", "my-protein"]
    picks = Picks.build("TS_1", names, [[50, 100, 150], [60, 90, 80], [900, 70, 70]], scores=[1, 0.5, 0.25])
    picks.to_csv(tmp_path / "picks.csv")
    request = ViewRequest(tmp_path / "a.mrc", picks=str(tmp_path / "picks.csv"))
    with caplog.at_level(logging.INFO, "cryofind"):
        mine, ribosome = gather_scene(request).picks
    assert (
        "the radius of 'my-protein' is not known: drawn with 100 Angstrom; say --object my-protein:RADIUS"
        in caplog.text
    )
    assert "1 of 3 particles lie outside" in caplog.text
    assert "the picks are of a run called 'TS_1'" in caplog.text
    assert (ribosome.radius_angstrom, mine.radius_angstrom) == (150.0, 100.0)
    assert mine.color != ribosome.color
    stated = ViewRequest(tmp_path / "a.mrc", picks=request.picks, objects=("my-protein:40", "ribosome:120"))
    assert [layer.radius_angstrom for layer in gather_scene(stated).picks] == [40.0, 120.0]


def test_of_too_many_candidates_the_best_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cryofind.pipeline.view_points.MAX_DRAWN", 2)
    voxels = np.zeros((8, 8, 8), np.float32)
    write_mrc(tmp_path / "a.mrc", Tomogram("a", voxels, VoxelGrid.isotropic(voxels.shape, 10.0)))
    CANDIDATES.where(np.array([2, 1, 0])).to_csv(tmp_path / "picks.csv")
    (layer,) = gather_scene(ViewRequest(tmp_path / "a.mrc", picks=str(tmp_path / "picks.csv"))).picks
    assert layer.scores.tolist() == [0.5, 0.6]
    assert "of 3 candidates the best 2 are drawn" in caplog.text


def test_gathering_needs_neither_the_viewer_nor_torch() -> None:
    assert not loaded_after("import cryofind.pipeline.view") & {"neuroglancer", "tornado", "torch"}
