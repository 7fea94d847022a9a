"""The nouns: what they accept, refuse and derive."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryofind import czii
from cryofind.errors import ConfigError, CryofindError, NameRefused, PicksError
from cryofind.types import (
    LabelVolume,
    ObjectScore,
    ParticleSpec,
    Picks,
    ProbabilityVolume,
    ScoreReport,
    Tomogram,
    VoxelGrid,
    find_spec,
)

GRID = VoxelGrid.isotropic((4, 5, 6), 10.0)


def test_grid_derives_extent_and_spacing() -> None:
    grid = VoxelGrid((4, 5, 6), (1.0, 2.0, 3.0))
    assert grid.extent_zyx_angstrom == (4.0, 10.0, 18.0)
    assert grid.spacing_angstrom == 2.0
    assert czii.TOMOGRAM_GRID.spacing_angstrom == pytest.approx(10.0124443)


def test_box_includes_its_faces_and_a_margin_shrinks_it() -> None:
    inside = GRID.contains([[0.0, 0.0, 0.0], [40.0, 50.0, 60.0], [40.01, 0.0, 0.0], [-0.01, 0.0, 0.0]])
    assert inside.tolist() == [True, True, False, False]
    assert GRID.contains([[5, 25, 30], [15, 25, 30]], margin_angstrom=10.0).tolist() == [False, True]


def test_stride_two_cell_lies_between_its_voxels() -> None:
    coarse = GRID.coarsened(2)
    assert coarse.shape_zyx == (2, 3, 3)
    assert coarse.spacing_zyx_angstrom == (20.0, 20.0, 20.0)
    assert coarse.positions_from_indices((1, 0, 2)).tolist() == [25.0, 5.0, 45.0]


@pytest.mark.parametrize(
    ("shape", "spacing", "origin"),
    [
        ((0, 1, 1), (1, 1, 1), (0, 0, 0)),
        ((1, 1, 1), (0, 1, 1), (0, 0, 0)),
        ((1, 1, 1), (1, -1, 1), (0, 0, 0)),
        ((1, 1, 1), (1, 1, float("nan")), (0, 0, 0)),
        ((1, 1, 1), (1, 1, 1), (0, float("inf"), 0)),
    ],
)
def test_grid_refuses(shape: Any, spacing: Any, origin: Any) -> None:
    with pytest.raises(ValueError, match=r"size|spacing|origin"):
        VoxelGrid(shape, spacing, origin)


@pytest.mark.parametrize(
    "changes",
    [
        {"radius_angstrom": None},
        {"radius_angstrom": 0.0},
        {"radius_angstrom": float("nan")},
        {"label": 0},
        {"label": 256},
        {"score_weight": -1.0},
        {"name": "two words"},
        {"name": "under_score"},
    ],
)
def test_spec_refuses(changes: dict[str, Any]) -> None:
    good: dict[str, Any] = {"name": "ribosome", "radius_angstrom": 150.0, "label": 1}
    with pytest.raises(CryofindError):
        ParticleSpec(**(good | changes))


def test_structure_without_radius_has_none_to_give() -> None:
    membrane = ParticleSpec("membrane", None, 7, is_particle=False)
    with pytest.raises(ConfigError, match="membrane"):
        _ = membrane.particle_radius_angstrom
    assert ParticleSpec("ribosome", 150.0, 1).particle_radius_angstrom == 150.0


def test_find_spec_advises() -> None:
    assert find_spec(czii.OBJECTS, "ribosome").score_weight == 1.0
    with pytest.raises(ConfigError, match="did you mean 'beta-amylase'"):
        find_spec(czii.OBJECTS, "Beta_Amylase")
    with pytest.raises(ConfigError, match="known: apo-ferritin"):
        find_spec(czii.OBJECTS, "qqqq")


def test_challenge_weights_add_up_to_seven() -> None:
    assert sum(spec.score_weight for spec in czii.OBJECTS) == 7.0
    assert len({spec.label for spec in czii.OBJECTS}) == 6
    assert set(czii.ALIASES.values()) <= set(czii.OBJECT_NAMES)


def test_volumes_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="shape"):
        Tomogram("TS_1", np.zeros((4, 5, 5), np.float32), GRID)
    with pytest.raises(ValueError, match="real"):
        Tomogram("TS_1", np.zeros((4, 5, 6), np.complex64), GRID)
    with pytest.raises(ValueError, match="shape"):
        LabelVolume("TS_1", np.zeros((4, 5, 5), np.uint8), GRID, {})
    with pytest.raises(ValueError, match="integers"):
        LabelVolume("TS_1", np.zeros((4, 5, 6), np.float32), GRID, {})
    with pytest.raises(ValueError, match="probabilities"):
        ProbabilityVolume("TS_1", np.zeros((2, 4, 5, 6), np.float32), GRID, ("ribosome",))


def test_picks_build_fills_in_columns() -> None:
    picks = Picks.build("TS_1", ["a", "b"], [[1, 2, 3], [4, 5, 6]])
    assert picks.scores.tolist() == [1.0, 1.0]
    assert picks.selected.all()
    assert picks.rotations_zyx is None
    assert picks.run_names == ("TS_1",)
    assert picks.object_names == ("a", "b")
    assert len(Picks.empty()) == 0


@pytest.mark.parametrize(
    "columns",
    [
        {"runs": ["TS_1", "TS_2", "TS_3"]},
        {"scores": [1.0]},
        {"scores": [1.0, float("nan")]},
        {"positions_zyx_angstrom": [[1, 2, 3], [4, 5, float("inf")]]},
        {"rotations_zyx": np.zeros((1, 3, 3))},
    ],
)
def test_picks_refuse(columns: dict[str, Any]) -> None:
    good: dict[str, Any] = {"runs": "TS_1", "objects": "a", "positions_zyx_angstrom": [[1, 2, 3], [4, 5, 6]]}
    with pytest.raises(ValueError, match=r"picks|rotations"):
        Picks.build(**(good | columns))


def test_concatenate_keeps_rotations_only_if_all_have_them() -> None:
    turned = Picks.build("TS_1", "a", [[1, 2, 3]], rotations_zyx=[np.eye(3)])
    plain = Picks.build("TS_1", "b", [[1, 2, 3]])
    assert Picks.concatenate([turned, Picks.empty(), turned]).rotations_zyx is not None
    assert Picks.concatenate([turned, plain]).rotations_zyx is None
    assert len(Picks.concatenate([])) == 0


def test_selection_by_threshold_of_the_object() -> None:
    picks = Picks.build("TS_1", ["a", "a", "b"], np.zeros((3, 3)), scores=[0.2, 0.4, 0.5])
    chosen = picks.selected_above({"a": 0.4}, default=0.6)
    assert chosen.selected.tolist() == [False, True, False]
    assert len(chosen.only_selected()) == 1
    assert picks.selected.all()


def test_csv_is_in_xyz_and_angstrom() -> None:
    text = Picks.build("TS_1", "a", [[1, 2, 3]], scores=[0.25]).to_csv_text()
    assert text == "run,object,x_angstrom,y_angstrom,z_angstrom,score,selected\nTS_1,a,3.000,2.000,1.000,0.250000,1\n"


HEADER = "run,object,x_angstrom,y_angstrom,z_angstrom,score,selected\n"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "header"),
        ("id,experiment\n", "header"),
        (HEADER + "TS_1,a,1,2\n", "line 2"),
        (HEADER + "TS_1,a,1,2,3,0.5,1\nTS_1,a,1,two,3,0.5,1\n", "line 3: y_angstrom"),
        (HEADER + "TS_1,a,1,2,nan,0.5,1\n", "z_angstrom"),
        (HEADER + "TS_1,a,1,2,3,0.5,yes\n", "selected"),
        (HEADER + "TS_1,a,1,2,3,0.5,2\n", "selected"),
    ],
)
def test_csv_errors_name_the_line(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "picks.csv"
    path.write_text(text)
    with pytest.raises(PicksError, match=names) as caught:
        Picks.from_csv(path)
    assert str(path) in str(caught.value)


def test_csv_missing_or_binary(tmp_path: Path) -> None:
    with pytest.raises(PicksError, match="cannot be read"):
        Picks.from_csv(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(PicksError, match="cannot be read"):
        Picks.from_csv(tmp_path / "binary.csv")
    (tmp_path / "header.csv").write_text("\ufeff" + HEADER, encoding="utf-8")
    assert len(Picks.from_csv(tmp_path / "header.csv")) == 0


def test_score_report_as_dictionary() -> None:
    score = ObjectScore(1, 0, 0, 1.0, 1.0, 1.0, 2.0)
    report = ScoreReport(1.0, 4.0, "kaggle", 7.0, {"a": score}, {"TS_1": {"a": score}})
    document = report.to_dict()
    assert document["objects"]["a"]["tp"] == 1
    assert document["runs"]["TS_1"]["a"]["weight"] == 2.0
    assert document["in_sample_runs"] == []


def test_names_are_checked_where_specs_are_made() -> None:
    with pytest.raises(NameRefused, match="call it 'under-score'"):
        ParticleSpec("under_score", 10.0, 1)
