"""Processes that are killed at any moment: the next start comes to what an unbroken one does."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.fuzzing.base import Campaign, Wrong, changed, check_nothing_left, command, contents
from tests.fuzzing.runs import SCORED, check_results, note_truth, succeed
from tests.support.commands import TINY

NUM_FILES = 60


class Kills(Campaign):
    name, count, quick = "kills", 200, 2

    def prepare(self, shared: Path) -> None:
        for i in range(NUM_FILES):
            path = shared / "images" / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(noise(i)).save(path)
        seconds = {}
        for name, (folder, arguments) in commands(shared, shared).items():
            if name == "evaluate":
                shutil.copytree(shared / "train" / "run", folder / "run")
            os.environ["PYROVAE_CACHE"] = str(folder / "cache")
            started = time.monotonic()
            succeed(name, *arguments)
            seconds[name] = time.monotonic() - started
        note_truth(shared / "train" / "run", shared / "truth.json")
        (shared / "seconds.json").write_text(json.dumps(seconds))

    def attempt(self, shared: Path, folder: Path, rng: random.Random) -> None:
        name = rng.choice(("train", "train", "prepare_data", "evaluate"))
        seconds = json.loads((shared / "seconds.json").read_text())[name]
        place, arguments = commands(folder, shared)[name]
        if name == "evaluate":
            shutil.copytree(shared / "train" / "run", place / "run")
        for _ in range(rng.choice((1, 1, 2, 3))):
            kill(name, arguments, rng.uniform(0, 1.1 * seconds))
        succeed(name, *arguments)
        if name == "train":
            check_results(place / "run", json.loads((shared / "truth.json").read_text()))
            succeed(name, *arguments)  # And there is nothing left to do.
        elif name == "evaluate":
            check_same(shared / "evaluate" / "run", place / "run")
        else:
            check_prepared(shared, place)
        check_nothing_left(folder)


def noise(seed: int) -> np.ndarray:
    """An image."""
    return np.random.default_rng(seed).integers(0, 256, (90, 90, 3)).astype(np.uint8)


def commands(folder: Path, shared: Path) -> dict[str, tuple[Path, list[str]]]:
    """Commands that are killed, and where each writes."""
    for name in ("train", "prepare_data", "evaluate"):
        (folder / name).mkdir(exist_ok=True)
    images = [f"--data.root={shared / 'images'}", "--data.image_size=16"]
    cache = f"--data.cache_dir={folder / 'prepare_data' / 'cache'}"
    return {
        "train": (
            folder / "train",
            [
                *TINY,
                f"--run_dir={folder / 'train' / 'run'}",
                "--resume=auto",
                "--trainer.epochs=3",
            ],
        ),
        "prepare_data": (folder / "prepare_data", ["--data=ImageFolder", *images, cache]),
        "evaluate": (folder / "evaluate", [str(folder / "evaluate" / "run"), *SCORED]),
    }


def kill(name: str, arguments: list[str], after: float) -> None:
    """Starts a command, and ends it by SIGKILL after some seconds, unless it has ended."""
    pid = os.fork()
    if not pid:
        try:
            command(name, *arguments)
        finally:
            os._exit(0)
    until = time.monotonic() + after
    while time.monotonic() < until and not os.waitid(
        os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT
    ):
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def check_same(truth: Path, run: Path) -> None:
    """Raises `Wrong` if the files of two runs are not the same."""
    if wrong := changed(contents(truth), contents(run)):
        raise Wrong(f"other {wrong}")


def check_prepared(shared: Path, place: Path) -> None:
    """Raises `Wrong` if the prepared images are not those of the unbroken run."""
    whole: Any = sorted((shared / "prepare_data" / "cache").rglob("*.npy"))
    for path in whole:
        own = place / path.relative_to(shared / "prepare_data")
        if not own.exists() or own.read_bytes() != path.read_bytes():
            raise Wrong(f"other {own}")
