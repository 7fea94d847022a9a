"""The parts of the published recipes against what they should compute."""

import itertools
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cryofind import czii
from cryofind.types import Picks, VoxelGrid
from tests.benchmark_scripts import import_scripts
from tests.peer_runs import MODULES, SHAPE, make_run


@pytest.fixture(scope="module")
def code() -> Iterator[SimpleNamespace]:
    """Return the modules, which see each other as scripts of one folder do."""
    with import_scripts("quality/peers", MODULES) as scripts:
        yield scripts


@pytest.fixture
def task(code: SimpleNamespace) -> Any:
    return code.task.Task(czii.OBJECTS, 10.0)


def brightness_at(crop: NDArray[np.float32], index: NDArray[np.float64]) -> float:
    z, y, x = np.rint(index).astype(int)
    return float(crop[z, y, x])


@pytest.mark.parametrize("seed", range(6))
def test_particles_turn_with_the_crop(code: SimpleNamespace, seed: int) -> None:
    turns = code.augmentations
    run, random = make_run(code), np.random.default_rng(seed)
    exact = turns.draw_turns(turns.quarter_turns(1.0), turns.flips(0.5))
    inexact = turns.draw_turns(exact, turns.affine(1.0, 0.2, 0.1))
    for draw in (exact, inexact):
        turn = draw(random)
        assert code.crops.is_exact(turn) == (draw is exact)
        crop, points = code.crops.draw_crop(run, (28, 36, 36), (0.0,) + (1.0,) * 6, np.ones(6), turn, random)
        assert crop.shape == (28, 36, 36)
        inside = ((points.indices_zyx >= 1) & (points.indices_zyx <= np.array(crop.shape) - 2)).all(axis=1)
        assert inside.any()
        for index in points.indices_zyx[inside]:
            assert brightness_at(crop, index) > 0.9  # of a blob of 3 voxels, less than one from its centre


def test_an_exact_crop_is_a_part_of_the_tomogram(code: SimpleNamespace) -> None:
    volume = np.random.default_rng(0).normal(size=SHAPE).astype(np.float16)
    centre = np.array([13.5, 20.5, 30.5])
    crop = code.crops.cut(volume, centre, np.diag([1.0, -1.0, 1.0]), (8, 10, 12))
    assert np.array_equal(crop, volume[10:18, 16:26, 25:37][:, ::-1])


def test_a_turned_crop_is_a_linear_function_where_the_tomogram_is_one(code: SimpleNamespace) -> None:
    slope = np.array([0.01, 0.02, -0.03])
    volume = (np.moveaxis(np.indices(SHAPE), 0, -1) @ slope).astype(np.float16)
    turn = code.augmentations.rotation((1, 2), 0.5) @ code.augmentations.rotation((0, 2), 0.1)
    centre, size = np.array([20.0, 30.0, 30.0]), (10, 14, 12)
    crop = code.crops.cut(volume, centre, turn, size)
    offsets = np.moveaxis(np.indices(size), 0, -1) - (np.array(size) - 1) / 2
    assert crop == pytest.approx((centre + offsets @ turn.T) @ slope, abs=2e-3)


def test_crops_stay_inside_of_the_tomogram(code: SimpleNamespace) -> None:
    centre = code.crops.move_inside(np.array([0.0, 59.0, 30.2]), np.array([19.0, 25.5, 31.0]), SHAPE)
    half = np.array([9.5, 12.75, 15.5])
    low, high = centre - half, centre + half
    assert (low >= 0).all()
    assert (high <= np.array(SHAPE) - 1).all()
    assert low == pytest.approx(np.rint(low))


def test_centres_are_drawn_by_class(code: SimpleNamespace) -> None:
    run, random = make_run(code), np.random.default_rng(0)
    ratios = (0.0, 1.0, 0.0, 0.0, 3.0, 0.0, 0.0)
    centres = np.array([code.crops.draw_centre(run, ratios, np.full(6, 2.0), random) for _ in range(400)])
    nearest = np.linalg.norm(centres[:, None] - run.indices_zyx, axis=2)
    assert nearest.min(axis=1).max() <= 2
    counts = np.bincount(nearest.argmin(axis=1), minlength=6)
    assert counts[[1, 2, 4, 5]].sum() == 0
    assert 0.65 < counts[3] / 400 < 0.85


def test_balls_have_their_volume_and_are_cut_at_the_faces(code: SimpleNamespace, task: Any) -> None:
    points = code.crops.Points(
        np.array([[16.2, 16.0, 15.7], [-3.0, 16.0, 16.0], [50.0, 50, 50]]), np.array([4, 4, 1]), 1.0
    )
    labels = code.targets.balls(0.5)(points, (32, 32, 32), task)
    assert set(np.unique(labels)) == {0, 4}
    whole = np.count_nonzero(labels[9:])
    assert whole == pytest.approx(4 / 3 * np.pi * 7.5**3, rel=0.05)
    assert 0 < np.count_nonzero(labels[:5]) < whole / 2


def test_a_single_cell_marks_each_particle(code: SimpleNamespace, task: Any) -> None:
    points = code.crops.Points(np.array([[4.9, 5.0, 6.4], [40.0, 0, 0]]), np.array([2, 3]), 1.0)
    target = code.targets.single_cells(points, (16, 16, 16), task)
    assert target.shape == (7, 8, 8, 8)
    assert np.argwhere(target[1:]).tolist() == [[1, 2, 2, 3]]
    assert (target.sum(axis=0) == 1).all()


def test_the_losses_are_those_of_monai(code: SimpleNamespace, task: Any) -> None:
    losses = pytest.importorskip("monai.losses")
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 7, 5, 6, 7), torch.randint(0, 7, (2, 5, 6, 7), dtype=torch.uint8)
    options = {"to_onehot_y": True, "softmax": True}
    tversky = code.losses.tversky_and_cross_entropy(false_positive=0.3, false_negative=0.7, weights={}, share=0.0)
    expected = losses.TverskyLoss(alpha=0.3, beta=0.7, **options)(logits, labels[:, None])
    assert float(tversky(task)(logits, labels)) == pytest.approx(float(expected))
    dice = code.losses.tversky_and_cross_entropy(false_positive=0.5, false_negative=0.5, weights={})
    assert float(dice(task)(logits, labels)) == pytest.approx(
        float(losses.DiceCELoss(**options)(logits, labels[:, None]))
    )


def test_voxels_of_an_object_without_weight_do_not_count(code: SimpleNamespace, task: Any) -> None:
    """Not in the cross-entropy; in Tversky's loss its channel does not, though its voxels are false for others."""
    torch.manual_seed(0)
    logits, labels = torch.randn(1, 7, 4, 1, 1), torch.tensor([0, 1, 3, 2]).reshape(1, 4, 1, 1)
    log_probabilities, truth = logits.flatten(2).log_softmax(dim=1), labels.flatten(1)[:, None]
    found = code.losses.tversky_by_channel(log_probabilities, truth, 0.3, 0.7)[0]
    chosen = torch.nn.functional.cross_entropy(logits[:, :, :3], labels[:, :3])
    make = code.losses.tversky_and_cross_entropy(false_positive=0.3, false_negative=0.7, weights={"beta-amylase": 0.0})
    assert float(make(task)(logits, labels)) == pytest.approx(float(found[[0, 1, 3, 4, 5, 6]].mean() + chosen))


def test_the_winners_loss_weighs_objects(code: SimpleNamespace, task: Any) -> None:
    shares = torch.zeros(1, 7, 2, 1, 1)
    shares[0, 0, 0] = shares[0, 3, 1] = 1
    loss = code.losses.weighted_dense_cross_entropy(256.0)(task)(torch.zeros(1, 7, 2, 1, 1), shares)
    assert float(loss) == pytest.approx((1 + 256) / 2 * np.log(7))


@pytest.mark.parametrize(
    ("length", "size", "overlap", "multiple"),
    [(184, 104, 16, 4), (630, 256, 32, 4), (630, 128, 32, 32), (50, 64, 8, 4)],
)
def test_windows_cover_an_axis_with_weights_of_one(
    code: SimpleNamespace, length: int, size: int, overlap: int, multiple: int
) -> None:
    even, starts, weights = code.inference.place_windows(length, size, overlap, multiple)
    total = np.zeros(starts[-1] + even)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + even] += weight.numpy()
        assert start % multiple == 0
    assert even % multiple == 0
    assert even <= size
    assert length <= len(total) < length + multiple
    assert total == pytest.approx(1)
    assert all(b - a <= even - overlap for a, b in itertools.pairwise(starts))


class PointwiseNetwork(torch.nn.Module):
    """Logits that are multiples of the voxel, or of the mean of `stride`^3 of them."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.factors = torch.nn.Parameter(torch.linspace(-1, 1, channels))
        self.stride = stride

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        means = torch.nn.functional.avg_pool3d(images, self.stride)
        return means * self.factors[:, None, None, None]


@pytest.mark.parametrize("stride", [1, 2])
def test_windows_and_views_give_the_probabilities_of_the_whole(code: SimpleNamespace, stride: int) -> None:
    volume = np.random.default_rng(0).normal(size=(21, 30, 34)).astype(np.float16)
    network, windows = PointwiseNetwork(3, stride), code.inference.Windows((16, 16, 16), (4, 4, 4), 4)
    grid = VoxelGrid.isotropic(volume.shape, 10.0)
    predictor = code.inference.Predictor(network, windows, 2, stride, code.inference.SEVEN_VIEWS)
    found = code.inference.predict(predictor, volume, grid)
    padded = torch.from_numpy(np.pad(volume.astype(np.float32), [(0, 3), (0, 2), (0, 2)], mode="reflect"))
    with torch.no_grad():
        expected = network(padded[None, None]).softmax(dim=1)[0, 1:].numpy()
    coarse = grid.coarsened(stride)
    assert found.values.shape == (2, *coarse.shape_zyx)
    assert found.grid == coarse
    kept = expected[(slice(None), *(slice(0, n) for n in coarse.shape_zyx))]
    assert found.values == pytest.approx(kept, abs=0.01)  # bfloat16 and float16


def draw_found(
    code: SimpleNamespace, task: Any, placed: Sequence[tuple[int, tuple[float, ...]]], *, stride: int = 1
) -> Any:
    """Return probabilities of 0.9 in balls of half a radius."""
    grid = VoxelGrid.isotropic(SHAPE, 10.0).coarsened(stride)
    values = np.zeros((6, *grid.shape_zyx), np.float16)
    cells = np.moveaxis(np.indices(grid.shape_zyx), 0, -1)
    for number, index in placed:
        distances = np.linalg.norm(cells - np.array(index), axis=-1)
        values[number][distances <= 0.5 * task.radii_voxels[number] / stride] = 0.9
    return code.inference.Probabilities(values, grid, stride)


def test_every_decoding_finds_what_is_there(code: SimpleNamespace, task: Any) -> None:
    placed = [(0, (20.0, 20.0, 20.0)), (3, (20.0, 40.0, 40.0)), (3, (20.0, 40.0, 15.0)), (5, (18.0, 15.0, 40.0))]
    found = draw_found(code, task, placed)
    truth = Picks.build(
        "R", [czii.OBJECT_NAMES[number] for number, _ in placed], 10.0 * np.array([index for _, index in placed])
    )
    decoders = (code.decoding.components(0.15, 0.5), code.decoding.components(0.1, 0.5, split=True))
    for decode in (*decoders, code.decoding.smooth_peaks(0.5)):
        for name, picks in decode(found, task, "R").items():
            strong = picks.where(picks.scores > 0.3)
            assert strong.object_names == truth.object_names, name
            assert len(strong) == len(truth), name
            for spec in strong.object_names:
                ours, true = (
                    np.sort(table.of_object(spec).positions_zyx_angstrom, axis=0) for table in (strong, truth)
                )
                assert ours == pytest.approx(true, abs=6.0), name


def test_components_tell_a_fragment_from_a_particle_by_mass(code: SimpleNamespace, task: Any) -> None:
    found = draw_found(code, task, [(3, (20.0, 40.0, 40.0))])
    found.values[3, 5:8, 5:8, 5:8] = 0.9
    tables = code.decoding.components(0.15, 0.5)(found, task, "R")
    assert tables["components-max"].scores == pytest.approx([0.9, 0.9], abs=1e-3)
    assert tables["components-mass"].scores == pytest.approx([0.9, 0.014], abs=0.03)


def test_the_watershed_parts_particles_that_touch(code: SimpleNamespace, task: Any) -> None:
    pytest.importorskip("skimage")
    found = draw_found(code, task, [(3, (20.0, 30.0, 20.0)), (3, (20.0, 30.0, 38.0))])
    found.values[3, 19:22, 29:32, 20:38] = 0.9  # a bridge
    merged = code.decoding.components(0.1, 0.5)(found, task, "R")["components-max"]
    parted = code.decoding.components(0.1, 0.5, split=True)(found, task, "R")["watershed-max"]
    assert len(merged) == 1
    assert np.sort(parted.positions_zyx_angstrom[:, 2]) == pytest.approx([200, 380], abs=15)


def test_peaks_are_the_greatest_within_their_window(code: SimpleNamespace, task: Any) -> None:
    found = draw_found(code, task, [], stride=2)
    for cell, value in {(8, 10, 10): 0.9, (8, 10, 14): 0.5, (8, 10, 25): 0.3, (8, 20, 20): 0.01}.items():
        found.values[(3, *cell)] = value
    picks = code.decoding.peaks(found, task, "R")["peaks"]
    assert picks.scores == pytest.approx([0.9, 0.3], abs=1e-3)
    assert picks.positions_zyx_angstrom[0] == pytest.approx([165, 205, 205])  # cell j lies at voxel 2j + 0.5


def test_a_network_that_answers_everywhere_is_looked_at_where_it_answers_most(
    code: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code.decoding, "MOST_CELLS", 2000)
    values = np.random.default_rng(0).uniform(0.5, 1, SHAPE).astype(np.float16)
    kept = code.decoding.above(values, 0.15)
    assert 1000 < np.count_nonzero(kept) <= 2000
    assert values[kept].min() >= np.sort(values[~kept])[-1]
