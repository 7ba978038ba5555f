"""The page of the explorer in a browser, with drawn discs in place of a trained run."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pyrovae.commands.explorer.exporting import build
from pyrovae.commands.explorer.files import page_files
from tests.support.explorer_browser import (
    CONTRAST,
    WIDE,
    browsing,
    changed,
    decoded,
    opened,
    settle,
    tab_to,
    until,
)
from tests.support.explorer_stand_in import StandIn, served

WIDTHS = (390, 1280)
#: A place of the map that no disc is near to.
EMPTY = (0.06, 0.06)
#: What a link restores.
STATE = """() => {
  const own = explorer.state;
  const keys = "image z place moves given path method colour layers tab site view".split(" ");
  const held = [...keys.map(key => own[key]), own.a && [own.a.label, own.a.z]];
  return JSON.stringify(held, (key, v) => typeof v === "number" ? v.toPrecision(4) : v);
}"""
#: Moves the first slider 40 times in 0.4 s.
DRAG = """async () => {
  const input = document.getElementById("dim-0");
  for (let k = 0; k < 40; k += 1) {
    input.value = Number(input.min) + (Number(input.max) - Number(input.min)) * k / 39;
    input.dispatchEvent(new Event("input"));
    await new Promise(done => setTimeout(done, 10));
  }
  input.dispatchEvent(new Event("change"));
}"""
#: The number of colours of `count` classes, and of unknown values.
COLOURS = """count => new Set(explorer.paint(
  { kind: "classes", classes: Array(count).fill(""), values: [] }).words).size"""
#: The legend of the numbers 0 to 999, whose outermost hundredths are beyond the colours.
LEGEND = """() => {
  explorer.legend({ kind: "number", values: [...Array(1000).keys()], unit: "nats" }, "own");
  return document.getElementById("legend").textContent;
}"""
#: Drops the shown picture as a file.
DROP = """() => {
  const own = new DataTransfer();
  const bytes = atob(explorer.chosen.picture.split(",")[1]);
  const file = Uint8Array.from(bytes, c => c.charCodeAt(0));
  own.items.add(new File([file], "dropped.png", { type: "image/png" }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: own, bubbles: true }));
}"""
#: Where the point of test:30 is on the screen.
PLACE = """() => {
  const box = explorer.canvas.getBoundingClientRect();
  const [x, y] = explorer.scene.map.places[30];
  return [box.left + explorer.toX(x), box.top + explorer.toY(y)];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def stand_in() -> StandIn:
    return StandIn()


@pytest.fixture(scope="module")
def address(stand_in: StandIn) -> Iterator[str]:
    with served(stand_in) as address:
        yield address


@pytest.fixture(scope="module")
def rich() -> Iterator[str]:
    """The address of programs with two latent sites that take two attributes."""
    with served(StandIn(60, {"shape": 3, "style": 5}, ("smiling", "eyeglasses"))) as address:
        yield address


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
        assert "Hardly any image" in page.inner_text("#now-thin")


@pytest.mark.slow
def test_colours_tell_classes_apart_and_the_legend_says_where_they_end(
    browser: Any, address: str
) -> None:
    with opened(browser, address) as page:
        for count in (2, 10, 11, 30, 100):
            assert page.evaluate(COLOURS, count) == count + 1
        assert page.evaluate(LEGEND) == "own≤ 10≥ 989 nats"


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_page(browser: Any, rich: str, width: int) -> None:
    with opened(browser, rich, width) as page:
        for tab in ("sliders", "directions", "attributes", "nearest", "between"):
            page.click(f"#tab-{tab}")
            settle(page)
            if tab == "between":
                page.click("text=Set A here")
                page.evaluate("explorer.choose('test:3')")
                settle(page)
                page.click("text=Set B here")
                page.wait_for_selector("#path .plot")
            assert page.evaluate(WIDE) == [], tab
            assert page.evaluate("document.documentElement.scrollWidth") <= width, tab


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_the_contrast_of_level_aa(browser: Any, rich: str, scheme: str) -> None:
    with opened(browser, rich, color_scheme=scheme) as page:
        page.evaluate("explorer.fail(new Error('a line'))")
        for tab in ("sliders", "directions", "attributes", "between", "nearest"):
            page.click(f"#tab-{tab}")
            settle(page)
            low = page.evaluate(CONTRAST)
            assert low == [], tab


@pytest.mark.slow
def test_an_upload_shows_its_reconstruction(browser: Any, address: str, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    (tmp_path / "no.png").write_bytes(b"no image")
    with opened(browser, address) as page:
        before = page.get_attribute("#reconstruction", "src")
        page.set_input_files("#file", tmp_path / "red.png")
        until(page, "document.getElementById('image-name').textContent != 'test:0'")
        settle(page)
        assert page.inner_text("#image-name").startswith("upload:")
        assert page.get_attribute("#reconstruction", "src") != before
        assert page.inner_text("#unlike").startswith("Unlike the training data")
        page.evaluate(DROP)
        until(page, "explorer.state.image === 'upload:2'")
    with opened(browser, address, refused=1) as page:
        page.set_input_files("#file", tmp_path / "no.png")
        page.wait_for_selector("#fault:not([hidden])")
        assert "cannot identify image" in page.inner_text("#fault")
        page.fill("#name", "test:5")
        page.press("#name", "Enter")
        page.wait_for_selector("#fault", state="hidden", timeout=4000)


@pytest.mark.slow
@pytest.mark.parametrize("z", ["AAAA", "%25", "AAAAAA"])
def test_a_cut_link_is_named_in_one_line(browser: Any, address: str, z: str) -> None:
    with opened(browser, f"{address}#image=test:1&z={z}") as page:
        assert page.inner_text("#fault") == "the latent point of the link does not fit this run"


@pytest.mark.slow
def test_the_link_restores_the_state(browser: Any, rich: str) -> None:
    with opened(browser, rich) as page:
        page.evaluate("explorer.choose('test:7')")
        settle(page)
        page.click("#tab-attributes")
        page.locator("#attribute-large").fill("0.5")
        page.select_option("#colour", "kind")
        page.check("#grid")
        page.uncheck("#given-smiling")
        page.click("#zoom-in")
        page.click("#tab-between")
        page.click("text=Set A here")
        settle(page)
        page.wait_for_timeout(300)
        before, link = page.evaluate(STATE), page.evaluate("location.href")
        shown = decoded(page)
    with opened(browser, link) as page:
        assert page.evaluate(STATE) == before
        assert decoded(page) == shown
        page.evaluate("location.hash = '#image=test:9'")
        until(page, "document.getElementById('image-name').textContent == 'test:9'")


@pytest.mark.slow
def test_undo_goes_back_and_redo_forth(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        first = decoded(page)
        page.locator("#dim-1").fill("1")
        second = changed(page, first)
        page.locator("#dim-2").fill("-1")
        third = changed(page, second)
        page.click("#undo")
        assert changed(page, third) == second
        page.keyboard.press("Control+z")
        assert changed(page, second) == first
        assert page.is_disabled("#undo")
        page.click("#redo")
        assert changed(page, first) == second


@pytest.mark.slow
def test_the_keyboard_alone_does_it_all(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        tab_to(page, "name")
        page.keyboard.press("Control+a")
        page.keyboard.type("test:5")
        page.keyboard.press("Enter")
        until(page, "document.getElementById('image-name').textContent == 'test:5'")
        settle(page)
        before = decoded(page)
        tab_to(page, "canvas")
        for _ in range(9):
            page.keyboard.press("Shift+ArrowUp")
        page.keyboard.press("Shift+Enter")
        before = changed(page, before)
        assert page.inner_text("#now-caption").startswith("map (")
        page.keyboard.press("Escape")
        tab_to(page, "tab-sliders")
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("#direction-0")
        tab_to(page, "direction-0")
        page.keyboard.press("ArrowRight")
        changed(page, before)
        assert page.inner_text("#now-caption").startswith("direction 1 +")
        until(page, "document.getElementById('spoken').textContent.includes('direction 1')")
        width = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert width == "3px"


@pytest.mark.slow
def test_the_newest_position_wins(browser: Any, stand_in: StandIn, address: str) -> None:
    with opened(browser, address) as page:
        stand_in.wait = 0.15
        stand_in.asked.clear()
        page.evaluate(DRAG)
        page.wait_for_timeout(300)
        settle(page)
        stand_in.wait = 0.0
        sent = [asked for name, asked in stand_in.asked if name == "decode"]
        assert 2 <= len(sent) <= 6  # Of 40 positions in 0.4 s.
        assert [asked["order"] for asked in sent] == sorted(asked["order"] for asked in sent)
        assert sent[-1]["z"][0][0] == pytest.approx(page.evaluate("explorer.state.z[0]"))
        assert decoded(page) == stand_in.decode(sent[-1])["images"][0]


@pytest.mark.slow
def test_hovering_shows_image_and_reconstruction(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        x, y = page.evaluate(PLACE)
        page.mouse.move(x, y)
        page.wait_for_selector("#hover img >> nth=1")
        assert page.inner_text("#hover b") == "test:30"
        page.mouse.click(x, y)
        until(page, "document.getElementById('image-name').textContent == 'test:30'")


@pytest.mark.slow
def test_the_map_zooms_and_pans(browser: Any, address: str) -> None:
    with opened(browser, address, 390, has_touch=True) as page:
        box = page.locator("#canvas").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        spans = [page.evaluate("explorer.state.view.span")]
        page.mouse.move(x, y)
        page.mouse.wheel(0, -200)
        until(page, f"explorer.state.view.span < {spans[0]}")
        spans.append(page.evaluate("explorer.state.view.span"))
        fingers = page.context.new_cdp_session(page)
        for kind, by in (("touchStart", 20), ("touchMove", 40), ("touchMove", 60)):
            touches = [{"x": x - by, "y": y, "id": 0}, {"x": x + by, "y": y, "id": 1}]
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
        fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert page.evaluate("explorer.state.view.span") < spans[1]
        before = page.evaluate("explorer.state.view.x")
        page.mouse.down()
        page.mouse.move(x + 50, y, steps=4)
        page.mouse.up()
        assert page.evaluate("explorer.state.view.x") < before
        assert page.evaluate("explorer.state.place") is None
        page.click("#zoom-all")
        assert page.evaluate("explorer.state.view.span") == spans[0]


@pytest.mark.slow
def test_draws_play_and_the_path_is_drawn(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        before = decoded(page)
        page.click("#play")
        changed(page, before)
        page.click("#play")
        page.wait_for_function("b => document.getElementById('now-image').src == b", arg=before)
        page.click("#tab-between")
        page.click("text=Set A here")
        page.evaluate("explorer.choose('test:8')")
        settle(page)
        page.click("text=Set B here")
        page.wait_for_selector(".path-strip img >> nth=11")
        assert page.locator(".plot circle").count() == 12
        page.check("#path-sphere")
        page.click(".path-strip button >> nth=5")
        until(page, "document.getElementById('now-caption').textContent == 'latent point'")


@pytest.mark.slow
def test_the_point_is_copied_as_python(browser: Any, rich: str, address: str) -> None:
    allowed = {"permissions": ["clipboard-read", "clipboard-write"]}
    for where, line in ((address, "image = vae.show(z)"), (rich, "vae.likelihood.to_images(x)")):
        with opened(browser, where, **allowed) as page:
            page.click("#python")
            page.wait_for_selector("#notice")
            code = page.evaluate("navigator.clipboard.readText()")
            compile(code, "copied", "exec")
            assert line in code and 'pyrovae.load("discs")' in code


@pytest.mark.slow
def test_the_decoded_image_is_saved(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        with page.expect_download() as saved:
            page.click("#png")
        assert saved.value.suggested_filename == "test_0_mean_of_q_z_x_of_test_0.png"
        own = b64encode(Path(saved.value.path()).read_bytes()).decode()
        assert decoded(page).endswith(own)


@pytest.mark.slow
def test_a_server_that_has_gone_is_named(browser: Any) -> None:
    with served(StandIn()) as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        settle(page)
    page.locator("#dim-0").fill("1")
    page.wait_for_selector("#fault:not([hidden])")
    assert "Is `pyrovae explore` still running?" in page.inner_text("#fault")
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_an_exported_file_works_without_a_server(browser: Any, tmp_path: Path, width: int) -> None:
    discs = StandIn(60)
    answers = {
        name: partial(lambda ask, _, given: ask(given), ask) for name, ask in discs.answers.items()
    }
    names = {"test:0": "test:0", "test:4": "test:4"}
    path = tmp_path / "explorer.html"
    path.write_text(build(answers, discs, page_files(), names))
    with opened(browser, path.as_uri(), width) as page:
        before = decoded(page)
        start = page.evaluate("explorer.state.z[0]")
        assert float(page.input_value("#dim-0")) == pytest.approx(start)
        page.locator("#dim-0").press("ArrowRight")
        before = changed(page, before)
        held = page.evaluate("explorer.positions('test:0', 'sliders', 0).positions")
        assert page.evaluate("explorer.state.z[0]") in held
        box = page.locator("#canvas").bounding_box()
        page.locator("#canvas").click(position={"x": 0.5 * box["width"], "y": 5})
        before = changed(page, before)
        assert page.is_hidden("#file-button") and page.is_hidden("#again")
        page.click("#tab-between")
        assert "needs the live explorer" in page.inner_text("#panel-between")
        page.evaluate("explorer.choose('test:4')")
        changed(page, before)
        page.check("#thumbs")
        page.check("#grid")
        settle(page)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        link = page.evaluate("location.href")
    with opened(browser, link, width) as page:
        assert page.inner_text("#image-name") == "test:4"
