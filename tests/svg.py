"""Reading the charts of reports back: XML, coordinates, numbers of the table."""

import re
from collections.abc import Iterator
from xml.etree import ElementTree

SVG = "{http://www.w3.org/2000/svg}"
_TOKEN = re.compile(r"[A-Za-z]|-?\d+(?:\.\d+)?(?:e-?\d+)?")


def parse(figure: str) -> ElementTree.Element:
    """Return a chart as XML; it raises if the chart is not well-formed."""
    return ElementTree.fromstring(figure)


def drawing(figure: ElementTree.Element) -> ElementTree.Element:
    found = figure.find(f"{SVG}svg")
    assert found is not None
    return found


def view_box(figure: ElementTree.Element) -> tuple[float, float]:
    _, _, width, height = map(float, drawing(figure).attrib["viewBox"].split())
    return width, height


def texts(figure: ElementTree.Element) -> list[str]:
    return ["".join(node.itertext()) for node in drawing(figure).iter(f"{SVG}text")]


def rows(figure: ElementTree.Element) -> list[list[str]]:
    """Return the cells of the table of numbers, its header first."""
    table = figure.find(".//table")
    assert table is not None
    return [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]


def legend(figure: ElementTree.Element) -> list[str]:
    return ["".join(item.itertext()).strip() for item in figure.iter("li")]


def path_points(path: str) -> Iterator[tuple[float, float]]:
    """Yield the corners of an SVG path of the commands M, L, H, V, h and v."""
    x = y = 0.0
    tokens = _TOKEN.findall(path)
    command, place = "", 0
    while place < len(tokens):
        if tokens[place].isalpha():
            command, place = tokens[place], place + 1
        if command in "ML":
            x, y, place = float(tokens[place]), float(tokens[place + 1]), place + 2
        else:
            number, place = float(tokens[place]), place + 1
            x, y = {"H": (number, y), "h": (x + number, y), "V": (x, number), "v": (x, y + number)}[command]
        yield x, y


def all_points(figure: ElementTree.Element) -> Iterator[tuple[float, float]]:
    """Yield every corner, centre and place of a text of a chart; what is turned or moved is left out."""
    for node in drawing(figure).iter():
        names = node.attrib
        if node.tag == f"{SVG}path":
            yield from path_points(names["d"])
        elif node.tag == f"{SVG}circle":
            yield float(names["cx"]), float(names["cy"])
        elif node.tag == f"{SVG}text":
            yield float(names["x"]), float(names["y"])
        elif node.tag == f"{SVG}rect":
            yield float(names["x"]), float(names["y"])
            yield float(names["x"]) + float(names["width"]), float(names["y"]) + float(names["height"])
        elif node.tag == f"{SVG}polygon":
            for pair in names["points"].split():
                x, y = pair.split(",")
                yield float(x), float(y)
