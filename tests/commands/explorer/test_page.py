"""The page of the explorer in a browser, with drawn discs in place of a trained run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.explorer_stand_in import StandIn, served

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (390, 1280)
#: A place of the map that no disc is near to.
EMPTY = (0.06, 0.06)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("needs a browser")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def stand_in() -> StandIn:
    return StandIn()


@pytest.fixture(scope="module")
def address(stand_in: StandIn) -> Iterator[str]:
    with served(stand_in) as address:
        yield address


@contextmanager
def opened(browser: Any, address: str, width: int = 1280, **options: Any) -> Iterator[Any]:
    """A tab with the page; at the end: no error was said, no other host was asked."""
    said: list[str] = []
    asked: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 844}, **options)
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.on("console", lambda line: said.append(line.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    settle(page)
    yield page
    context.close()
    host = address.split("/?")[0] if address.startswith("http") else "file:"
    assert said == []
    assert asked and all(url.startswith((host, "data:", "blob:")) for url in asked)


def settle(page: Any) -> None:
    """Waits until the page is there and asks for nothing."""
    page.wait_for_selector("html.ready")
    page.wait_for_load_state("networkidle")


def decoded(page: Any) -> str:
    return page.get_attribute("#now-image", "src")


def changed(page: Any, before: str) -> str:
    """The decoded image, once it is another one."""
    page.wait_for_function("b => document.getElementById('now-image').src !== b", arg=before)
    return decoded(page)


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_a_slider_changes_the_picture(browser: Any, address: str, width: int) -> None:
    with opened(browser, address, width) as page:
        before = decoded(page)
        page.locator("#dim-0").fill("2")
        changed(page, before)
        assert page.inner_text("#now-caption").startswith("z[0] = ")


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_a_click_on_empty_ground_decodes_it(browser: Any, address: str, width: int) -> None:
    with opened(browser, address, width) as page:
        before = decoded(page)
        box = page.locator("#canvas").bounding_box()
        page.mouse.click(box["x"] + EMPTY[0] * box["width"], box["y"] + EMPTY[1] * box["height"])
        changed(page, before)
        assert page.inner_text("#now-caption").startswith("map (")
        assert "less covered than" in page.inner_text("#now-thin")
