"""Attributes as inputs of networks: one-hot classes, and standardised numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pyrovae.utils.errors import InputError
from pyrovae.utils.log import warn
from pyrovae.utils.text import cut, listed

__all__ = ["Features", "one_hot"]

#: Whole numbers with at most this many values are classes.
CLASSES = 20


class Features(nn.Module):
    r"""Attributes as inputs of networks: one-hot classes, and standardised numbers.

    Args:
        attributes: the names of the A attributes.
        num_classes: the number of classes of each attribute that is a label; the others are
            numbers.

    Raises:
        InputError: if no attribute is given, or a class is not one of the attributes.

    Example:
        >>> features = Features(["label", "age"], {"label": 3})
        >>> features(torch.tensor([[2.0, 0.5]]))
        tensor([[0.0000, 0.0000, 1.0000, 0.5000]])
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, attributes: Sequence[str], num_classes: Mapping[str, int]) -> None:
        super().__init__()
        if not attributes:
            raise InputError("--program.attributes: names no attribute; a VAE needs none")
        if repeated := [name for name in attributes if list(attributes).count(name) > 1]:
            raise InputError(f"--program.attributes: names {repeated[0]} twice")
        for name, classes in num_classes.items():
            if name not in attributes or classes < 2:
                raise InputError(
                    f"--program.num_classes {name}={classes}: allowed are 2 or more classes of "
                    f"one of the attributes {', '.join(attributes)}"
                )
        self.attributes = tuple(attributes)
        self.num_classes = tuple(num_classes.get(name, 0) for name in attributes)
        self.register_buffer("loc", torch.zeros(len(attributes)))
        self.register_buffer("scale", torch.ones(len(attributes)))

    @property
    def size(self) -> int:
        """The number of features F."""
        return sum(max(1, classes) for classes in self.num_classes)

    def check(
        self, values: np.ndarray, value_names: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Checks that the attributes of the training images can be inputs of a new run.

        A warning names the classes of which there is no training image.

        Args:
            values: the attributes of the training images, `(N, A)`.
            value_names: by attribute that is a class, the names of its classes.

        Raises:
            InputError: if an attribute has one value only, is a label whose number of classes is
                not known or not that of its names, or has values outside of its classes.
        """
        known = dict(zip(self.attributes, self.num_classes, strict=True))
        labels = {}
        for (name, classes), column in zip(known.items(), values.T, strict=True):
            own, names = np.unique(column), (value_names or {}).get(name, ())
            _check_classes(name, classes, own, names)
            labels[name] = classes or _label_classes(own, names)
        _check_labels(known, labels)
        for (name, classes), column in zip(known.items(), values.T, strict=True):
            _warn_of_unseen(name, classes, column, (value_names or {}).get(name, ()))

    def learn(self, values: np.ndarray) -> None:
        """Takes mean and standard deviation of the numbers of the training images, `(N, A)`."""
        numbers = torch.tensor([classes == 0 for classes in self.num_classes])
        loc, scale = (
            torch.from_numpy(own).to(self.loc) for own in (values.mean(0), values.std(0))
        )
        numbers = numbers.to(self.loc.device)
        self.loc.copy_(torch.where(numbers, loc, 0.0))
        self.scale.copy_(torch.where(numbers & (scale > 0), scale, 1.0))

    def forward(self, attributes: Tensor) -> Tensor:
        """Attributes `(*, A)` to features `(*, F)`."""
        values = (attributes - self.loc) / self.scale
        columns = [
            one_hot(column, classes) if classes else column[..., None]
            for column, classes in zip(values.unbind(-1), self.num_classes, strict=True)
        ]
        return torch.cat(columns, -1)


def _check_classes(name: str, classes: int, values: np.ndarray, names: Sequence[str]) -> None:
    """Raises `InputError` if the sorted values of an attribute cannot be its input."""
    if len(values) == 1:
        only = names[int(values[0])] if names else f"{values[0]:g}"
        raise InputError(
            f"{name} is {cut(only)} for all training images, so it gives no information about an "
            "image: leave it out of --program.attributes"
        )
    whole = bool((values == values.round()).all())
    if classes and not (whole and values.min() >= 0 and values.max() < classes):
        raise InputError(
            f"{name}: values from {values.min():g} to {values.max():g}, allowed are the classes 0 "
            f"to {classes - 1}"
        )
    if classes and names and classes != len(names):
        raise InputError(
            f"--program.num_classes {name}={classes}: {name} has {len(names)} classes, "
            f"{cut(listed(names))}"
        )


def _warn_of_unseen(name: str, classes: int, column: np.ndarray, names: Sequence[str]) -> None:
    unseen = [names[k] if names else str(k) for k in range(classes) if k not in column]
    if unseen:
        these = "this class" if len(unseen) == 1 else "these classes"
        warn(f"{name}: no training image is of {listed(unseen)}: nothing is learned about {these}")


def _label_classes(values: np.ndarray, names: Sequence[str]) -> int:
    """The number of classes of a label, by its names or its sorted values; 0 for a number."""
    if len(names) >= 3:
        return len(names)
    whole = bool((values == values.round()).all())
    label = whole and 3 <= len(values) <= CLASSES and values.min() == 0
    return int(values.max()) + 1 if label else 0


def _check_labels(given: Mapping[str, int], labels: Mapping[str, int]) -> None:
    """Raises `InputError` if labels would count as numbers, with the option for all labels."""
    missed = [
        f"{name} is a label with {count} classes"
        for name, count in labels.items()
        if count and not given[name]
    ]
    if missed:
        option = ", ".join(f"{name}: {count}" for name, count in labels.items() if count)
        raise InputError(f"{', '.join(missed)}: set --program.num_classes '{{{option}}}'")


def one_hot(column: Tensor, classes: int) -> Tensor:
    """Classes `(*)` as one-hot vectors `(*, K)`; zeros for a value that is not a class."""
    known = torch.arange(classes, device=column.device, dtype=column.dtype)
    return (column[..., None] == known).to(column.dtype)
