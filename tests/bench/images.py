"""The images of the bench: drawn from models whose best latents and noise are known, or digits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from pyrovae.data import SyntheticFaces

__all__ = ["DATA", "stored"]

Splits = dict[str, np.ndarray]
#: The number of images of the splits.
SIZES = {"train": 3000, "val": 300, "test": 400}


def stored(name: str, folder: Path) -> Path:
    """The file with the splits `x_train`, `x_val` and `x_test` of a data set; made once."""
    path = folder / f"{name}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        splits = DATA[name]()
        np.savez(path, **{f"x_{split}": images for split, images in splits.items()})
    return path


def basis(size: int, count: int, seed: int = 0) -> np.ndarray:
    """Smooth orthogonal images of unit mean square, `(count, size, size)`."""
    fields = np.random.default_rng(seed).standard_normal((count, size, size))
    smooth = np.stack([gaussian_filter(own, size / 10) for own in fields]).reshape(count, -1)
    return np.linalg.qr(smooth.T)[0].T.reshape(count, size, size) * size


def grey(images: np.ndarray) -> np.ndarray:
    """Values in [0, 1] as uint8 `(N, 1, H, W)`."""
    return np.clip(np.rint(255 * images), 0, 255).astype(np.uint8)[:, None]


def factors(
    draw: Callable[[np.random.Generator, int], np.ndarray],
    *,
    size: int = 16,
    weight: float = 0.05,
    noise: float | np.ndarray = 0.04,
    sizes: dict[str, int] = SIZES,
) -> Splits:
    """Images `0.5 + weight * sum_d z_d basis_d + noise`, with latents z from `draw`."""
    found = {}
    for place, (name, count) in enumerate(sizes.items()):
        rng = np.random.default_rng([1, place])
        z = draw(rng, count)
        images = 0.5 + weight * np.einsum("nd,dhw->nhw", z, basis(size, z.shape[1]))
        found[name] = grey(images + noise * rng.standard_normal(images.shape))
    return found


def normal(dims: int, low: float = 1.0) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Standard Normal latents; the last dimension has the scale `low`."""
    scales = np.linspace(1, low, dims)
    return lambda rng, count: scales * rng.standard_normal((count, dims))


def clustered(
    dims: int, clusters: int, spread: float = 0.15
) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Latents of tight clusters, of mean 0 and variance 1."""
    centres = np.random.default_rng(5).choice([-1.0, 1.0], (clusters, dims))
    centres -= centres.mean(0)
    centres /= centres.std(0) + 1e-9

    def draw(rng: np.random.Generator, count: int) -> np.ndarray:
        own = centres[rng.integers(clusters, size=count)]
        return own + spread * rng.standard_normal((count, dims))

    return draw


#: Strokes of the digits in a box of width and height 1, as polylines.
STROKES: dict[int, list[list[tuple[float, float]]]] = {
    0: [[(0.5, 0), (0.1, 0.25), (0.1, 0.75), (0.5, 1), (0.9, 0.75), (0.9, 0.25), (0.5, 0)]],
    1: [[(0.3, 0.2), (0.55, 0), (0.55, 1)]],
    2: [[(0.1, 0.25), (0.5, 0), (0.9, 0.25), (0.1, 1), (0.9, 1)]],
    3: [[(0.1, 0.1), (0.6, 0), (0.85, 0.25), (0.4, 0.48), (0.9, 0.75), (0.5, 1), (0.1, 0.9)]],
    4: [[(0.7, 1), (0.7, 0), (0.1, 0.65), (0.95, 0.65)]],
    5: [[(0.85, 0), (0.2, 0), (0.15, 0.45), (0.7, 0.45), (0.85, 0.75), (0.5, 1), (0.1, 0.9)]],
    6: [[(0.75, 0), (0.25, 0.4), (0.15, 0.8), (0.5, 1), (0.85, 0.75), (0.5, 0.5), (0.2, 0.7)]],
    7: [[(0.1, 0), (0.9, 0), (0.4, 1)]],
    8: [[(0.5, 0.45), (0.15, 0.2), (0.5, 0), (0.85, 0.2), (0.5, 0.45), (0.1, 0.75), (0.5, 1),
         (0.9, 0.75), (0.5, 0.45)]],
    9: [[(0.8, 0.3), (0.5, 0.5), (0.15, 0.25), (0.5, 0), (0.8, 0.3), (0.7, 1)]],
}  # fmt: skip


def digits(
    size: int = 28, sizes: dict[str, int] = SIZES, known: tuple[int, ...] = tuple(range(10))
) -> Splits:
    """Slanted white digits of several widths on black."""
    return {
        name: _digits(np.random.default_rng([2, place]), count, size, known)
        for place, (name, count) in enumerate(sizes.items())
    }


def _digits(rng: np.random.Generator, count: int, size: int, known: tuple[int, ...]) -> np.ndarray:
    """Each pixel's distance from the strokes decides its grey value."""
    down, across = np.mgrid[:size, :size] / (size - 1)
    labels = rng.choice(known, count)
    slant, place = rng.normal(0, 0.15, count), rng.normal(0, 0.03, (count, 2))
    width, large = rng.uniform(0.04, 0.07, count), rng.normal(1, 0.08, (count, 2))
    found = np.zeros((count, size, size))
    for label in known:
        rows = np.flatnonzero(labels == label)[:, None]
        for stroke in STROKES[label]:
            points = np.array(stroke) - 0.5
            u = 0.45 * large[rows, 0] * points[:, 0] - slant[rows] * points[:, 1]
            v = 0.7 * large[rows, 1] * points[:, 1]
            ends = np.stack([u + 0.5 + place[rows, 0], v + 0.5 + place[rows, 1]], -1)
            for a, b in zip(ends[:, :-1].swapaxes(0, 1), ends[:, 1:].swapaxes(0, 1), strict=True):
                gap = _distance(across, down, a, b)
                ink = np.clip((width[rows[:, 0], None, None] - gap) * size + 0.5, 0, 1)
                found[rows[:, 0]] = np.maximum(found[rows[:, 0]], ink)
    return grey(found)


def _distance(across: np.ndarray, down: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The distance of each pixel from the line between two points, `(N, H, W)`."""
    a, b = a[:, :, None, None], b[:, :, None, None]
    step = b - a
    along = ((across - a[:, 0]) * step[:, 0] + (down - a[:, 1]) * step[:, 1]) / (step**2).sum(1)
    along = np.clip(along, 0, 1)
    return np.hypot(across - a[:, 0] - along * step[:, 0], down - a[:, 1] - along * step[:, 1])


def discs(size: int = 24, sizes: dict[str, int] = SIZES, noise: float = 0.03) -> Splits:
    """A soft disc of random place, size and brightness: factors that are not linear."""
    found = {}
    for place, (name, count) in enumerate(sizes.items()):
        rng = np.random.default_rng([3, place])
        down, across = np.mgrid[:size, :size] / (size - 1)
        u, v = rng.uniform(0.3, 0.7, (2, count, 1, 1))
        radius, light = (
            rng.uniform(0.12, 0.25, (count, 1, 1)),
            rng.uniform(0.5, 0.8, (count, 1, 1)),
        )
        disc = 1 / (1 + np.exp((np.hypot(across - u, down - v) - radius) * 30))
        images = 0.15 + (light - 0.15) * disc
        found[name] = grey(images + noise * rng.standard_normal(images.shape))
    return found


def celebrities(size: int = 32, sizes: dict[str, int] = SIZES) -> Splits:
    """Real faces; `PYROVAE_TEST_DATA` names their folder."""
    folder = Path(os.environ["PYROVAE_TEST_DATA"]) / "celeba"
    paths = sorted(folder.rglob("*.jpg"))
    order = np.random.default_rng(4).permutation(len(paths))
    found, start = {}, 0
    for name, count in sizes.items():
        some = [paths[row] for row in order[start : start + count]]
        found[name] = np.stack([_face(path, size) for path in some])
        start += count
    return found


def _face(path: Path, size: int) -> np.ndarray:
    with Image.open(path) as image:
        image.draft("RGB", (size, size))
        square = image.convert("RGB").resize((size, size * 218 // 178))
        top = (square.height - size) // 2
        return np.asarray(square.crop((0, top, size, top + size))).transpose(2, 0, 1)


def some(splits: Splits, count: int) -> Splits:
    """The data set with so many training images."""
    return {**splits, "train": splits["train"][:count]}


def moved(splits: Splits, test: np.ndarray) -> Splits:
    """The data set with test images from elsewhere."""
    return {**splits, "test": test}


def repeated(splits: Splits, share: float = 0.5, change: int = 0) -> Splits:
    """The data set with copies of training images among the test images.

    Args:
        splits: the data set.
        share: of the test images.
        change: largest change of a pixel of a copy, in grey levels.
    """
    test = splits["test"].copy()
    count = int(share * len(test))
    off = np.random.default_rng(6).integers(-change, change + 1, test[:count].shape)
    test[:count] = np.clip(splits["train"][:count].astype(int) + off, 0, 255)
    return {**splits, "test": test}


def blank(splits: Splits, share: float = 0.25, value: int = 0) -> Splits:
    """The data set with constant images in all splits."""
    found = {}
    for name, images in splits.items():
        found[name] = images.copy()
        found[name][:: round(1 / share)] = value
    return found


def patchy(size: int = 16) -> np.ndarray:
    """A noise scale per pixel: low on the left, high on the right."""
    return np.broadcast_to(np.geomspace(0.015, 0.12, size), (size, size))


def faces(size: int, sizes: dict[str, int] = SIZES) -> Splits:
    """The drawn faces of the package."""
    found = SyntheticFaces(*sizes.values(), image_size=size)
    return {name: np.asarray(found.split(name).images) for name in sizes}


MANY = {"train": 20000, "val": 400, "test": 400}
FEW = {"train": 200, "val": 100, "test": 300}
REAL = {"train": 4500, "val": 500, "test": 500}

#: All data sets by name.
DATA: dict[str, Callable[[], Splits]] = {
    "linear": lambda: factors(normal(8)),
    "linear28": lambda: factors(normal(10), size=28, weight=0.03, noise=0.05),
    "patchy": lambda: factors(normal(8), noise=patchy()),
    "patchy28": lambda: factors(normal(10), size=28, noise=patchy(28)),
    "clusters": lambda: factors(clustered(8, 6)),
    "compact": lambda: factors(clustered(9, 10, 0.03), weight=0.03),
    "compact28": lambda: factors(clustered(9, 10, 0.03), size=28, weight=0.012),
    "folded": lambda: factors(lambda rng, n: abs(rng.standard_normal((n, 8))), noise=0.2),
    "folded28": lambda: factors(
        lambda rng, n: abs(rng.standard_normal((n, 12))), size=28, weight=0.03, noise=0.2
    ),
    "digits": digits,
    "digits16": lambda: digits(16),
    "many_digits": lambda: digits(sizes=MANY),
    "many_digits16": lambda: digits(16, sizes=MANY),
    "few_digits": lambda: digits(sizes=FEW),
    "discs": discs,
    "many_discs": lambda: discs(sizes=MANY),
    "celebrities": lambda: celebrities(sizes=REAL),
    "celebrities16": lambda: celebrities(16, sizes=REAL),
    "few_celebrities": lambda: celebrities(sizes=FEW),
    "other_digits": lambda: moved(digits(known=(0, 1, 2, 3, 4)), digits(known=(7,))["test"]),
    "dark": lambda: moved(discs(), (discs()["test"] * 0.8).astype(np.uint8)),
    "other_faces": lambda: moved(celebrities(sizes=REAL), faces(32)["test"]),
    "repeated": lambda: repeated(some(celebrities(sizes=REAL), 1000)),
    "repeated_digits": lambda: repeated(some(digits(), 1500), change=3),
    "repeated_discs": lambda: repeated(discs(), 0.3),
    "faces24": lambda: faces(24),
    "blank": lambda: blank(digits()),
    "blank_faces": lambda: blank(faces(24), 0.2, 128),
}
