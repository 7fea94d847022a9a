"""STAR files: the parts of the format that are read, and what is refused with its line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofind.errors import PicksError
from cryofind.io.dynamo import read_tomogram_list
from cryofind.io.star import read_star, star_numbers, write_star

TEXT = """# version 50001

data_general

_rlnFinal   3   # a comment
_rlnTitle 'it''s "here"'
_rlnEmpty ""

data_particles

loop_ # a comment
_rlnTomoName #1
_rlnCoordinateX
  TS_1   1.5

'TS # 2' 2.5 # a comment
"TS 3" -3

data_

data_last
loop_
_a
"""


def test_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.star"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert read_star(path) == {
        "general": {"rlnFinal": ["3"], "rlnTitle": ["it''s \"here\""], "rlnEmpty": [""]},
        "particles": {"rlnTomoName": ["TS_1", "TS # 2", "TS 3"], "rlnCoordinateX": ["1.5", "2.5", "-3"]},
        "": {},
        "last": {"a": []},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no data_ block"),
        ("x,y,z\n1,2,3\n", "line 1: 'x,y,z' belongs to no loop_"),
        ("loop_\n_a\n", "line 1: loop_ stands before any data_ block"),
        ("_a 1\n", "line 1: _a stands before any data_ block"),
        ("data_a\ndata_a\n", "line 2: block data_a begins twice"),
        ("data_a\nloop_\n_x\n_x\n", "line 4: _x is given twice"),
        ("data_a\n_x\n", "line 2: _x has 0 values, expected 1; begin tables with loop_"),
        ("data_a\n_x 1\nloop_\n_y\n1\n", "line 3: a second table begins in one block"),
        ("data_a\nloop_\n_x\n1\nloop_\n_y\n", "line 5: a second table begins in one block"),
        ("data_a\nloop_\n_x\n1\n_y\n", "line 5: _y follows the rows of a loop"),
        ("data_a\nloop_\n1\n", "line 3: '1' belongs to no loop_"),
        ("data_a\nloop_\n_x\n_y\n1 2\n1\n", "line 6: has 1 values for 2 columns; the file may be torn"),
        ("data_a\nloop_\n_x\n;text\n;\n", "line 4: begins a text of several lines"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.star"
    path.write_text(text)
    with pytest.raises(PicksError, match=message):
        read_star(path)


@pytest.mark.parametrize("text", ["nan", "1,5", "inf", "one", "1e999"])
def test_numbers_are_finite(tmp_path: Path, text: str) -> None:
    with pytest.raises(PicksError, match=f"a.star: x, row 2: is '{text}'"):
        star_numbers(tmp_path / "a.star", {"x": ["1e-3", text]}, "x")


def test_writing_refuses_what_would_not_come_back(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        write_star(tmp_path / "a.star", {"a": {"x": ["both ' and \""]}})
    with pytest.raises(ValueError, match="shorter"):
        write_star(tmp_path / "a.star", {"a": {"x": [1, 2], "y": [1]}})
    assert not (tmp_path / "a.star").exists()


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=8).filter(
    lambda text: not ("'" in text and '"' in text)
)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(NAMES, st.integers()), max_size=4))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.star"
    write_star(path, {"particles": {"name": [name for name, _ in rows], "number": [number for _, number in rows]}})
    found = read_star(path)["particles"]
    assert found == {"name": [name for name, _ in rows], "number": [str(number) for _, number in rows]}


@settings(deadline=None, max_examples=200)
@given(st.text(st.sampled_from("data_loop \n#'\";_x1.\t"), max_size=60))
def test_anything_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.star"
    path.write_text("data_a\n" + text)
    try:
        blocks = read_star(path)
    except PicksError:
        return
    assert all(len({len(values) for values in block.values()}) <= 1 for block in blocks.values())


def test_list_of_tomograms(tmp_path: Path) -> None:
    path = tmp_path / "tomograms.doc"
    path.write_text("3 a/TS 1.mrc\n\n4 TS_2\n")
    assert read_tomogram_list(path) == {3: "a/TS 1.mrc", 4: "TS_2"}
    for text in ("x TS_1\n", "3\n", "3 a\n3 b\n"):
        path.write_text(text)
        with pytest.raises(PicksError, match="expected a new whole number and a path"):
            read_tomogram_list(path)
