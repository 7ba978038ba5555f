"""Builds the cache of many images, with a pause before each: `slow_build.py FOLDER SECONDS`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from tests.support.cached import Numbered

if __name__ == "__main__":
    folder, pause = Path(sys.argv[1]), float(sys.argv[2])
    data = Numbered(folder, count=2000)
    quick = data.read

    def read(item: int) -> np.ndarray:
        time.sleep(pause)
        return quick(item)

    data.read = read  # type: ignore[method-assign]
    print("started", flush=True)
    print(len(data.split("train")), int(data.split("train").images[5].max()), flush=True)
