"""The base class of programs with a class per image, few of which are known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer import TraceEnum_ELBO
from torch import Tensor, nn

from pyrovae.data import ImageData, Split
from pyrovae.likelihoods import Likelihood
from pyrovae.programs.features import one_hot
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.programs.vae import built, check_latent_parts, check_spaces
from pyrovae.utils.errors import InputError

__all__ = ["FewLabels", "Labels", "given_classes"]

#: Each step sums over the classes of every image.
MOST_CLASSES = 256
#: The logit of the other classes of an image whose class is known. Their probability is 0 in
#: float32 and in float64, and 0 times the logit is finite.
IMPOSSIBLE = -1e4


@dataclass(frozen=True)
class Labels:
    """The labels of the training images that are used.

    Attributes:
        num_classes: K, from 2 to 256.
        label: the attribute of the data that holds the class 0, 1, ...; NaN or a negative number
            where it is unknown.
        num_labels: the number of images whose label is used, as equal as possible per class;
            None uses all known labels.
        label_seed: seed of the choice of these images.
        labelled_share: the share of images with a label in an epoch, below 1, up to rounding;
            larger if a larger share of the images has one.

    Raises:
        InputError: if a number is not allowed.
    """

    num_classes: int
    label: str
    num_labels: int | None
    label_seed: int
    labelled_share: float

    def __post_init__(self) -> None:
        classes, number, share = self.num_classes, self.num_labels, self.labelled_share
        check_number(
            "num_classes",
            classes,
            2 <= classes <= MOST_CLASSES,
            f"2 to {MOST_CLASSES}, since each step sums over the classes of every image",
        )
        enough = number is None or number >= classes
        check_number("num_labels", number, enough, f"{classes} or more, one per class")
        check_number("labelled_share", share, 0 <= share < 1, "0 or more and below 1")

    def of(self, split: Split) -> np.ndarray:
        """The labels of the images that are used, `(N,)`; -1 elsewhere.

        Raises:
            InputError: if the images lack the attribute, a value is not a class, or there are too
                few labels.
        """
        try:
            (place,) = split.places([self.label])
        except InputError as error:
            raise InputError(f"--program.label: {error}") from None
        values = split.attributes[:, place]
        labels = np.where(np.isnan(values), -1, values).astype(np.float32)
        found = labels[labels >= 0]
        if not len(found) or found.max() >= self.num_classes or (found % 1).any():
            got = f"from {found.min():g} to {found.max():g}" if len(found) else "none"
            raise InputError(
                f"{self.label}: known values are {got}, allowed are the classes 0 to "
                f"{self.num_classes - 1} (--program.num_classes)"
            )
        return labels if self.num_labels is None else self._some(labels, self.num_labels)

    def check_differ(self, split: Split) -> None:
        """Raises `InputError` if all known labels of a split are of one class."""
        values = split.attributes[:, split.places([self.label])[0]]
        found = np.unique(values[values >= 0])
        if len(found) == 1:
            negative = " (a negative number means unknown)" if (values < 0).any() else ""
            raise InputError(
                f"{self.label}: all known labels are of class {found[0]:g}{negative}; labels of "
                f"at least two of the classes 0 to {self.num_classes - 1} are needed"
            )

    def _some(self, labels: np.ndarray, number: int) -> np.ndarray:
        random, used = np.random.default_rng(self.label_seed), np.full_like(labels, -1)
        for own in range(self.num_classes):
            rows = random.permutation(np.flatnonzero(labels == own))
            wanted = (number + self.num_classes - 1 - own) // self.num_classes
            if len(rows) < wanted:
                raise InputError(
                    f"--program.num_labels {number}: needs {wanted} labels of class {own}, known "
                    f"are {len(rows)}"
                )
            used[rows[:wanted]] = own
        return used

    def rows(self, labels: np.ndarray) -> np.ndarray:
        """The rows of an epoch: each image once, and images with a label until their share."""
        rows, used = np.arange(len(labels)), np.flatnonzero(labels >= 0)
        share = self.labelled_share
        times = round(share / (1 - share) * (len(rows) - len(used)) / len(used))
        return np.concatenate([rows, np.repeat(used, max(0, times - 1))])


class FewLabels(ModelGuidePair, ABC):
    """Programs with a class per image, which is known for a part of the training images.

    Both programs take `labels=`, classes `(B,)`; any other value, such as -1 or NaN, means
    unknown. The class is the site `y`, one-hot, which the guide enumerates.

    Args:
        model: the generative program, with a `prior`.
        guide: the inference program, with a `posterior`.
        likelihood: p(x given the decoder's output).
        networks: the modules that can compute in a lower precision.
        labels: the labels that are used.

    Raises:
        ValueError: if prior and posterior do not fit each other.
    """

    def __init__(
        self,
        model: Any,
        guide: Any,
        likelihood: Likelihood,
        networks: Iterable[nn.Module],
        labels: Labels,
    ) -> None:
        check_latent_parts(model.prior, likelihood, guide.posterior)
        super().__init__(model, guide, likelihood, networks)
        model.prior.use_guide(guide)
        check_spaces(model.prior, guide.posterior)
        self.labels, self.optional = labels, (labels.label,)

    @classmethod
    def for_images(
        cls, data: ImageData | Any, latent_dim: int = 20, *, num_classes: int, **arguments: Any
    ) -> FewLabels:
        """Builds programs with sizes that fit a data set.

        Args:
            data: the images, with labels.
            latent_dim: D, the number of latent dimensions.
            num_classes: K.
            **arguments: prior, likelihood, posterior, encoder and decoder, as for
                `VAE.for_images`, and other arguments of the constructor.

        Raises:
            InputError: as the constructor does.
        """
        return built(cls, data, latent_dim, num_classes=num_classes, **arguments)

    @abstractmethod
    def class_logits(self, x: Tensor) -> Tensor:
        """The logits of q(y given x), `(B, K)`, for observations `(B, C, H, W)`."""

    def class_probabilities(self, x: Tensor) -> dict[str, Tensor]:
        """q(y given x) of observations `(B, C, H, W)`."""
        return {self.labels.label: self.class_logits(x).softmax(-1)}

    def inputs(self, attributes: Tensor | None) -> dict[str, Tensor]:
        """The labels, from attributes `(B, 1)`; nothing if there are none."""
        if attributes is None or not attributes.shape[-1]:
            return {}
        return {"labels": attributes[:, 0].to(self._like().device)}

    def check_inputs(self, split: Split) -> None:
        """Raises `InputError` if all known labels of the training images are of one class."""
        self.labels.check_differ(split)

    def training_rows(self, split: Split) -> tuple[Split, np.ndarray | None]:
        """The training split with the labels that are used, and the rows of an epoch."""
        used, names = self.labels.of(split), (self.labels.label,)
        seen = replace(split, attributes=used[:, None], attribute_names=names, value_names={})
        return seen, self.labels.rows(used)

    def check_objective(self, objective: Any) -> None:
        """Raises `InputError` unless the objective sums over the classes."""
        if not isinstance(objective, TraceEnum_ELBO):
            raise InputError(
                f"--objective: {type(objective).__name__} cannot sum over the classes; set "
                "--objective TraceEnum_ELBO"
            )
        if objective.max_plate_nesting < 1:  # It is infinite until it is known.
            raise InputError(
                f"--objective.max_plate_nesting {objective.max_plate_nesting}: allowed is 1 or "
                "more, for the plate of images"
            )

    def determined(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The one-hot classes of given labels."""
        if "labels" not in inputs:
            return {}
        labels, classes = inputs["labels"].to(self._like()), self.labels.num_classes
        known = one_hot(labels, classes)
        for value in labels[~known.bool().any(-1)].tolist():
            raise InputError(
                f"{self.labels.label} {value:g}: allowed are the classes 0 to {classes - 1}"
            )
        return {"y": known}


def given_classes(logits: Tensor, labels: Tensor | None, alpha: float) -> Tensor:
    """The logits `(B, K)` of the class, given the known ones.

    Adds the classification loss, `alpha` times the negative log probability of a known class.
    """
    if labels is None:
        return logits
    known = one_hot(labels.to(logits), logits.shape[-1])
    log_q = (known * logits.log_softmax(-1)).sum(-1)
    # The loss contains the log density of the guide, so the sign is that of a loss.
    pyro.factor("classification", -alpha * log_q, has_rsample=True)
    return torch.where(known.any(-1, keepdim=True), IMPOSSIBLE * (1 - known), logits)


def check_number(name: str, value: Any, right: bool, allowed: str) -> None:
    """Raises `InputError` if an argument of the program is not allowed."""
    if not right:
        raise InputError(f"--program.{name} {value}: allowed is {allowed}")
