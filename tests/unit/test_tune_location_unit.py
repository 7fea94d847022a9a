"""How far apart picks must be, chosen from annotated runs: what touches is told apart, what is ragged is not."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cryofind.config import load_config
from cryofind.errors import ConfigError
from cryofind.models import card_objects
from cryofind.pipeline.candidates import Prediction
from cryofind.pipeline.picker import Picker
from cryofind.pipeline.tune_location import choose_separations, find_in_ways, find_ways
from cryofind.types import ParticleSpec, Picks, Tomogram, VoxelGrid
from tests.tiny_models import tiny_card

PAIRED = ParticleSpec("paired", 100.0, 1)
RARE = ParticleSpec("rare", 100.0, 2)
GRID = VoxelGrid.isotropic((64, 128, 128), 10.0)
CELLS = GRID.coarsened(2)
# Pairs 1.1 radii apart: nearer than the default allows.
PAIRS = np.array([[z, y, x] for z in (200.0, 440.0) for y in (300.0, 900.0) for x in (300.0, 410.0, 800.0, 910.0)])
SPREAD = np.array([[z, y, x] for z in (100.0, 500.0) for y in (120.0, 600.0, 1100.0) for x in (100.0, 600.0)])


def make_picker(*settings: str) -> Picker:
    config = load_config(None, settings)
    return Picker((), (tiny_card(objects=card_objects((PAIRED, RARE)), thresholds={}),), (), config)


def draw_bumps(positions: NDArray[np.float64]) -> NDArray[np.float32]:
    indices = np.stack(np.meshgrid(*map(np.arange, CELLS.shape_zyx), indexing="ij"), axis=-1)
    volume = np.zeros(CELLS.shape_zyx)
    for centre in CELLS.indices_from_positions(positions):
        volume = np.maximum(volume, 0.9 * np.exp(-((indices - centre) ** 2).sum(axis=-1) / 2))
    return volume.astype(np.float32)


def say(picker: Picker, channels: Sequence[NDArray[np.float32]], monkeypatch: pytest.MonkeyPatch) -> tuple[Picks, ...]:
    """Return what is found in every way where the networks of a picker say this."""
    prediction = Prediction("A", torch.from_numpy(np.stack(channels)), ("paired", "rare"), GRID)
    monkeypatch.setattr(Picker, "predict", lambda *_: prediction)
    return find_in_ways(picker, Tomogram("A", np.zeros(GRID.shape_zyx, np.float32), GRID))


def test_pairs_are_told_apart_and_other_objects_stay_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    picker, truth = make_picker(), Picks.build("A", "paired", PAIRS)
    volume = draw_bumps(PAIRS)
    found = say(picker, [volume, np.zeros_like(volume)], monkeypatch)
    assert len(found) == len(find_ways(picker.config))
    assert len(found[0]) == len(PAIRS) / 2
    chosen, (candidates,) = choose_separations(picker, [found], [truth])
    assert chosen.config.locate.separation_of("paired") < 1.1
    assert chosen.config.locate.separation_of("rare") == picker.config.locate.separation_factor
    assert len(candidates) == len(PAIRS)
    assert picker.config.locate.separation_factors == {}


def test_what_is_returned_is_what_the_chosen_options_find(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    picker = make_picker()
    # A ragged top has several maxima: the distances of the two objects must differ.
    beside = PAIRS[::2] + np.array([0.0, 60.0, 0.0])
    ragged = draw_bumps(beside)
    ragged *= random.uniform(0.5, 1.0, ragged.shape).astype(np.float32)
    truth = [Picks.build("A", "paired", PAIRS), Picks.build("A", "rare", beside)]
    channels = [draw_bumps(PAIRS), ragged]
    found = say(picker, channels, monkeypatch)
    chosen, (candidates,) = choose_separations(picker, [found], [Picks.concatenate(truth)])
    assert chosen.config.locate.separation_of("paired") < 1.1
    prediction = chosen.predict(Tomogram("A", np.zeros(GRID.shape_zyx, np.float32), GRID))
    located = prediction.find_picks(chosen.specs, chosen.config.locate)
    assert located.objects.tolist() == candidates.objects.tolist()
    np.testing.assert_array_equal(located.positions_zyx_angstrom, candidates.positions_zyx_angstrom)
    np.testing.assert_array_equal(located.scores, candidates.scores)


def test_objects_with_too_few_annotated_picks_and_small_gains_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    picker, volume = make_picker("tune.min_picks=9"), draw_bumps(PAIRS)
    found = say(picker, [volume, draw_bumps(SPREAD)], monkeypatch)
    few, easy = Picks.build("A", "paired", PAIRS[:8]), Picks.build("A", "rare", SPREAD)
    chosen, (candidates,) = choose_separations(picker, [found], [Picks.concatenate([few, easy])])
    assert chosen.config.locate == picker.config.locate
    assert len(candidates) == len(found[0])


def test_the_recipes_own_way_is_the_first() -> None:
    ways = find_ways(make_picker("locate.separation_factor=2.5", "locate.recentre_factor=0.4").config)
    assert ways[0].separation_factor == 2.5
    assert {way.recentre_factor for way in ways} == {0.4}
    assert len(set(map(repr, ways))) == len(ways) > 2
    own = make_picker("locate.separation_factors.rare=0.5").config
    assert find_ways(own)[0].separation_of("rare") == 0.5
    assert all(way.separation_of("rare") == way.separation_factor for way in find_ways(own)[1:])


@pytest.mark.parametrize("setting", ["tune.separation=false", "locate.cross_separation_factor=0.5"])
def test_nothing_is_chosen_where_it_cannot_or_must_not_be(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picker, volume = make_picker(setting), draw_bumps(PAIRS)
    found = say(picker, [volume, np.zeros_like(volume)], monkeypatch)
    assert choose_separations(picker, [found], [Picks.build("A", "paired", PAIRS)]) == (picker, list(found))
    assert len(found) == 1


def test_an_option_of_an_unknown_object_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"locate\.separation_factors\.pared: is not an object.*paired"):
        _ = make_picker("locate.separation_factors.pared=1.0").locate_config
    with pytest.raises(ConfigError, match=r"locate\.separation_factors\.paired.*greater than or equal to 0"):
        load_config(None, ["locate.separation_factors.paired=-1"])
