"""Real images, fewer than there are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path


def few_faces(celeba: Path, root: Path, training: int = 200, validation: int = 50) -> Path:
    """A folder that lists so many images of CelebA, and all of the test split.

    Args:
        celeba: CelebA in Kaggle's layout.
        root: the new folder, which refers to the same files.
        training: at most so many images of the training split.
        validation: at most so many of the validation split.
    """
    root.mkdir(parents=True)
    (root / "img_align_celeba").symlink_to(celeba / "img_align_celeba")
    left = Counter({"0": training, "1": validation, "2": 10**6})
    kept = []
    for line in (celeba / "list_eval_partition.csv").read_text().splitlines():
        name, part = line.split(",")
        left[part] -= 1
        if part == "partition" or left[part] >= 0:
            kept.append(name)
    for name in ("list_eval_partition.csv", "list_attr_celeba.csv"):
        lines = {line.split(",")[0]: line for line in (celeba / name).read_text().splitlines()}
        (root / name).write_text("\n".join(lines[image] for image in kept) + "\n")
    return root
