"""Prepared images: bytes, sizes, places and words that are not as they were written."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pyrovae import CelebA
from pyrovae.data import SPLITS
from tests.fuzzing.base import Campaign, Wrong, check_nothing_left, refusal
from tests.fuzzing.mutations import VALUES, mutated, places, zeroed

COUNT = 12


class Caches(Campaign):
    name, count, quick = "caches", 300, 6

    def prepare(self, shared: Path) -> None:
        root = shared / "celeba"
        images = root / "img_align_celeba"
        images.mkdir(parents=True)
        source = np.random.default_rng(0)
        lines, signs = ["image_id,partition"], ["image_id,Smiling,Male"]
        for i in range(COUNT):
            pixels = source.integers(0, 256, (40, 40, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(images / f"{i}.jpg")
            lines.append(f"{i}.jpg,{(0, 0, 1, 2)[i % 4]}")
            signs.append(f"{i}.jpg,{1 - 2 * (i % 2)},{1 - 2 * (i % 3 > 0)}")
        (root / "list_eval_partition.csv").write_text("\n".join(lines) + "\n")
        (root / "list_attr_celeba.csv").write_text("\n".join(signs) + "\n")
        for name, values in read(shared, shared / "cache").items():
            np.savez(shared / f"{name}.npz", *values)

    def attempt(self, shared: Path, folder: Path, rng: random.Random) -> None:
        shutil.copytree(shared / "cache", folder / "cache")
        if rng.random() < 0.5:
            in_another_process(lambda: read(shared, folder / "cache"))  # Notes that all is whole.
        for _ in range(rng.choice((1, 1, 2))):
            damage(folder / "cache", rng)
        found: dict[str, list[np.ndarray]] = {}
        line = refusal(lambda: found.update(read(shared, folder / "cache")))
        if line:
            raise Wrong(f"refused: {line}")
        check_equal(shared, found)
        in_another_process(lambda: check_equal(shared, read(shared, folder / "cache")))
        check_nothing_left(folder)


def check_equal(shared: Path, found: dict[str, list[np.ndarray]]) -> None:
    """Raises `Wrong` if a split is not what was prepared from the image files."""
    for name, values in found.items():
        with np.load(shared / f"{name}.npz") as truth:
            for kind, value in zip(truth.files, values, strict=True):
                if not np.array_equal(truth[kind], value):
                    raise Wrong(
                        f"{name}: other {('images', 'names', 'attributes')[int(kind[4:])]}"
                    )


def read(shared: Path, cache: Path) -> dict[str, list[np.ndarray]]:
    """Images, names and attributes of each split, as training reads them."""
    data = CelebA(str(shared / "celeba"), 16, 32, cache_dir=str(cache))
    found = {}
    for name in SPLITS:
        split = data.split(name)
        found[name] = [np.array(split.images), np.array(split.names), split.attributes]
    return found


def in_another_process(call: Any) -> None:
    """Runs something in a fork, which remembers nothing of this process's."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            call()
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise Wrong("another process reads other images")


def damage(cache: Path, rng: random.Random) -> None:
    """Changes a file of the cache in its place."""
    files = sorted(path for path in cache.rglob("*") if path.is_file())
    path, kind = rng.choice(files), rng.random()
    if kind < 0.1:
        path.unlink()
    elif kind < 0.2:
        others = [other for other in files if other.name == path.name and other != path]
        swap(path, rng.choice(others or files))
    elif kind < 0.25:
        shutil.rmtree(path.parent)
    elif kind < 0.3:
        swap_folders(path.parent, rng.choice([p for p in path.parent.parent.iterdir()]))
    elif kind < 0.35:
        path.unlink()
        path.mkdir()
    elif kind < 0.6 and path.suffix == ".json":
        change_json(path, rng)
    elif kind < 0.7:
        path.write_bytes(zeroed(path.read_bytes(), rng))
    else:
        path.write_bytes(mutated(path.read_bytes(), rng))


def swap(first: Path, second: Path) -> None:
    """Two files in each other's place."""
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


def swap_folders(first: Path, second: Path) -> None:
    """Two splits in each other's place."""
    if first != second:
        aside = first.with_name("aside")
        first.rename(aside)
        second.rename(first)
        aside.rename(second)


def change_json(path: Path, rng: random.Random) -> None:
    """A value is another, or gone."""
    content = json.loads(path.read_text())
    found = places(content)
    holder, key = rng.choice(found) if found else (None, None)
    if holder is None:
        content = rng.choice(VALUES)
    elif rng.random() < 0.3:
        del holder[key]
    else:
        holder[key] = rng.choice(VALUES)
    path.write_text(json.dumps(content))
