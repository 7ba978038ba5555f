"""A fixed random division of images into splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from pyrovae.data.base import SPLITS
from pyrovae.utils.errors import InputError
from pyrovae.utils.log import warn

__all__ = ["Places", "check_fractions", "divide", "places"]

#: For each split, the given split that holds its images, and their rows; None for all rows.
Places = dict[str, tuple[str, np.ndarray | None]]


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Raises `InputError` unless the shares leave images for training."""
    if min(val_fraction, test_fraction) < 0 or not val_fraction + test_fraction < 1:
        fractions = f"val_fraction {val_fraction}, test_fraction {test_fraction}"
        raise InputError(f"{fractions}: allowed are shares from 0 that add up to less than 1")


def divide(
    count: int,
    shares: Mapping[str, float],
    seed: int,
    labels: np.ndarray | None = None,
    what: str = "images",
) -> dict[str, np.ndarray]:
    """Divides images at random into the training split and others.

    Each of the others gets its share of every label, rounded up or down. A split whose share is
    above 0 gets at least one image. A change of a share leaves the splits before it.

    Args:
        count: the number of images.
        shares: the shares of the other splits, by name.
        seed: seed of the order.
        labels: one number per image, to stratify by.
        what: what is divided, for the error.

    Returns:
        The sorted indices of each split, with `"train"`.

    Raises:
        InputError: if there are too few images for one in each split.

    Example:
        >>> {name: len(rows) for name, rows in divide(20, {"test": 0.1, "val": 0.01}, 0).items()}
        {'test': 2, 'val': 1, 'train': 17}
    """
    wanted = {name: share for name, share in shares.items() if share > 0}
    if count <= len(wanted):
        names = ", ".join(["train", *wanted])
        raise InputError(f"{count} {what} are too few for one in each split of {names}")
    rest = np.random.default_rng(seed).permutation(count)
    if labels is not None:
        rest = rest[np.argsort(labels[rest], kind="stable")]
    parts: dict[str, np.ndarray] = {name: rest[:0] for name in shares}
    for left, (name, share) in zip(range(len(wanted), 0, -1), wanted.items(), strict=True):
        number = min(max(1, round(count * share)), len(rest) - left)
        # Evenly spaced in the order of the labels.
        places = ((np.arange(number) + 0.5) * len(rest) / number).astype(int)
        parts[name], rest = np.sort(rest[places]), np.delete(rest, places)
    return parts | {"train": np.sort(rest)}


def divide_groups(
    groups: np.ndarray, shares: Mapping[str, float], seed: int
) -> dict[str, np.ndarray]:
    """Divides groups at random as `divide` does images: the images of one stay together.

    Args:
        groups: the number of the group of each image: 0, 1, ...
        shares: the shares of the other splits, of the groups.
        seed: seed of the order.

    Example:
        >>> parts = divide_groups(np.arange(60) // 3, {"test": 0.1}, 0)
        >>> len(parts["test"]), set(parts["test"] // 3) & set(parts["train"] // 3)
        (6, set())
    """
    parts = divide(int(groups.max()) + 1, shares, seed, what="groups")
    return {name: np.flatnonzero(np.isin(groups, own)) for name, own in parts.items()}


def warn_of_shares(counts: Mapping[str, int], shares: Mapping[str, float]) -> None:
    """Warns of a split that is half or twice as large as its share, since groups are large.

    Args:
        counts: the number of images of each split, with `"train"`.
        shares: the shares that the other splits should have of these images.
    """
    total = sum(counts.values())
    for name, share in shares.items():
        if share and not share / 2 < counts[name] / total < 2 * share:
            warn(
                f"the split {name} has {100 * counts[name] / total:.0f}% of the images, where its "
                f"share is {100 * share:.0f}%: groups stay together, and they are few or of "
                "unequal sizes"
            )


def places(
    sizes: Mapping[str, int],
    shares: Mapping[str, float],
    seed: int,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Places:
    """Takes the splits that are not given from the training images.

    Args:
        sizes: the number of images of each given split, with `"train"`.
        shares: the shares of the other splits, used for those that are not given.
        seed: seed of the division.
        labels: one number per training image, to stratify by.
        groups: the number of the group of each training image, which stays in one split. Then
            labels are not used.
    """
    missing = {name: share for name, share in shares.items() if name not in sizes}
    found: Places = {name: ("train", np.arange(0)) for name in SPLITS}
    found |= {name: (name, None) for name in sizes}
    if any(missing.values()):
        if groups is None:
            rows = divide(sizes["train"], missing, seed, labels)
        else:
            rows = divide_groups(groups, missing, seed)
            warn_of_shares({name: len(own) for name, own in rows.items()}, missing)
        found |= {name: ("train", own) for name, own in rows.items()}
    return found


def check_splits(given: Iterable[str], what: str) -> None:
    """Raises `InputError` unless these are splits with a training split."""
    if not set(given) <= set(SPLITS) or "train" not in given:
        raise InputError(
            f"{what} of {', '.join(map(str, given))}: allowed are train, and possibly val and test"
        )
