"""Draws faces from their factors."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

# fmt: off
FACTORS: tuple[str, ...] = (
    "skin_tone", "hair_tone", "hair_red", "hair_length", "face_width", "eye_size", "eye_colour",
    "gaze", "brow_height", "mouth_curve", "mouth_open", "yaw", "tilt", "light", "background",
)
# fmt: on

_Factors = dict[str, np.ndarray]  # each factor of a chunk, `(N, 1, 1, 1)`
_CHUNK = 32 * 64**2  # pixels drawn together, so that a plane of them stays in a core's cache
_REACH = 0.9  # half the width of the picture, in the units of the shapes
_PIVOT = 0.55  # height of the point about which the head tilts
_PALETTES = {
    "skin_tone": ((0.93, 0.77, 0.68), (0.83, 0.61, 0.47), (0.43, 0.27, 0.19)),
    "hair_tone": ((0.11, 0.09, 0.09), (0.40, 0.26, 0.17), (0.93, 0.77, 0.48)),
    "hair_red": ((0.88, 0.98, 1.14), (1.0, 1.0, 1.0), (1.28, 0.86, 0.58)),  # multiplies the tone
    "eye_colour": ((0.33, 0.18, 0.09), (0.33, 0.47, 0.25), (0.22, 0.50, 0.80)),
    "background": ((0.55, 0.75, 0.88), (0.77, 0.72, 0.88), (0.97, 0.80, 0.68)),
}


@dataclass
class _Canvas:
    """Images under construction, or a window of them.

    A layer has a flat colour and a shade. The shade of the top layer brightens or darkens the
    final colour: shading takes one plane, and features without a shade inherit the face's.
    """

    rgb: np.ndarray  # `(N, 3, H, W)` in [0, 1]
    shade: np.ndarray  # `(N, 1, H, W)`, 0 for none
    x: np.ndarray  # coordinates across, `(1, 1, 1, W)`
    y: np.ndarray  # coordinates down, `(1, 1, H, 1)`
    pixel: float  # size of a pixel in these coordinates

    def window(self, left: float, right: float, top: float, bottom: float) -> _Canvas:
        """The part between these coordinates, in which a small feature is drawn faster."""
        columns = slice(*np.searchsorted(self.x.ravel(), (left, right)))
        rows = slice(*np.searchsorted(self.y.ravel(), (top, bottom)))
        rgb, shade = self.rgb[..., rows, columns], self.shade[..., rows, columns]
        return _Canvas(rgb, shade, self.x[..., columns], self.y[:, :, rows], self.pixel)

    def cover(self, depth: np.ndarray) -> np.ndarray:
        """Share of each pixel inside a shape, from the signed `depth` of the pixel's centre."""
        share = depth / self.pixel
        share += 0.5
        return np.clip(share, 0, 1, out=share)

    def paint(self, cover: np.ndarray, rgb: np.ndarray, shade: np.ndarray | None = None) -> None:
        """Blends a colour `(N, 3, 1, 1)` over the pixels, and a shade over their shade."""
        change = rgb - self.rgb
        change *= cover
        self.rgb += change
        if shade is not None:
            self.shade += cover * (shade - self.shade)

    def head(self, f: _Factors) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates across and down the tilted head, relative to the middle of the face."""
        cos, sin = np.cos(0.17 * f["tilt"]), np.sin(0.17 * f["tilt"])
        down = self.y - _PIVOT
        return cos * self.x + sin * down, cos * down - sin * self.x + _PIVOT


def _palette(name: str, t: np.ndarray) -> np.ndarray:
    """The colour at `t` on the parabola through three colours at -1, 0 and 1."""
    low, middle, high = np.asarray(_PALETTES[name], np.float32)[:, None, :, None, None]
    return middle + t * (high - low) / 2 + t**2 * ((high + low) / 2 - middle)


def _rgb(*values: float) -> np.ndarray:
    return np.asarray(values, np.float32)[:, None, None]


_WHITE = _rgb(0.97, 0.97, 0.96)


def _bump(square: np.ndarray) -> np.ndarray:
    """A soft spot `max(0, 1 - r^2)^2`, from the squared distance."""
    spot = np.maximum(1 - square, 0)
    return spot * spot


def _width(f: _Factors) -> np.ndarray:
    return 0.46 + 0.06 * f["face_width"]


def _turn(f: _Factors, across: float, reach: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The position of a feature on the turned head, and the factor by which the turn narrows it.

    The head is a cylinder of unit radius seen from the front: a point at `across = sin(a)` moves
    to `sin(a + yaw)`. A feature with `reach` above 1 lies outside of the surface and moves
    further.
    """
    cos, sin = np.cos(0.32 * f["yaw"]), np.sin(0.32 * f["yaw"])
    depth = (1 - across**2) ** 0.5
    return _width(f) * (across * cos + reach * depth * sin), cos - across / depth * sin


def _body(canvas: _Canvas, f: _Factors, skin: np.ndarray) -> None:
    canvas = canvas.window(-1, 1, 0.1, 1)
    x, y = canvas.x, canvas.y
    round_off = 0.28 * f["light"] * x
    slope = x**2
    shoulder = canvas.cover(y - (0.74 + 0.22 * slope + 0.30 * slope**3))
    canvas.paint(shoulder, _rgb(0.30, 0.40, 0.50), round_off - 0.15 * slope)
    neck = 0.20 + 1.2 * np.maximum(y - 0.66, 0) ** 2 - np.abs(x)
    collar = (1 - (x / 0.29) ** 2 - ((y - 0.68) / 0.19) ** 2) * 0.1
    throat = canvas.cover(np.minimum(neck, collar + 10 * np.maximum(0.68 - y, 0)))
    chin = _bump(((x - 0.1 * f["tilt"] - 0.05 * f["yaw"]) / 0.5) ** 2 + ((y - 0.5) / 0.28) ** 2)
    shade = 1.6 * round_off - 3.0 * slope - 0.04 - 0.30 * chin
    canvas.paint(throat, skin, shade)


def _ears(canvas: _Canvas, f: _Factors, skin: np.ndarray) -> None:
    canvas = canvas.window(-0.85, 0.85, -0.35, 0.4)
    u, v = canvas.head(f)
    down = ((v - 0.04) / 0.13) ** 2
    for side in (-1.0, 1.0):
        # The ear is behind the axis of the head, so a turn moves it in the other direction.
        centre = side * (_width(f) + 0.015) - 0.10 * f["yaw"]
        square = ((u - centre) / 0.085) ** 2 + down
        shade = 0.25 * side * f["light"] - 0.12 - 0.22 * _bump(2 * square)
        canvas.paint(canvas.cover((1 - square) * 0.045), skin * _rgb(1.0, 0.95, 0.93), shade)


def _face(canvas: _Canvas, f: _Factors, skin: np.ndarray) -> None:
    canvas = canvas.window(-0.8, 0.8, -0.85, 0.75)
    u, v = canvas.head(f)
    down = v / 0.6
    across = (u - 0.07 * f["yaw"] * down) / _width(f)
    square = across * across
    square *= 0.30 * down + 1
    square += down * down
    # Lambert's law on the ellipsoid, to second order: the side away from the light falls off.
    shade = 0.32 * f["light"] * across - 0.25 * square + 0.09
    canvas.paint(canvas.cover((1 - square) * (0.5 * _width(f))), skin, shade)


def _cheeks(canvas: _Canvas, f: _Factors, skin: np.ndarray) -> None:
    canvas = canvas.window(-0.65, 0.65, -0.1, 0.5)
    u, v = canvas.head(f)
    down = ((v - 0.20) / 0.17) ** 2
    for side in (-0.50, 0.50):
        centre, narrow = _turn(f, side)
        blush = _bump(((u - centre) / (0.17 * narrow)) ** 2 + down)
        canvas.paint(0.40 * blush, skin * _rgb(1.04, 0.80, 0.76))


def _nose(canvas: _Canvas, f: _Factors, skin: np.ndarray) -> None:
    canvas = canvas.window(-0.45, 0.45, -0.25, 0.35)
    u, v = canvas.head(f)
    root, _ = _turn(f, 0.0)
    tip, _ = _turn(f, 0.0, reach=1.35)
    u = u - (root + (tip - root) * (v + 0.2) * 2.5)
    ridge = _bump((u / 0.06) ** 2 + ((v - 0.02) / 0.24) ** 2)
    dark = _bump(((u + 0.06 * f["light"]) / 0.075) ** 2 + ((v - 0.05) / 0.2) ** 2)
    under = _bump((u / 0.13) ** 2 + ((v - 0.185) / 0.06) ** 2)
    canvas.shade += 0.16 * ridge - 0.16 * f["light"] ** 2 * dark - 0.16 * under
    aside = np.abs(u) - 0.052
    nostril = canvas.cover((1 - (aside / 0.032) ** 2 - ((v - 0.185) / 0.022) ** 2) * 0.012)
    canvas.paint(0.6 * nostril, skin * _rgb(0.50, 0.36, 0.34))


def _eye_frame(canvas: _Canvas, f: _Factors) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates across from the nearer eye's centre and down, and the eyes' half-widths."""
    u, v = canvas.head(f)
    (left, narrow_left), (right, narrow_right) = _turn(f, -0.44), _turn(f, 0.44)
    is_left = u < (left + right) / 2
    wide = 0.118 + 0.018 * f["eye_size"]
    width = np.where(is_left, wide * narrow_left, wide * narrow_right)
    return u - np.where(is_left, left, right), v + 0.06, width


def _eyes(canvas: _Canvas, f: _Factors, skin: np.ndarray) -> None:
    canvas = canvas.window(-0.7, 0.7, -0.36, 0.2)
    u, v, width = _eye_frame(canvas, f)
    height = 0.068 + 0.022 * f["eye_size"]
    arc = 1 - (u / width) ** 2
    lid = canvas.cover(np.minimum(height * arc + 0.035 + v, 0.6 * height * arc - v))
    opening = canvas.cover(np.minimum(height * arc + v, 0.75 * height * arc - v))
    canvas.shade -= 0.10 * _bump((u / (1.5 * width)) ** 2 + ((v + 0.03) / 0.16) ** 2)
    canvas.paint(0.9 * lid, skin * _rgb(0.28, 0.20, 0.20))
    canvas.paint(opening, _WHITE)
    u = u - 0.042 * f["gaze"]
    radius = 0.062 + 0.012 * f["eye_size"]
    square = u**2 + (v + 0.008) ** 2
    iris = _palette("eye_colour", f["eye_colour"])
    for size, colour in ((1.0, 0.55 * iris), (0.84, iris), (0.45, 0.12 * iris)):
        disc = canvas.cover((size * radius - square / (size * radius)) * 0.5)
        canvas.paint(np.minimum(disc, opening), colour)
    glint = (u - 0.022) ** 2 + (v + 0.032) ** 2
    canvas.paint(np.minimum(canvas.cover((0.02 - glint / 0.02) * 0.5), opening), _WHITE)


def _brows(canvas: _Canvas, f: _Factors, hair: np.ndarray) -> None:
    canvas = canvas.window(-0.75, 0.75, -0.55, 0.05)
    u, v, width = _eye_frame(canvas, f)
    along = (u / (1.15 * width)) ** 2
    line = np.abs(v + 0.185 + 0.055 * f["brow_height"] - 0.05 * along)
    canvas.paint(0.85 * canvas.cover(0.026 * (1 - along) - line + 0.004), 0.62 * hair)


def _mouth(canvas: _Canvas, f: _Factors, skin: np.ndarray) -> None:
    canvas = canvas.window(-0.55, 0.55, 0.1, 0.65)
    u, v = canvas.head(f)
    centre, narrow = _turn(f, 0.0, reach=1.05)
    along = ((u - centre) / (narrow * (0.185 + 0.02 * f["mouth_curve"]))) ** 2
    v = v - 0.345 - 0.085 * f["mouth_curve"] * (0.45 - along)
    arc = 1 - along
    gap = 0.5 + 0.5 * f["mouth_open"]
    upper, lower = (0.006 + 0.020 * gap) * arc, (0.006 + 0.085 * gap) * arc
    lips = canvas.cover(np.minimum(v + upper + 0.036 * arc, lower + 0.048 * arc - v))
    # A closed gap is thinner than a pixel, so it must be cut off at the corners.
    inside = canvas.cover(np.minimum(np.minimum(v + upper, lower - v), 0.09 * arc))
    canvas.paint(lips, skin * _rgb(0.92, 0.55, 0.56))
    canvas.paint(inside, _rgb(0.30, 0.08, 0.09))
    teeth = np.minimum(inside, canvas.cover(0.018 * arc * gap - v))
    canvas.paint(teeth * gap, _WHITE)


def _hair_outline(canvas: _Canvas, f: _Factors) -> tuple[np.ndarray, np.ndarray]:
    """Depth inside the outline of the hair, round at the top and blunt below, and its shade."""
    u, v = canvas.head(f)
    length = 0.5 + 0.5 * f["hair_length"]
    width = _width(f) + 0.055 + 0.055 * length
    across = (u + 0.05 * f["yaw"]) / width
    top = np.minimum(v + 0.12, 0) / 0.64
    top *= top
    low = np.maximum(v + 0.12, 0) / (0.22 + 0.98 * length)
    low *= low
    square = across * across + top + low * low
    shine = 0.9 * top * _bump(((square - 0.66) / 0.34) ** 2)
    shade = 0.26 * f["light"] * across - 0.14 * square + shine
    return (1 - square) * (0.5 * width), shade


def _arch(canvas: _Canvas, f: _Factors) -> np.ndarray:
    """Depth outside the arch that shows the face, sheared for a fringe to one side."""
    u, v = canvas.head(f)
    turn, _ = _turn(f, 0.0, reach=0.55)
    side = (u - turn) / (0.93 * _width(f))
    rise = np.minimum(v - 0.02 + 0.22 * u, 0) / 0.50
    return (side * side + rise * rise - 1) * 0.2


def _blank(count: int, image_size: int) -> _Canvas:
    pixel = 2 * _REACH / image_size
    x = ((np.arange(image_size) + 0.5) * pixel - _REACH).astype(np.float32)[None, None, None]
    planes = np.empty((count, 4, image_size, image_size), np.float32)
    return _Canvas(planes[:, :3], planes[:, 3:], x, x.swapaxes(2, 3) + 0.04, pixel)


def _draw_chunk(factors: np.ndarray, image_size: int) -> np.ndarray:
    f = dict(zip(FACTORS, factors.T[:, :, None, None, None], strict=True))
    skin = _palette("skin_tone", f["skin_tone"])
    hair = _palette("hair_tone", f["hair_tone"]) * _palette("hair_red", f["hair_red"])
    canvas = _blank(len(factors), image_size)
    canvas.rgb[:] = _palette("background", f["background"])
    canvas.shade[:] = 0.08 - 0.10 * canvas.x**2 - (0.06 * canvas.y + 0.05 * canvas.y**2)
    depth, shade = _hair_outline(canvas, f)
    canvas.paint(canvas.cover(depth), hair, shade - 0.3)
    for part in (_body, _ears, _face, _cheeks, _nose, _eyes, _mouth):
        part(canvas, f, skin)
    _brows(canvas, f, hair)
    canvas.paint(canvas.cover(np.minimum(depth, _arch(canvas, f))), hair, shade)
    # Red darkens least, so that shadows on skin are warm.
    canvas.rgb *= 1 + canvas.shade * _rgb(0.92, 1.0, 1.05)
    np.clip(canvas.rgb, 0, 1, out=canvas.rgb)
    return (255 * canvas.rgb + 0.5).astype(np.uint8)


def draw_faces(factors: np.ndarray, image_size: int = 64) -> np.ndarray:
    """Draws one face per row of factors.

    Every pixel is a continuous function of the factors, without noise. A shape is defined by its
    signed depth `d`, and covers the share `clip(d / pixel + 1/2, 0, 1)` of a pixel. Left and right
    are those of the picture. From -1 to 1,

    - `skin_tone` goes from light to dark, `background` from blue over lilac to peach;
    - `hair_tone` from black over brown to blond, `hair_red` from ash to red, `hair_length` from
      cropped to below the shoulders;
    - `face_width` from narrow to wide, `eye_size` from small to large, `brow_height` from low to
      raised, `eye_colour` from brown over green to blue;
    - `mouth_curve` from frown to smile, `mouth_open` from closed to open;
    - `gaze` from looking left to right, `yaw` from a head turned left to right, `tilt` from
      leaning left to right, `light` from lit from the left to the right.

    Args:
        factors: values in [-1, 1], `(N, 15)`, with columns as in `FACTORS`.
        image_size: height and width of the images.

    Returns:
        uint8 array `(N, 3, image_size, image_size)`.

    Raises:
        ValueError: if the factors have another shape, or a value is outside [-1, 1].
    """
    factors = np.asarray(factors, np.float32)
    if factors.ndim != 2 or factors.shape[1] != len(FACTORS):
        raise ValueError(f"factors must have shape (N, {len(FACTORS)}), got {factors.shape}")
    outside = factors[~(np.abs(factors) <= 1)]
    if outside.size:
        raise ValueError(f"factors must be in [-1, 1], got {outside[0]}")
    images = np.empty((len(factors), 3, image_size, image_size), np.uint8)
    step = max(1, _CHUNK // image_size**2)

    def draw(start: int) -> None:
        images[start : start + step] = _draw_chunk(factors[start : start + step], image_size)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(draw, range(0, len(factors), step)))
    return images
