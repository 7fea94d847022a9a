"""STAR files against `starfile`, Euler angles against scipy."""

from pathlib import Path

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import starfile
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryofind.io.angles import rotations_zyx_from_dynamo, rotations_zyx_from_relion, rotations_zyx_from_tom
from cryofind.io.star import StarValue, read_star, write_star


def test_starfile_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "ours.star"
    particles: dict[str, list[StarValue]] = {
        "rlnTomoName": ["TS_1", "TS 2"],
        "rlnCoordinateX": [1.5, -2.25],
        "rlnOpticsGroup": [1, 2],
    }
    write_star(path, {"optics": {"rlnOpticsGroup": [1, 2], "rlnOpticsGroupName": ["a", "b"]}, "particles": particles})
    tables = starfile.read(path, always_dict=True)
    assert list(tables) == ["optics", "particles"]
    assert tables["particles"]["rlnTomoName"].tolist() == ["TS_1", "TS 2"]
    assert tables["particles"]["rlnCoordinateX"].tolist() == [1.5, -2.25]
    assert tables["optics"]["rlnOpticsGroupName"].tolist() == ["a", "b"]


def test_we_read_what_starfile_writes(tmp_path: Path) -> None:
    path = tmp_path / "theirs.star"
    table = pd.DataFrame({"rlnTomoName": ["TS_1", "a b", "c"], "rlnCoordinateX": [1.5, 0.125, -3.0]})
    starfile.write({"general": {"rlnFinal": 3, "rlnTitle": "two words"}, "particles": table}, path)
    blocks = read_star(path)
    assert list(blocks) == ["general", "particles"]
    assert blocks["general"] == {"rlnFinal": ["3"], "rlnTitle": ["two words"]}
    assert blocks["particles"]["rlnTomoName"] == ["TS_1", "a b", "c"]
    np.testing.assert_allclose([float(text) for text in blocks["particles"]["rlnCoordinateX"]], [1.5, 0.125, -3.0])


def test_angles_agree_with_scipy() -> None:
    random = np.random.default_rng(5)
    angles = random.uniform(-180, 180, (50, 3))

    def as_zyx(rotation: Rotation) -> NDArray[np.float64]:
        return np.asarray(rotation.as_matrix()[:, ::-1, ::-1])

    relion = Rotation.from_euler("ZYZ", angles, degrees=True).inv()
    np.testing.assert_allclose(rotations_zyx_from_relion(angles), as_zyx(relion), atol=1e-12)
    dynamo = Rotation.from_euler("zxz", angles, degrees=True).inv()
    np.testing.assert_allclose(rotations_zyx_from_dynamo(angles), as_zyx(dynamo), atol=1e-12)
    tom = Rotation.from_euler("zxz", angles[:, [0, 2, 1]], degrees=True)
    np.testing.assert_allclose(rotations_zyx_from_tom(angles), as_zyx(tom), atol=1e-12)
