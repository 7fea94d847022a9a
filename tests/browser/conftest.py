"""Pages in a real browser without a network: whatever a page complains of or asks for fails its test."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from tests.browser.chromium import FLAGS, find_browser

logger = logging.getLogger(__name__)

DESKTOP, PHONE = (1280, 900), (390, 800)
OWN = ("file:", "data:")
PATIENCE_MS = 30_000

OpenPage = Callable[..., Page]
_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # what it yields and returns is pytest's own
    report = yield
    if call.when == "call":
        item.stash[_FAILED] = call.excinfo is not None
    return report


# Of a module: while it runs, its loop of events is in the way of others in this thread.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find_browser()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=[*FLAGS, "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenPage]:
    """Return a function that opens a file and waits for a state; screenshots of a failed test stay behind."""
    problems: list[str] = []
    pages: list[Page] = []

    def open_file(path: Path, size: tuple[int, int] = DESKTOP, *, state: str = "body[data-drawn]") -> Page:
        context = browser.new_context(offline=True, viewport={"width": size[0], "height": size[1]})
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        pages.append(page)
        watch(page, problems)
        page.goto(path.as_uri())
        page.wait_for_selector(state)
        return page

    yield open_file
    if request.node.stash.get(_FAILED, False):
        for number, page in enumerate(pages):
            picture = tmp_path / f"page-{number}.png"
            page.screenshot(path=picture)
            logger.warning("screenshot: %s", picture)
    for page in pages:
        page.context.close()
    assert problems == []


def watch(page: Page, problems: list[str]) -> None:
    """Note whatever a page says on the console, throws, or asks for beside its own file."""

    def hear(message: ConsoleMessage) -> None:
        problems.append(f"{message.type}: {message.text}")

    def see(request: Request) -> None:
        if not request.url.startswith(OWN):
            problems.append(f"request: {request.url[:200]}")

    page.on("console", hear)
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("request", see)
