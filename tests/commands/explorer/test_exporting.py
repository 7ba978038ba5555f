"""The explorer as one file: what it holds, and what a browser makes of it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pyrovae.commands.explorer import exporting
from pyrovae.commands.explorer.exporting import (
    Asker,
    best,
    build,
    grid,
    positions_of,
    rounded,
    step_count,
    thumbs,
)
from pyrovae.commands.explorer.files import page_files
from tests.support.explorer_stand_in import SIDE, StandIn, disc

NAMES = "run map colour thumbs ground decode image draws scores sliders directions attributes"
ANSWERS = {name: getattr(StandIn, name) for name in NAMES.split()}
IMAGES = {"me.png": "test:3", "test:12": "test:12"}


@pytest.fixture(scope="module")
def page() -> str:
    return build(ANSWERS, StandIn(), page_files(), IMAGES)


@pytest.fixture(scope="module")
def held(page: str) -> dict[str, Any]:
    (data,) = re.findall(r'id="answers">(.*?)</script>', page, re.S)
    return json.loads(data)


def pixels(url: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as found:
        return np.asarray(found, float)


@pytest.mark.slow
def test_the_file_holds_the_answers_of_the_server(held: dict[str, Any]) -> None:
    stand_in = StandIn()
    assert held["run"]["images"] == list(IMAGES) and held["run"]["uploads"] is False
    assert held["run"]["dims"] == stand_in.run({})["dims"]
    for method in ("PCA", "t-SNE"):
        expected = stand_in.map({"method": method})
        np.testing.assert_allclose(held["map"][method]["places"], expected["places"], rtol=1e-5)
    assert set(held["colour"]) == {"rate", "outlier score", "large", "kind"}
    assert list(held["images"]) == list(IMAGES)
    for shown, name in IMAGES.items():
        own = held["images"][shown]
        assert own["image"]["name"] == shown
        assert own["image"]["picture"] == stand_in.image({"name": name})["picture"]
        assert own["scores"] == rounded(stand_in.scores({"name": name}))
        assert len(own["draws"]["images"]) == 16
        assert own["attributes"] == rounded(stand_in.attributes({}))


@pytest.mark.parametrize("tab", ["sliders", "directions", "attributes"])
def test_each_slider_has_its_decoded_positions(held: dict[str, Any], tab: str) -> None:
    stand_in, own = StandIn(), held["images"]["me.png"]
    start = stand_in.latents("test:3")
    rows = {"sliders": {str(row["dim"]): row for row in own["sliders"]["sliders"]}}
    rows["directions"] = dict(zip("01234", own["directions"]["directions"], strict=True))
    rows["attributes"] = {row["name"]: row for row in own["attributes"]["attributes"]}
    assert list(own["moves"][tab]) == list(rows[tab])
    for key, moves in own["moves"][tab].items():
        row, positions = rows[tab][key], moves["positions"]
        assert len(positions) == len(moves["cover"]) == len(moves["predicted"]) == 9
        low, high = (-1, 1) if tab == "attributes" else (row["low"], row["high"])
        assert (positions[0], positions[-1]) == (low, high) and np.diff(positions).min() > 0
        # The page resets a slider to exactly this position.
        assert (row["loc"] if tab == "sliders" else 0) in positions
        sprite = pixels(moves["sprite"])
        assert sprite.shape == (SIDE, 9 * SIDE, 3)
        for place in (0, 5, 8):
            z = start.copy()
            if tab == "sliders":
                z[row["dim"]] = positions[place]
            else:
                z += positions[place] * np.array(row["vector"])
            found = sprite[:, place * SIDE : (place + 1) * SIDE]
            assert np.abs(found - 255 * disc(z)).mean() < 4  # Of JPEG.


@pytest.mark.parametrize("start", [-2.0, -1.99, -0.3, 0.0, 0.7, 2.99, 3.0])
def test_the_start_is_a_position_and_the_ends_are_others(start: float) -> None:
    found = positions_of(-2.0, start, 3.0)
    assert len(found) == 9 and (found[0], found[-1]) == (-2, 3) and start in found
    moves = np.diff(found)
    assert (moves > 0).sum() >= 8 - (start in (-2, 3)) and moves.max() <= 5 / 7 + 1e-9
    assert positions_of(1.0, 1.0, 1.0).tolist() == [1.0] * 9


def test_the_ground_is_decoded_in_square_cells(held: dict[str, Any]) -> None:
    found, thin = held["grid"], held["map"]["PCA"]["thin"]
    places = np.array(found["places"])
    assert places.shape == (144, 2) and len(found["images"]) == len(found["cover"]) == 144
    across, up = (np.unique(places[:, axis]) for axis in (0, 1))
    assert np.diff(across) == pytest.approx(10.5 / 12) and np.diff(up) == pytest.approx(10.5 / 12)
    assert places.min() > thin["low"][0] and places.max() < thin["high"][0]
    np.testing.assert_allclose(np.array(found["z"])[:, :2], places)
    flat = grid(Asker(ANSWERS, StandIn(), print), "PCA", {"low": [0, 0], "high": [12, 3]})
    places = np.array(flat["places"])
    assert places.shape == (36, 2) and places.mean(0) == pytest.approx([6, 1.5])


@pytest.mark.slow
def test_thumbnails_are_one_row_of_at_most_1000(held: dict[str, Any]) -> None:
    assert held["thumbs"]["rows"] == list(range(400))
    assert pixels(held["thumbs"]["sprite"]).shape == (32, 400 * 32, 3)
    steps: list[float] = []
    many = StandIn(count=2500)
    found = thumbs(Asker(ANSWERS, many, steps.append), 2500)
    assert found["count"] == len(found["rows"]) == 1000 and found["rows"][-1] == 2499
    row = found["rows"][777]
    sprite = pixels(found["sprite"])[:, 777 * 32 : 778 * 32]
    assert np.abs(sprite - 255 * disc(many.loc[row])).mean() < 4
    assert steps == [1]


@pytest.mark.slow
def test_the_steps_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[float] = []
    build(ANSWERS, StandIn(), page_files(), {"a": "test:0"}, steps.append)
    assert sum(steps) == pytest.approx(step_count(StandIn().run({}), 1))


@pytest.mark.slow
def test_a_slow_colour_is_asked_for_until_it_is_there_or_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def colour(stand_in: StandIn, given: dict[str, Any]) -> dict[str, Any]:
        asked.append(given["name"])
        done = min(1.0, asked.count(given["name"]) / (4 if given["name"] == "rate" else 1e9))
        known = len(stand_in.names) if done == 1 else 7 if given["name"] == "large" else 0
        values = [1.0] * known + [None] * (len(stand_in.names) - known)
        return {"values": values, "kind": "number", "classes": [], "unit": "", "done": done}

    monkeypatch.setattr(exporting, "PATIENCE", 0.02)
    steps: list[float] = []
    answers = ANSWERS | {"colour": colour}
    page = build(answers, StandIn(), page_files(), {"a": "test:0"}, steps.append)
    held = json.loads(re.findall(r'id="answers">(.*?)</script>', page, re.S)[0])
    assert asked.count("rate") == 4
    assert set(held["colour"]) == {"rate", "large"}  # Of the others nothing is known.
    assert [own["name"] for own in held["run"]["colours"]] == ["rate", "large"]
    assert all(own["done"] == 1 for own in held["colour"].values())
    assert held["run"]["notes"] == ["large: known for 7 of 400 images, after 0.02 s."]
    assert sum(steps) == pytest.approx(step_count(StandIn().run({}), 1))


def test_of_many_sliders_the_best_are_kept_in_their_order() -> None:
    rows = [{"name": str(i), "score": (i * 7 % 30) / 30 if i else None} for i in range(30)]
    found = best({"attributes": rows, "says": "Of 30."}, "attributes")
    names = [row["name"] for row in found["attributes"]]
    assert names == [str(i) for i in range(30) if i * 7 % 30 >= 10]
    assert found["says"] == "Of 30. This file holds 20 of these 30."
    first = best({"sliders": [{"dim": i} for i in range(40)]}, "sliders")
    assert [row["dim"] for row in first["sliders"]] == list(range(20))
    few = {"sliders": rows[:20]}
    assert best(few, "sliders") is few


def test_large_pictures_become_smaller_and_grey_stays_grey() -> None:
    large = [Image.new("L", (300, 200), 40 * i) for i in range(3)]
    found = pixels(exporting.side_by_side(large))
    assert found.shape == (100, 450)
    assert found[:, 160:290] == pytest.approx(40, abs=2)


def test_numbers_are_rounded_to_what_is_shown() -> None:
    given = {"a": [1 / 3, -12345.678, 0.0, 3, None, True, "1.23456789"], "b": {"c": 1e-12 / 3}}
    assert rounded(given) == {
        "a": [0.333333, -12345.7, 0.0, 3, None, True, "1.23456789"],
        "b": {"c": 3.33333e-13},
    }


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_opens_the_file_from_disk(page: str, width: int, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs a browser")
    (tmp_path / "explorer.html").write_text(page, encoding="utf-8")
    said: list[str] = []
    asked: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": 844})
        tab.on("console", lambda line: said.append(line.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto((tmp_path / "explorer.html").as_uri())
        tab.wait_for_selector("html.ready")
        tab.wait_for_selector("#dim-0")
        before = tab.get_attribute("#now-image", "src")
        tab.focus("#dim-0")
        tab.keyboard.press("End")
        changed = "before => document.getElementById('now-image').src !== before"
        tab.wait_for_function(changed, arg=before, timeout=10_000)
        broken = "() => [...document.images].filter(own => own.src && !own.naturalWidth).length"
        tab.wait_for_function(f"() => ({broken})() === 0", timeout=10_000)
        assert tab.evaluate("fetch('https://example.org').then(() => 1, () => 0)") == 0
        browser.close()
    assert [line for line in said if "example.org" not in line] == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)
