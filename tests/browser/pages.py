"""What tests read off a page: its canvases, its tables, its state."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page

from cryofind.pipeline.report import ReportRequest, write_report
from cryofind.types import Picks
from tests.result_folders import scatter

Places = NDArray[np.float64]

MISSED = (255, 40, 40)

# Reads a copy: a canvas that is read often is drawn in another way, and the browser complains.
_PIXELS = """async ([selector, color, tolerance]) => {
  const source = document.querySelector(selector);
  if (source.decode) await source.decode();
  const width = source.naturalWidth || source.width, height = source.naturalHeight || source.height;
  const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(source, 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  const found = [width, height];
  for (let i = 0; i < data.length; i += 4) {
    const isNear = color.every((value, channel) => Math.abs(data[i + channel] - value) <= tolerance);
    if (isNear && data[i + 3] > 200) found.push(i / 4);
  }
  return found;
}"""


def write_pages(*paths: Path, out: Path, truth: Path | None = None) -> Path:
    """Write a report in this process; return its folder."""
    return write_report(ReportRequest(paths, out, truth, with_truth=truth is not None, jobs=1)).index.parent


def make_truth(picks: Picks) -> Picks:
    """Return a third of some picks, moved a little, and 4 particles of each object that nobody picked."""
    near = picks.where(np.arange(len(picks)) % 3 == 0)
    moved = Picks.build(near.runs.tolist(), near.objects.tolist(), near.positions_zyx_angstrom + 8.0)
    names = [(run, name) for run in picks.run_names for name in picks.object_names]
    missed = [scatter(run, name, 4, seed=90 + seed) for seed, (run, name) in enumerate(names)]
    return Picks.concatenate([moved, *missed]).selected_above({}, default=0.0)


def find_pixels(page: Page, color: tuple[int, int, int], view: str = "xy") -> Places:
    """Return row and column, as shares of height and width, of every pixel of about a colour among the marks."""
    return _find(page, f"#view-{view} canvas.marks", color, 24)


def find_dark(page: Page, view: str) -> Places:
    """Return the same of every dark pixel of the slice below the marks."""
    return _find(page, f"#view-{view} .slice", (0, 0, 0), 80)


def _find(page: Page, selector: str, color: tuple[int, int, int], tolerance: int) -> Places:
    width, height, *places = page.evaluate(_PIXELS, [selector, list(color), tolerance])
    rows, columns = np.divmod(np.array(places, dtype=np.int64), width)
    return np.stack([(rows + 0.5) / height, (columns + 0.5) / width], axis=1)


def count_pixels(page: Page, color: tuple[int, int, int], view: str = "xy") -> int:
    return len(find_pixels(page, color, view))


def read_texts(page: Page, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_text_contents()]


def read_cells(page: Page, row: str) -> dict[str, str]:
    """Return the cells of a row by their class or, on the summary, their key."""
    cells: dict[str, str] = page.eval_on_selector_all(
        f"{row} td",
        "cells => Object.fromEntries(cells.map(cell => [cell.dataset.key || cell.className, cell.innerText]))",
    )
    return cells


def state_of(page: Page, name: str, selector: str = "body") -> int:
    """Return a number that the page says of itself: `drawn` marks, `shown` picks."""
    return int(page.eval_on_selector(selector, "(element, name) => element.dataset[name]", name))


def overflow(page: Page) -> int:
    """Return by how many pixels a page is wider than the window."""
    return int(page.evaluate("Math.max(0, document.scrollingElement.scrollWidth - innerWidth)"))
