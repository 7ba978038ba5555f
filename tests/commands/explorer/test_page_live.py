"""The page of the explorer with its server and the answers of small programs, in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest

from pyrovae import ModelGuidePair
from pyrovae.commands.explorer.answers import ANSWERS
from pyrovae.commands.explorer.server import listening, running
from tests.support.explorer_browser import browsing, changed, decoded, opened, settle, until
from tests.support.explorers import explorer
from tests.support.programs import conditional, two_latents

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as browser:
        yield browser


@contextmanager
def live(programs: ModelGuidePair) -> Iterator[str]:
    """The address of the explorer of some programs."""
    with running(listening("127.0.0.1", 0), ANSWERS, explorer(programs)) as (site, address):
        thread = Thread(target=site.requests.serve)
        thread.start()
        try:
            yield address
        finally:
            site.requests.close()
            thread.join()


@pytest.mark.parametrize("programs", [two_latents, conditional])
def test_the_page_shows_programs_of_any_kind(
    browser: Any, programs: Callable[[], ModelGuidePair]
) -> None:
    with live(programs()) as address, opened(browser, address) as page:
        for tab in ("directions", "attributes", "nearest", "between", "sliders"):
            page.click(f"#tab-{tab}")
            settle(page)
            assert page.is_hidden("#fault"), page.inner_text("#fault")
            assert page.inner_text(f"#panel-{tab}").strip(), tab
        for key in ("Home", "End"):
            settle(page)
            before = decoded(page)
            page.locator("#panel-sliders input").first.press(key)
        changed(page, before)
        assert page.inner_text("#now-cover, #now-thin")
        for site in page.locator("[role=radio]").all():
            site.click()
            assert page.inner_text("#panel-sliders").strip()
        for row in page.locator(".given input").all():
            for key in ("Home", "End") if row.get_attribute("type") == "range" else ("Space",):
                settle(page)
                before = decoded(page)
                row.press(key)
            changed(page, before)
        page.check("#grid")
        page.check("#thumbs")
        page.evaluate("explorer.choose('test:5')")
        until(page, "document.getElementById('image-name').textContent === 'test:5'")
        settle(page)
        for row in page.locator(".given input[type=range]").all()[:1]:
            before = decoded(page)
            for key in ("Home", "End"):
                row.press(key)
            changed(page, before)
            settle(page)
            caption = page.inner_text("#now-caption")
            assert caption.startswith("mean of q(z | x) of test:5, "), caption
        assert page.is_hidden("#fault"), page.inner_text("#fault")
