"""STAR files: blocks of columns, read and written without another library.

Enough of the format for RELION, Warp and pytom-match-pick: `data_` blocks that hold either one `loop_` or single
items, comments, and quoted values. Not read: text that spans lines between semicolons, and save frames.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryofind.atomic import write_text
from cryofind.errors import PicksError
from cryofind.io.text import advise_number, parse_number, read_text

StarBlock = dict[str, list[str]]
StarValue = str | int | float

# A quoted value ends at a quote that white space follows; a comment begins at a word.
_TOKEN = re.compile(r"""\s*(?:'(?P<single>.*?)'(?=\s|$)|"(?P<double>.*?)"(?=\s|$)|(?P<comment>\#.*)|(?P<word>\S+))""")


def read_star(path: str | Path) -> dict[str, StarBlock]:
    """Return the blocks of a STAR file: name (without `data_`) -> column (without `_`) -> values as text.

    An item outside a loop is a column of one value.

    Raises
    ------
    PicksError
        If the file cannot be read or is not STAR, with the line.
    """
    path = Path(path)
    reader = _StarReader(path)
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        reader.take_line(number, line)
    reader.end_loop()
    if not reader.blocks:
        raise PicksError(path, "holds no data_ block", "give a STAR file")
    return reader.blocks


def write_star(path: str | Path, blocks: Mapping[str, Mapping[str, Sequence[StarValue]]]) -> None:
    """Write blocks of columns as loops; floats with 6 decimals, text quoted where it must be.

    Parameters
    ----------
    path
        Where to write; parents are created.
    blocks
        Block name (without `data_`) -> column (without `_`) -> values, equally many in a block.

    Raises
    ------
    ValueError
        If columns of a block differ in length, or a text cannot be written (line breaks, both kinds of quotes).
    """
    lines: list[str] = []
    for name, columns in blocks.items():
        lines += ["", f"data_{name}", "", "loop_"]
        lines += [f"_{column} #{index}" for index, column in enumerate(columns, start=1)]
        lines += [" ".join(_format(value) for value in row) for row in zip(*columns.values(), strict=True)]
        lines.append("")
    write_text(Path(path), "\n".join(lines) + "\n")


def star_numbers(path: Path, block: StarBlock, column: str) -> list[float]:
    """Return a column as finite numbers.

    Raises
    ------
    PicksError
        Naming the row, counted from 1, of the first that is none.
    """
    numbers = []
    for row, text in enumerate(block[column], start=1):
        number = parse_number(text)
        if number is None:
            raise PicksError(f"{path}: {column}, row {row}", f"is {text[:40]!r}", advise_number(text))
        numbers.append(number)
    return numbers


class _StarReader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.blocks: dict[str, StarBlock] = {}
        self._block: StarBlock | None = None
        self._loop: list[list[str]] | None = None
        self._loop_has_rows = False

    def take_line(self, number: int, line: str) -> None:
        words = self._split(number, line)
        if not words:
            # A blank line between the header of a loop and its rows is common; after rows it ends nothing either.
            return
        first, is_plain = words[0]
        if is_plain and first.startswith("data_"):
            self._begin_block(number, first[len("data_") :])
        elif is_plain and first == "loop_":
            self._begin_loop(number)
        elif is_plain and first.startswith("_"):
            self._take_label(number, first[1:], [word for word, _ in words[1:]])
        else:
            self._take_row(number, [word for word, _ in words])

    def end_loop(self) -> None:
        self._loop, self._loop_has_rows = None, False

    def _split(self, number: int, line: str) -> list[tuple[str, bool]]:
        """Return the words of a line, each with whether it stood without quotes."""
        if line.startswith(";"):
            raise self._error(number, "begins a text of several lines", "remove it; such texts are not read")
        if not {"#", "'", '"'} & set(line):
            return [(word, True) for word in line.split()]
        words: list[tuple[str, bool]] = []
        for match in _TOKEN.finditer(line):
            if match["comment"] is not None:
                break
            quoted = match["single"] if match["single"] is not None else match["double"]
            words.append((match["word"], True) if quoted is None else (quoted, False))
        return words

    def _begin_block(self, number: int, name: str) -> None:
        self.end_loop()
        if name in self.blocks:
            raise self._error(number, f"block data_{name} begins twice", "rename one of the blocks")
        self._block = self.blocks[name] = {}

    def _begin_loop(self, number: int) -> None:
        if self._block is None:
            raise self._error(number, "loop_ stands before any data_ block", "begin the file with data_")
        if self._block:
            raise self._error(number, "a second table begins in one block", "give each table its own data_ block")
        self._loop, self._loop_has_rows = [], False

    def _take_label(self, number: int, label: str, values: list[str]) -> None:
        if self._block is None:
            raise self._error(number, f"_{label} stands before any data_ block", "begin the file with data_")
        if label in self._block:
            raise self._error(number, f"_{label} is given twice", "remove one of them")
        if self._loop_has_rows:
            raise self._error(number, f"_{label} follows the rows of a loop", "give it its own data_ block")
        if self._loop is None and len(values) != 1:
            raise self._error(number, f"_{label} has {len(values)} values, expected 1", "begin tables with loop_")
        column = self._block[label] = list(values) if self._loop is None else []
        if self._loop is not None:
            self._loop.append(column)

    def _take_row(self, number: int, values: list[str]) -> None:
        if not self._loop:
            raise self._error(number, f"{values[0][:40]!r} belongs to no loop_", "give a STAR file")
        if len(values) != len(self._loop):
            problem = f"has {len(values)} values for {len(self._loop)} columns"
            raise self._error(number, problem, "the file may be torn; write it again")
        self._loop_has_rows = True
        for column, value in zip(self._loop, values, strict=True):
            column.append(value)

    def _error(self, number: int, problem: str, advice: str) -> PicksError:
        return PicksError(f"{self.path}: line {number}", problem, advice)


def _format(value: StarValue) -> str:
    if isinstance(value, float):
        return f"{value:.6f}"
    return str(value) if isinstance(value, int) else _quote(value)


def _quote(text: str) -> str:
    if "\n" in text or "\r" in text or ('"' in text and "'" in text):
        raise ValueError(f"{text!r} cannot be written in a STAR file")
    is_plain = text != "" and not re.search(r"\s", text) and text[0] not in "#_;'\"$["
    if is_plain and not text.startswith(("data_", "loop_", "save_")):
        return text
    return f"'{text}'" if '"' in text else f'"{text}"'
