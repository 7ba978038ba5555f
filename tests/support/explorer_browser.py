"""A browser for the tests of the explorer's page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = [
    "CONTRAST",
    "WIDE",
    "browsing",
    "changed",
    "decoded",
    "opened",
    "settle",
    "tab_to",
    "until",
]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: Elements beyond the edge of the page that no box scrolls.
WIDE = """() => [...document.querySelectorAll("body *")].filter(
  e => !e.closest(".strip, .hidden, datalist") && e.getClientRects().length
    && e.getBoundingClientRect().right > window.innerWidth + 1)
  .map(e => e.outerHTML.slice(0, 80))"""
#: Texts whose contrast with their ground is below 4.5.
CONTRAST = """() => {
  const parts = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(
    v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
  ).reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const ground = e => {
    for (let own = e; own; own = own.parentElement) {
      const colour = parts(getComputedStyle(own).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length || e.matches(":disabled, option, textarea")) continue;
    const style = getComputedStyle(e);
    const a = light(parts(e.namespaceURI.endsWith("svg") ? style.fill : style.color));
    const b = light(ground(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${e.outerHTML.slice(0, 90)}`);
  }
  return found;
}"""


@contextmanager
def browsing() -> Iterator[Any]:
    """The installed browser; skips the test without one."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("needs a browser")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def opened(
    browser: Any, address: str, width: int = 1280, refused: int = 0, **options: Any
) -> Iterator[Any]:
    """A tab with the page; at the end: no error was said, no other host was asked.

    Args:
        browser: the browser.
        address: that of the page.
        width: of the window, in pixels.
        refused: the number of questions that the server refuses: a browser logs each.
        **options: of the context.
    """
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
    assert len(said) == refused and all(" 400 " in line for line in said), said
    assert asked and all(url.startswith((host, "data:", "blob:")) for url in asked)


def settle(page: Any) -> None:
    """Waits until the page is there and asks for nothing."""
    page.wait_for_selector("html.ready:not(.busy)")


def tab_to(page: Any, identity: str) -> None:
    """Presses the tabulator until the element has the focus."""
    for _ in range(60):
        if page.evaluate("document.activeElement.id") == identity:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the tabulator does not reach {identity}")


def until(page: Any, true: str) -> None:
    """Waits until JavaScript is true: a function, since the page's policy forbids `eval`."""
    page.wait_for_function(f"() => {true}")


def decoded(page: Any) -> str:
    return page.get_attribute("#now-image", "src")


def changed(page: Any, before: str) -> str:
    """The decoded image, once it is another one."""
    page.wait_for_function("b => document.getElementById('now-image').src !== b", arg=before)
    return decoded(page)
