"""The questions that the explorer answers: each takes and returns an object of JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyrovae.commands.explorer.answers import images, latents, overview
from pyrovae.commands.explorer.opening import Explorer

__all__ = ["ANSWERS"]

#: The answer to each question, by its name; each raises `InputError` for a wrong argument.
ANSWERS: dict[str, Callable[[Explorer, dict[str, Any]], dict[str, Any]]] = {
    "run": overview.run,
    "map": overview.map_of,
    "colour": overview.colour,
    "thumbs": overview.thumbs,
    "ground": latents.ground,
    "decode": latents.decode,
    "path": latents.path,
    "nearest": latents.nearest,
    "attributes": latents.attributes,
    "image": images.image,
    "upload": images.upload,
    "draws": images.draws,
    "scores": images.scores,
    "sliders": images.sliders,
    "directions": images.directions,
}
