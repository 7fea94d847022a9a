"""Tables of points in CSV files."""

from pathlib import Path

import numpy as np
import pytest

from cryofind.errors import NameRefused, PicksError
from cryofind.io.tables import is_plain_points_table, read_points_table
from cryofind.types import Picks


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_truth_and_submission(tmp_path: Path) -> None:
    for text in (
        "experiment,particle_type,x,y,z\nTS_1,ribosome,1,2.5,3e1\n",
        "id,experiment,particle_type,x,y,z\n0,TS_1,ribosome,1,2.5,30\n",
        '\ufeffid,experiment,particle_type,x,y,z,comment\r\n0,TS_1,ribosome, 1 ,2.5,30,"a, b"\r\n\r\n',
        "z,y,x,particle_type,experiment\r30,2.5,1,ribosome,TS_1",
    ):
        picks = read_points_table(write(tmp_path / "a.csv", text))
        assert picks.positions_zyx_angstrom.tolist() == [[30.0, 2.5, 1.0]]
        assert (picks.run_names, picks.object_names) == (("TS_1",), ("ribosome",))
        assert picks.scores.tolist() == [1.0]
    assert not is_plain_points_table(tmp_path / "a.csv")


def test_header_alone_is_no_picks(tmp_path: Path) -> None:
    for header in ("experiment,particle_type,x,y,z", "run,object,x_angstrom,y_angstrom,z_angstrom,score,selected"):
        assert len(read_points_table(write(tmp_path / "a.csv", header))) == 0
    transforms = ",".join(f"transform_{row}{column}" for row in range(4) for column in range(4))
    text = f"run_name,x,y,z,{transforms},score,instance_id\n"
    assert len(read_points_table(write(tmp_path / "a.csv", text), object_name="ribosome")) == 0


def test_own_table(tmp_path: Path) -> None:
    picks = Picks.build(["TS_1", "TS_2"], "ribosome", [[1, 2, 3], [4, 5, 6]], scores=[0.5, 0.25], selected=[1, 0])
    picks.to_csv(tmp_path / "picks.csv")
    found = read_points_table(tmp_path / "picks.csv")
    np.testing.assert_array_equal(found.positions_zyx_angstrom, picks.positions_zyx_angstrom)
    assert found.selected.tolist() == [True, False]
    assert found.scores.tolist() == [0.5, 0.25]
    text = (tmp_path / "picks.csv").read_text().replace("0.250000,0", "0.250000,no")
    with pytest.raises(PicksError, match="line 3: selected: is 'no'; give 0 or 1"):
        read_points_table(write(tmp_path / "picks.csv", text))


def test_copick_table(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "run_name,x,y,z\nTS_1,1,2,3\n")
    with pytest.raises(PicksError, match="does not say which object"):
        read_points_table(path)
    assert read_points_table(path, object_name="ribosome").positions_zyx_angstrom.tolist() == [[3.0, 2.0, 1.0]]
    columns = [f"transform_{row}{column}" for row in range(4) for column in range(4)]
    cells = "0,-1,0,10,1,0,0,20,0,0,1,30,0,0,0,1"
    header = f"run_name,x,y,z,{','.join(columns)},score,instance_id"
    found = read_points_table(
        write(tmp_path / "a.csv", f"{header}\nTS_1,1,2,3,{cells},0.5,0\n"), object_name="ribosome"
    )
    assert found.positions_zyx_angstrom.tolist() == [[33.0, 22.0, 11.0]]
    assert found.scores.tolist() == [0.5]
    assert found.rotations_zyx is not None
    np.testing.assert_allclose(found.rotations_zyx[0] @ [0, 0, 1], [0, 1, 0])


def test_plain_table_and_mapping(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "x,y,z,score\n1,2,3,0.5\n")
    assert is_plain_points_table(path)
    with pytest.raises(PicksError, match="does not say which run"):
        read_points_table(path, object_name="ribosome")
    found = read_points_table(path, run="TS_1", object_name="ribosome")
    assert found.positions_zyx_angstrom.tolist() == [[3.0, 2.0, 1.0]]
    assert found.scores.tolist() == [0.5]
    with pytest.raises(NameRefused):
        read_points_table(path, run="..", object_name="ribosome")
    path = write(tmp_path / "b.csv", "tomogram,X_A,Y_A,Z_A,cc\nTS_1,1,2,3,0.5\n")
    columns = {"run": "tomogram", "x": "X_A", "y": "Y_A", "z": "Z_A", "score": "cc"}
    found = read_points_table(path, object_name="ribosome", columns=columns)
    assert found.positions_zyx_angstrom.tolist() == [[3.0, 2.0, 1.0]]
    with pytest.raises(PicksError, match="column 'X' is missing"):
        read_points_table(path, object_name="ribosome", columns={**columns, "x": "X"})
    with pytest.raises(ValueError, match="must name x, y and z"):
        read_points_table(path, run="TS_1", object_name="ribosome", columns={"x": "X_A"})


HEADER = "experiment,particle_type,x,y,z\n"
WRONG = [
    ("", "is empty, expected a header"),
    ("a;b;c\n", "separate the fields by commas"),
    ("a,b,c\n", "header is 'a,b,c', of no known table"),
    ("x,y,z,x\n", "column 'x' occurs twice"),
    (HEADER + "TS_1,ribosome,1,2\n", "line 2: has 4 fields, expected 5"),
    (HEADER + "TS_1,ribosome,1,5,2,3\n", "line 2: has 6 fields.*decimal point"),
    (HEADER + 'TS_1,ribosome,1,2,3\nTS_1,ribosome,"1,5",2,3\n', "line 3: x: is '1,5'; .*decimal point, not a comma"),
    (HEADER + 'TS_1,ribosome,1,"1.234,5",3\n', "line 2: y: is '1.234,5'"),
    (HEADER + "TS_1,ribosome,1,2,nan\n", "line 2: z: is 'nan'"),
    (HEADER + "TS_1,ribosome,1,inf,3\n", "line 2: y: is 'inf'"),
    (HEADER + "TS_1,ribosome,1e999,2,3\n", "line 2: x: is '1e999'"),
    (HEADER + "TS_1,ribosome,1_000,2,3\n", "line 2: x: is '1_000'"),
    (HEADER + "TS_1,ribosome,,2,3\n", "line 2: x: is ''"),
    (HEADER + "TS_1,ribosome,\u0661,2,3\n", "line 2: x: is"),
    (HEADER + "../x,ribosome,1,2,3\n", "line 2: experiment: is '../x'"),
    (HEADER + "=cmd(),ribosome,1,2,3\n", "line 2: experiment: .*formula"),
    (HEADER + "TS_1,@ribosome,1,2,3\n", "line 2: particle_type: .*formula"),
    (HEADER + "TS_1,beta_amylase,1,2,3\n", "line 2: particle_type: .*call it 'beta-amylase'"),
    (HEADER + 'TS_1,"ribo\nsome",1,2,3\n', "particle_type: is"),
    (HEADER + 'TS_1,"ribosome,1,2,3\n', "is not CSV"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_wrong_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PicksError, match=message):
        read_points_table(write(tmp_path / "a.csv", text))


def test_wrong_bytes_are_named_by_offset(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(HEADER.encode() + b"TS_1,rib\xe9some,1,2,3\n")
    with pytest.raises(PicksError, match=f"byte {len(HEADER) + 8} is 0xe9, which is not UTF-8; save the file as UTF-8"):
        read_points_table(path)


def test_table_of_the_challenge(shared_data: Path) -> None:
    picks = read_points_table(shared_data / "czii" / "train_picks.csv")
    assert len(picks) == 1269
    assert len(picks.run_names) == 7
    counts = [len(picks.of_object(name)) for name in picks.object_names]
    assert counts == [375, 87, 112, 331, 251, 113]
    assert picks.positions_zyx_angstrom.max() == pytest.approx(6266.9, abs=0.1)
