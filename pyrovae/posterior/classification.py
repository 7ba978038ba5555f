"""How well the guide classifies the images of a split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Split
from pyrovae.data.rows import one_per_group
from pyrovae.engine import Engine
from pyrovae.posterior.passes import each_batch, seed_of
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.statistics import error_of_mean

__all__ = ["Classified", "bins_of", "calibration_error", "classify"]

#: Bins of the confidence, of equal width.
BINS = 15
#: Observations of an image over which predictions are averaged.
DRAWS = 10
#: Simulated outcomes for the calibration error that noise alone gives.
SIMULATED = 100


@dataclass(frozen=True)
class Classified:
    """The predictions of the N images of a split whose class is known.

    Attributes:
        label: the attribute.
        probabilities: of the classes 0 to K - 1, `(N, K)`.
        truth: the classes, `(N,)`, integers; one that is not below K has the probability 0.
        rows: the positions of the images in the split, `(N,)`.
        groups: the group of each image, such as a patient, `(N,)`; None if each is one.
    """

    label: str
    probabilities: np.ndarray
    truth: np.ndarray
    rows: np.ndarray
    groups: np.ndarray | None = None

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class, `(N,)`."""
        return self.probabilities.argmax(1)

    @property
    def correct(self) -> np.ndarray:
        """Whether the most probable class is the true one, `(N,)`."""
        return self.predicted == self.truth

    @property
    def confidence(self) -> np.ndarray:
        """The probability of the most probable class, `(N,)`."""
        return self.probabilities.max(1)

    @property
    def log_loss(self) -> np.ndarray:
        """Minus the log probability of the true class, `(N,)`, in nats."""
        known = np.pad(self.probabilities, ((0, 0), (0, 1)))  # 0 for a class that is not below K.
        own = known[np.arange(len(self.truth)), np.minimum(self.truth, known.shape[1] - 1)]
        return -np.log(np.maximum(own, 1e-12))

    @property
    def chance(self) -> float:
        """The share of the most frequent class."""
        return float(np.bincount(self.truth).max() / len(self.truth))

    def __str__(self) -> str:
        """The error with its standard error, and what always answering one class gives.

        Without a mistake the standard error is 0, so there is a bound instead: the error of which
        no mistake has a probability of 5%.
        """
        wrong, error = 1 - self.correct.mean(), error_of_mean(self.correct, self.groups)
        known = "" if math.isnan(error) else f" ± {100 * error:.2f}"
        bound = ""
        if wrong == 0:
            most = 1 - 0.05 ** (1 / len(self.independent().truth))
            known, bound = "", f"at most {100 * most:.2g}% with 95% confidence; "
        return (
            f"error {100 * wrong:.2f}{known}% on {len(self.correct):,} images "
            f"({bound}always the most frequent class: {100 * (1 - self.chance):.2f}%)"
        )

    def numbers(self) -> dict[str, float]:
        """Accuracy, log loss and calibration error."""
        return {
            "accuracy": float(self.correct.mean()),
            "log_loss": float(self.log_loss.mean()),
            "calibration_error": calibration_error(self.confidence, self.correct),
        }

    def independent(self) -> Classified:
        """One image of each group, drawn from a fixed seed; all images without groups."""
        if self.groups is None:
            return self
        some = one_per_group(self.groups)
        named = ("probabilities", "truth", "rows", "groups")
        return replace(self, **{name: getattr(self, name)[some] for name in named})

    def noise(self, seed: int = 0) -> np.ndarray:
        """Calibration errors of calibrated predictions with these confidences, in 100 draws.

        The images count as independent: see `independent`.
        """
        random = np.random.default_rng(seed)
        drawn = (random.random(len(self.confidence)) < self.confidence for _ in range(SIMULATED))
        return np.array([calibration_error(self.confidence, own) for own in drawn])


def bins_of(confidence: np.ndarray) -> np.ndarray:
    """The bin, from 0 to 14, of each confidence, `(N,)`."""
    return np.minimum((confidence * BINS).astype(int), BINS - 1)


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    r"""The expected calibration error, over 15 bins of the confidence.

    $$\sum_{b} \frac{N_b}{N} \left|\text{accuracy}_b - \overline{\text{confidence}}_b\right|$$

    Args:
        confidence: probabilities of the predicted classes, `(N,)`.
        correct: whether the predictions are right, `(N,)`.

    References:
        On Calibration of Modern Neural Networks (Guo et al., 2017, equation 3),
        https://arxiv.org/abs/1706.04599

    Example:
        >>> calibration_error(np.array([0.75, 0.75, 1.0]), np.array([True, False, True]))
        0.16666666666666666
    """
    gaps = np.bincount(bins_of(confidence), correct.astype(float) - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def classify(
    programs: ModelGuidePair, split: Split, engine: Engine, *, seed: int = 0, draws: int = DRAWS
) -> Classified | None:
    r"""The predictions of a split; None if programs predict no attribute that is known here.

    The class of an image is predicted from its grey values. If observations have noise, such as
    dequantisation or binarisation, predictions are averaged over it:

    $$q(y \mid \text{image}) = \mathbb{E}_{x \sim \text{observations of the image}}\, q(y \mid x)$$

    Args:
        programs: the pair of programs, on the engine's device.
        split: the images.
        engine: the device and the precision.
        seed: seed of the noise of the observations, as in `evaluate`.
        draws: observations per image; observations without noise are encoded twice at most.
    """
    names = [name for name in programs.optional if name in split.attribute_names]
    if not names:
        return None
    truth = split.attributes[:, split.places(names[:1])[0]]
    known = np.flatnonzero(truth >= 0)  # NaN is unknown too.
    if not len(known):
        return None
    seeds = [seed, *(seed_of(seed, draw) for draw in range(1, draws))]
    found = _predictions(programs, split, engine, names[0], seeds)
    if found is None:
        return None
    groups = None if split.groups is None else split.groups[known]
    return Classified(names[0], found[known], truth[known].astype(int), known, groups)


def _predictions(
    programs: ModelGuidePair, split: Split, engine: Engine, label: str, seeds: Sequence[int]
) -> np.ndarray | None:
    """The mean probabilities of the classes, `(N, K)`; None if there are none."""

    def predicted(x: Tensor, **_: Tensor) -> Tensor | None:
        return programs.class_probabilities(x).get(label)

    passes: list[Tensor] = []
    for seed in seeds:
        batches = list(each_batch(programs, split, engine, predicted, seed=seed))
        if any(batch is None for batch in batches):
            return None
        passes.append(torch.cat([batch.cpu().double() for batch in batches]))
        if len(passes) == 2 and torch.equal(*passes):
            break  # There is no noise.
    return torch.stack(passes).mean(0).numpy()
