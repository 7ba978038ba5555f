"""The pages in a browser: on a telephone, a tablet and a desk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import TINY, run
from tests.support.explorer_browser import browsing
from tests.support.judgements import faulty

pytestmark = pytest.mark.slow

#: Widths of the window in pixels.
WIDTHS = (390, 768, 1280)
PAGES = ("posterior/report.html", "posterior/compare.html", "index.html")
#: What is wrong with a page: images without content, elements beyond its edge that no box scrolls.
FAULTS = """() => {
  const boxed = e => e.parentElement && (e.parentElement.closest(".scroll") !== null);
  const wide = [...document.querySelectorAll("body *")].filter(
    e => !boxed(e) && e.getClientRects().length
      && e.getBoundingClientRect().right > window.innerWidth + 1);
  return {
    undecoded: [...document.images].filter(e => !e.complete || e.naturalWidth === 0).length,
    images: document.images.length,
    wide: wide.map(e => e.outerHTML.slice(0, 80)),
    over: document.documentElement.scrollWidth - window.innerWidth,
  };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as started:
        yield started


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its page, its report with several findings, and a comparison with itself."""
    root = tmp_path_factory.mktemp("runs") / "a run of a long name, with <marks> & #"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyrovae.inspection.report.judge", faulty)
        sizes = ["--data.num_test=40", "--trainer.epochs=2", f"--run_dir={root}"]
        assert run("train", [*TINY, *sizes], patch) == 0
        quick = [str(root), "--quick", "--num_images=40"]
        assert run("inspect_posterior", quick, patch) == 0
        shutil.copytree(root, other := root.with_name("other"))
        assert run("inspect_posterior", [*quick, "--compare", str(other)], patch) == 0
    return root


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_asks_for_nothing(browser: Any, root: Path, name: str, width: int) -> None:
    said: list[str] = []
    asked: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.on("console", lambda line: said.append(line.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((root / name).as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(own => own.open = true)")
    found = page.evaluate(FAULTS)
    page.close()
    assert said == []
    assert all(url.startswith(("file:", "data:")) for url in asked) and asked
    assert found["images"] and found["undecoded"] == 0
    assert found["wide"] == [] and found["over"] <= 0


@pytest.mark.parametrize("name", PAGES)
def test_letters_of_figures_are_legible_on_a_telephone(
    browser: Any, root: Path, name: str
) -> None:
    """Labels have 7 points at least, at 120 pixels per inch: 8 pixels are left of them."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto((root / name).as_uri())
    drawn = "[...document.querySelectorAll('.scroll img')]"
    scales = page.evaluate(f"{drawn}.map(e => e.width / e.naturalWidth)")
    page.close()
    assert min(scales) * 7 * 120 / 72 >= 8
