"""The explorer as one file: asks the same questions as the page, and keeps the answers."""

from __future__ import annotations

import base64
import io
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from pyrovae.commands.explorer.bundling import bundle

__all__ = ["build", "step_count"]

Answer = dict[str, Any]
Answers = Mapping[str, Callable[[Any, Answer], Answer]]
#: Positions of each slider, cells per side of the decoded ground, and thumbnails.
POSITIONS, CELLS, THUMBS = 9, 12, 1000
#: The most latents, places or rows per question.
POINTS, ROWS = 64, 400
#: Seconds for slow answers of one kind, such as log p(x) of all images.
PATIENCE = 30.0
#: Sides in pixels: of thumbnails, and of moved images at most.
SIZE, SIDE = 32, 128
#: The quality of JPEG for moved images, of 100: a fifth of the size of PNG.
QUALITY = 88
#: The most sliders per tab.
LINES = 20
#: Draws per image.
DRAWS = 16
#: Questions about each image, and ways to move it.
ABOUT = ("image", "draws", "scores", "sliders", "directions", "attributes")
TABS = ("sliders", "directions", "attributes")


class Asker:
    """Asks the answers of the server, and counts the steps.

    Args:
        answers: functions of the explorer and the arguments of a question, by name.
        explorer: what they ask.
        step: is called with the part of a step that is done.

    Attributes:
        partial: the arguments of questions whose answers were not complete in time.
    """

    def __init__(self, answers: Answers, explorer: Any, step: Callable[[float], object]) -> None:
        self._answers, self._explorer, self.step = answers, explorer, step
        self.partial: list[Answer] = []
        self._spent: dict[str, float] = defaultdict(float)

    def ask(self, question: str, given: Answer) -> Answer:
        """The answer to a question."""
        return self._answers[question](self._explorer, given)

    def stepped(self, question: str, given: Answer) -> Answer:
        """The answer as one step; asks again while a slow answer grows and time is left."""
        done, began = 0.0, time.monotonic() - self._spent[question]
        while True:
            answer = self.ask(question, given)
            before, done = done, answer.get("done", 1.0)
            self.step(done - before)
            self._spent[question] = spent = time.monotonic() - began
            if done >= 1 or spent > PATIENCE:
                break
        if done < 1:
            self.partial.append(given)
            self.step(1 - done)
        return answer | ({"done": 1.0} if "done" in answer else {})


def step_count(run: Answer, images: int) -> int:
    """The number of steps of `build`.

    Args:
        run: the answer "run".
        images: the number of images.
    """
    return 2 + len(run["methods"]) + len(run["colours"]) + images * (len(ABOUT) + len(TABS))


def build(
    answers: Answers,
    explorer: Any,
    files: Mapping[str, bytes],
    images: Mapping[str, str],
    step: Callable[[float], object] = lambda part: None,
) -> str:
    """The explorer as the text of one HTML file, which needs no server.

    Args:
        answers: functions of the explorer and the arguments of a question, by name.
        explorer: what they ask.
        files: the files of the page by name.
        images: names of images that the explorer knows, by the names to show.
        step: is called with parts of the `step_count` steps as they are done.
    """
    asker = Asker(answers, explorer, step)
    run = asker.ask("run", {})
    maps = {name: asker.stepped("map", {"method": name}) for name in run["methods"]}
    first = run["methods"][0]
    colours = coloured(asker, [own["name"] for own in run["colours"]])
    own: Answer = {"colours": [own for own in run["colours"] if own["name"] in colours]}
    own |= {"images": list(images), "uploads": False, "path": run["name"]}
    own["notes"] = [*run["notes"], *_said(asker.partial, colours)]
    found = {
        "run": run | own,
        "map": maps,
        "colour": colours,
        "thumbs": thumbs(asker, run["count"]),
        "grid": grid(asker, first, maps[first]["thin"]),
        "images": {shown: about(asker, name, shown) for shown, name in images.items()},
    }
    return bundle(files, rounded(found))


def coloured(asker: Asker, names: Sequence[str]) -> dict[str, Answer]:
    """The colours of which any value is known."""
    found = {name: asker.stepped("colour", {"name": name}) for name in names}
    return {name: own for name, own in found.items() if _known(own)}


def _known(colour: Answer) -> int:
    return sum(value is not None for value in colour["values"])


def _said(partial: Sequence[Answer], colours: Mapping[str, Answer]) -> Iterator[str]:
    """A note for each colour that was not complete in time."""
    for name in (own["name"] for own in partial if own["name"] in colours):
        known, count = _known(colours[name]), len(colours[name]["values"])
        yield f"{name}: known for {known:,} of {count:,} images, after {PATIENCE:g} s."


def thumbs(asker: Asker, count: int) -> Answer:
    """One sprite of at most `THUMBS` images, spread over the encoded ones."""
    rows = np.unique(np.linspace(0, count - 1, min(count, THUMBS)).round().astype(int)).tolist()
    parts = [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]
    sprites = [asker.ask("thumbs", {"rows": part, "size": SIZE})["sprite"] for part in parts]
    asker.step(1)
    sprite = side_by_side([picture(sprite) for sprite in sprites])
    return {"sprite": sprite, "size": SIZE, "rows": rows, "count": len(rows)}


def grid(asker: Asker, method: str, thin: Answer) -> Answer:
    """The ground of a map, decoded in square cells."""
    low, high = np.array(thin["low"]), np.array(thin["high"])
    side = float((high - low).max()) / CELLS
    counts = [max(1, math.ceil(round(float(extent) / side, 6))) for extent in high - low]
    across, up = (
        (low[axis] + high[axis]) / 2 + side * (np.arange(count) - (count - 1) / 2)
        for axis, count in enumerate(counts)
    )
    places = [[float(x), float(y)] for y in up for x in across]
    found: Answer = {"method": method, "places": places, "z": [], "images": [], "cover": []}
    for start in range(0, len(places), POINTS):
        part = asker.ask("ground", {"method": method, "places": places[start : start + POINTS]})
        for name in ("z", "images", "cover"):
            found[name] += part[name]
    found["images"] = [jpeg(picture(own)) for own in found["images"]]
    asker.step(1)
    return found


def about(asker: Asker, name: str, shown: str) -> Answer:
    """All answers on one image, and what its sliders decode to."""
    given: dict[str, Answer] = {own: {"name": name} for own in ABOUT} | {"attributes": {}}
    given["draws"] |= {"count": DRAWS, "seed": 0}
    found: Answer = {own: asker.stepped(own, arguments) for own, arguments in given.items()}
    found |= {tab: best(found[tab], tab) for tab in TABS}
    start, moves = np.array(found["image"]["loc"]), {}
    for tab, lines in (
        ("sliders", dict(_dimensions(found["sliders"]["sliders"], start))),
        ("directions", dict(_directions(found["directions"]["directions"]))),
        ("attributes", dict(_attributes(found["attributes"]["attributes"]))),
    ):
        moves[tab] = {
            key: moved(asker, positions, start + steps, {"name": name} | _inputs(found["image"]))
            for key, (positions, steps) in lines.items()
        }
        asker.step(1)
    return found | {"image": found["image"] | {"name": shown}, "moves": moves}


def best(answer: Answer, tab: str) -> Answer:
    """The answer with `LINES` sliders: those with the best scores, else the first ones."""
    rows = answer[tab]
    if len(rows) <= LINES:
        return answer
    order = sorted(range(len(rows)), key=lambda row: -(rows[row].get("score") or 0))
    says = f"{answer.get('says', '')} This file holds {LINES} of these {len(rows)}."
    return answer | {tab: [rows[row] for row in sorted(order[:LINES])], "says": says.strip()}


def _inputs(image: Answer) -> Answer:
    return {"given": image["given"]} if image.get("given") else {}


Line = tuple[str, tuple[np.ndarray, np.ndarray]]


def positions_of(low: float, start: float, high: float) -> np.ndarray:
    """Positions from end to end, the start among them, with equal steps on each of its sides.

    Example:
        >>> positions_of(-1.0, 0.0, 3.0)
        array([-1. , -0.5,  0. ,  0.5,  1. ,  1.5,  2. ,  2.5,  3. ])
    """
    last = POSITIONS - 1
    share = (start - low) / ((high - low) or 1.0)
    middle = min(max(round(last * share), share > 0), last - (share < 1))
    return np.interp(np.arange(POSITIONS), [0, middle, last], [low, start, high])


def _dimensions(sliders: Sequence[Answer], start: np.ndarray) -> Iterator[Line]:
    """For each slider: its positions, and the steps in the latent space that they are."""
    for own in sliders:
        positions = positions_of(own["low"], float(start[own["dim"]]), own["high"])
        steps = np.zeros((POSITIONS, len(start)))
        steps[:, own["dim"]] = positions - start[own["dim"]]
        yield str(own["dim"]), (positions, steps)


def _directions(directions: Sequence[Answer]) -> Iterator[Line]:
    for row, own in enumerate(directions):
        positions = positions_of(own["low"], 0.0, own["high"])
        yield str(row), (positions, positions[:, None] * np.array(own["vector"]))


def _attributes(attributes: Sequence[Answer]) -> Iterator[Line]:
    positions = positions_of(-1.0, 0.0, 1.0)
    for own in attributes:
        yield own["name"], (positions, positions[:, None] * np.array(own["vector"]))


def moved(asker: Asker, positions: np.ndarray, z: np.ndarray, given: Answer) -> Answer:
    """What the positions of a slider decode to."""
    answer = asker.ask("decode", {"z": z.tolist()} | given)
    return {
        "positions": positions.tolist(),
        "sprite": side_by_side([picture(own) for own in answer["images"]]),
        "cover": answer["cover"],
        "predicted": answer["predicted"],
    }


def picture(url: str) -> Image.Image:
    """The picture of a data URL, in grey or colour."""
    found = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    return found.convert("L" if found.mode in ("1", "L") else "RGB")


def side_by_side(pictures: Sequence[Image.Image]) -> str:
    """One row of pictures of the same height, as a data URL; large ones become smaller."""
    row = Image.new(
        pictures[0].mode, (sum(own.width for own in pictures), pictures[0].height), "white"
    )
    left = 0
    for own in pictures:
        row.paste(own, (left, 0))
        left += own.width
    return jpeg(row.reduce(-(-row.height // SIDE)) if row.height > SIDE else row)


def jpeg(image: Image.Image) -> str:
    """A picture as a data URL of JPEG."""
    file = io.BytesIO()
    image.save(file, "jpeg", quality=QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def rounded(value: Any) -> Any:
    """The same plain values with six significant digits, which the page shows at most."""
    if isinstance(value, dict):
        return {key: rounded(own) for key, own in value.items()}
    if isinstance(value, list):
        return [rounded(own) for own in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
