"""Whether a tomogram looks like those that a model learned from: the numbers, the rule, the words, the card."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from cryofind.errors import ModelError
from cryofind.models import (
    FamiliarKind,
    ResidualUNet,
    load_model_folder,
    measure_features,
    parse_card,
    save_model,
)
from cryofind.pipeline.familiarity import (
    USUAL_SPREADS,
    Look,
    compare_look,
    compare_volume,
    look_at_volume,
    summarize_looks,
)
from cryofind.pipeline.trait_words import describe_outlier, join_kinds
from cryofind.preprocess import measure_traits, place_blocks
from cryofind.preprocess.traits import BAND_EDGES_VOXELS, BLOCK_VOXELS
from tests.tiny_models import build_tiny, tiny_card

SPACING = 10.012
Floats = NDArray[np.float64]


def noise(seed: int = 0, shape: tuple[int, int, int] = (32, 64, 64)) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(184, 630, 630), (64, 256, 256), (8, 100, 70), (1, 2, 3), (500, 65, 4000)])
def test_blocks_lie_within_the_tomogram_and_apart(shape: tuple[int, int, int]) -> None:
    blocks = place_blocks(shape)
    assert blocks == place_blocks(shape)
    assert 1 <= len(blocks) <= 16
    assert len(set(map(repr, blocks))) == len(blocks)
    for along, size in zip(zip(*blocks, strict=True), shape, strict=True):
        starts = sorted({part.start for part in along})
        assert {part.stop - part.start for part in along} == {min(size, BLOCK_VOXELS)}
        assert starts[0] >= 0
        assert starts[-1] + min(size, BLOCK_VOXELS) <= size
        assert all(second - first >= BLOCK_VOXELS for first, second in itertools.pairwise(starts))


def test_noise_is_what_it_is() -> None:
    traits = measure_traits([noise(seed, (64, 64, 64)) for seed in range(3)])
    assert traits is not None
    # at coarse periods a block has few components, whose mean power scatters
    assert np.abs(traits["spectrum"][:4]).max() < 0.1
    assert np.abs(traits["spectrum"]).max() < 0.5
    assert np.abs(traits["skewness"]).max() < 0.1
    assert np.exp(traits["kurtosis"]) == pytest.approx([3, 3, 3], abs=0.15)
    shares = np.exp([traits["dark"][0], traits["bright"][0]]) - 1e-3
    assert shares == pytest.approx([0.00135, 0.00135], rel=0.15)


@pytest.mark.parametrize("band", range(len(BAND_EDGES_VOXELS) - 1))
def test_a_wave_shows_in_its_band(band: int) -> None:
    period = np.sqrt(BAND_EDGES_VOXELS[band] * BAND_EDGES_VOXELS[band + 1])
    wave = np.cos(2 * np.pi * np.arange(64) / period)[:, None, None] + 0.1 * noise(shape=(64, 64, 64))
    traits = measure_traits([wave])
    assert traits is not None
    assert int(np.argmax(traits["spectrum"])) == band


def test_dark_specks_skew_and_stand_out() -> None:
    volume = noise()
    volume[::8, ::8, ::8] = -12
    traits = measure_traits([volume])
    assert traits is not None
    assert traits["skewness"][0] < -0.5
    assert traits["dark"][0] > traits["bright"][0] + 0.5


def test_one_block_of_many_does_not_move_the_numbers() -> None:
    blocks = [noise(seed) for seed in range(5)]
    with_bead = [*blocks[:4], blocks[4] + 50 * (np.indices(blocks[4].shape).sum(0) < 12)]
    plain, moved = measure_traits(blocks), measure_traits(with_bead)
    assert plain is not None
    assert moved is not None
    for name, values in plain.items():
        assert np.abs(values - moved[name]).max() < 0.4, name  # the bead alone: 1.6 and more


def test_a_constant_tomogram_has_no_looks() -> None:
    assert measure_traits([np.full((8, 8, 8), 3.0)]) is None
    assert look_at_volume(np.zeros((8, 8, 8), np.float32), build_tiny()) is None
    kinds = summarize_looks([("", None)])
    assert kinds == ()


def test_features_are_those_of_the_deepest_level() -> None:
    network = build_tiny()
    block = noise(shape=(8, 12, 16))
    found = measure_features(network, [block])
    assert isinstance(network, ResidualUNet)
    with torch.inference_mode():
        deepest = network.encode(torch.from_numpy(block)[None, None])[-1]
    assert found is not None
    assert found == pytest.approx(
        torch.cat([deepest.mean((0, 2, 3, 4)), deepest.std((0, 2, 3, 4), correction=0)]).numpy(), rel=1e-4
    )
    assert measure_features(network, [block[:1]]) is not None
    assert measure_features(nn.Conv3d(1, 3, 1), [block]) is None


def draw_looks(count: int, random: np.random.Generator, *, spread: float = 1.0) -> list[Look]:
    """Return looks whose numbers are normal, about as much apart as those of one recipe usually are."""
    usual = {name: spread * np.array(values) for name, values in USUAL_SPREADS.items() if name != "features"}
    return [
        Look(
            {name: values * random.normal(size=values.shape) for name, values in usual.items()},
            np.concatenate([1 + 0.1 * random.normal(size=32), np.ones(32)]),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("runs", [1, 2, 3, 5, 10, 30])
@pytest.mark.parametrize("spread", [0.5, 1.0])
def test_runs_of_the_same_kind_raise_hardly_an_alarm(runs: int, spread: float) -> None:
    random = np.random.default_rng(runs)
    alarms = []
    for _ in range(60):
        kinds = summarize_looks(("denoised", look) for look in draw_looks(runs, random, spread=spread))
        alarms += [compare_look(look, kinds, SPACING).worst > 1 for look in draw_looks(10, random, spread=spread)]
    assert np.mean(alarms) < 0.02


@pytest.mark.parametrize("name", [name for name in USUAL_SPREADS if name != "features"])
def test_another_kind_always_raises_one(name: str) -> None:
    random = np.random.default_rng(0)
    kinds = summarize_looks(("denoised", look) for look in draw_looks(10, random))
    for look in draw_looks(20, random):
        shifted = {**look.traits, name: look.traits[name] + 12 * np.array(USUAL_SPREADS[name])}
        found = compare_look(Look(shifted, look.features), kinds, SPACING)
        assert found.warning is not None
        assert "\n" not in found.warning
        assert f"outside in {join_kinds([name])})" in found.warning


def test_features_count_when_there_are_enough_runs_and_only_if_far() -> None:
    random = np.random.default_rng(0)
    few, enough = (summarize_looks(("", look) for look in draw_looks(count, random)) for count in (7, 10))
    assert "features" not in few[0].traits
    (look,) = draw_looks(1, random)
    shift = 3 * random.normal(size=32)
    far = compare_look(Look(look.traits, np.concatenate([1 + shift, np.ones(32)])), enough, SPACING)
    assert far.warning is not None
    assert "features of the network" in far.warning
    middle = np.tile(enough[0].feature_centre, 2)
    assert compare_look(Look(look.traits, middle), enough, SPACING).excess["features"].tolist() == [0.0]


def test_of_several_kinds_the_nearest_counts() -> None:
    random = np.random.default_rng(0)
    near, far = draw_looks(8, random), draw_looks(8, random)
    moved = [Look({name: values + 9 for name, values in look.traits.items()}, look.features) for look in far]
    kinds = summarize_looks([*(("denoised", look) for look in near), *(("wbp", look) for look in moved)])
    assert [kind.flavour for kind in kinds] == ["denoised", "wbp"]
    assert [kind.runs for kind in kinds] == [8, 8]
    (look,) = draw_looks(1, random)
    assert compare_look(look, kinds, SPACING).kind.flavour == "denoised"
    assert compare_look(look, kinds, SPACING).warning is None
    assert compare_look(look, kinds[1:], SPACING).warning is not None


@pytest.mark.parametrize(
    ("trait", "number", "value", "limits", "words"),
    [
        ("spectrum", 3, np.log(4.1), (-1.0, 0.0), "power at 57-80 Angstrom is 4.1 times as high as in any of them"),
        ("spectrum", 0, -np.log(20), (0.0, 1.0), "power at 20-28 Angstrom is 20 times lower than in any of them"),
        ("skewness", 0, -0.1, (-1.4, -0.9), "skewness of grey values is -0.10, in them -1.40 to -0.90"),
        (
            "kurtosis",
            1,
            np.log(3),
            (np.log(5), np.log(7)),
            "kurtosis of grey values averaged over 20 Angstrom is 3.00, in them 5.00 to 7.00",
        ),
        (
            "dark",
            0,
            np.log(0.002),
            (np.log(0.013), np.log(0.021)),
            "the share of grey values 3 standard deviations below the mean is 0.10 %, in them 1.20 to 2.00 %",
        ),
        (
            "features",
            0,
            np.log(6),
            (0.0, np.log(2)),
            "the features of the network are 3.0 times as far from their mean as in any of them",
        ),
    ],
)
def test_a_figure_says_what_where_and_how_much(
    trait: str, number: int, value: float, limits: tuple[float, float], words: str
) -> None:
    assert describe_outlier(trait, number, value, limits, 10.0) == words


def test_the_card_keeps_what_is_familiar_and_old_cards_say_nothing(tmp_path: Path) -> None:
    network = build_tiny()
    kinds = summarize_looks(("wbp", look_at_volume(noise(seed), network)) for seed in range(5))
    save_model(tmp_path / "new", network, tiny_card(familiar=kinds))
    loaded = load_model_folder(tmp_path / "new")
    assert loaded.card.familiar == kinds
    assert isinstance(loaded.card.familiar[0], FamiliarKind)
    document = json.loads((tmp_path / "new/model.json").read_text())
    del document["familiar"]
    old = parse_card(document, "old")
    assert old.familiar == ()
    assert compare_volume(noise(), network, old) is None
    found = compare_volume(noise(9), loaded.network, loaded.card)
    assert found is not None
    assert found.warning is None
    record = json.loads(json.dumps(found.as_record()))
    assert record["compared_with"] == {"flavour": "wbp", "runs": 5}
    assert len(record["traits"]["spectrum"]["values"]) == len(record["traits"]["spectrum"]["least"]) == 8


@pytest.mark.parametrize("change", [{"deviation": [0.1]}, {"mean": []}])
def test_a_damaged_range_is_refused(change: dict[str, list[float]]) -> None:
    (kind,) = summarize_looks([("", look_at_volume(noise(), build_tiny()))])
    document = tiny_card(familiar=(kind,)).model_dump(mode="json")
    document["familiar"][0]["traits"]["spectrum"] |= change
    with pytest.raises(ModelError, match="familiar"):
        parse_card(document, "model.json")
