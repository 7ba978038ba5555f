"""Measures how fast photographs are prepared for training, and how fast they are decoded."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from pyrovae.data import ImageFolder
from pyrovae.data.workers import map_in_order

__all__ = ["photographs", "prepare"]

WIDTH, HEIGHT = 178, 218  # of the aligned photographs of CelebA
CHUNK = 64


def prepare(distinct: int, copies: int, rounds: int) -> tuple[int, list[float], list[float]]:
    """Times the preparation of a folder of JPEG files, and their decoding on all cores.

    Args:
        distinct: number of distinct photographs.
        copies: number of files per photograph.
        rounds: number of measurements of each.

    Returns:
        The number of files, the seconds of preparing, and the seconds of decoding; the seconds
        have one number per round.
    """
    prepared: list[float] = []
    decoded: list[float] = []
    with photographs(distinct, copies) as folder:
        files = sorted(folder.iterdir())
        for _ in range(rounds):
            prepared.append(_seconds(lambda: _prepare(folder)))
            decoded.append(_seconds(lambda: _decode_all(files)))
    return len(files), prepared, decoded


@contextmanager
def photographs(distinct: int, copies: int) -> Iterator[Path]:
    """Yields a folder of smooth images with grain, each stored in several files."""
    from PIL import Image

    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        for number in range(distinct):
            coarse = Image.fromarray(random.integers(0, 256, (24, 20, 3), np.uint8))
            smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), float)
            grain = random.normal(0, 4, smooth.shape)
            image = Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))
            first = Path(name) / f"{number:06d}_0.jpg"
            image.save(first, quality=90)
            for copy in range(1, copies):
                (Path(name) / f"{number:06d}_{copy}.jpg").write_bytes(first.read_bytes())
        yield Path(name)


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _prepare(folder: Path) -> None:
    """Decodes, crops, resizes and stores the images, as `ImageFolder` does before training."""
    with tempfile.TemporaryDirectory() as cache:
        data = ImageFolder(
            str(folder), 64, crop=148, val_fraction=0, test_fraction=0, cache_dir=cache
        )
        data.split("train")


def _decode_all(files: list[Path]) -> None:
    """Decodes whole photographs with Pillow in one process per core."""
    from PIL import Image

    def decode(start: int) -> None:
        for path in files[start : start + CHUNK]:
            with Image.open(path) as image:
                image.load()

    with closing(map_in_order(decode, range(0, len(files), CHUNK), processes=True)) as done:
        for _ in done:
            pass
