"""Estimates with standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pyrovae.utils.statistics import error_of_mean

__all__ = ["LEAST", "SURE", "Estimate"]

#: Standard errors that a measurement must be away from its healthy value: one false alarm in a
#: thousand for each measurement.
SURE = 3.3
#: Costs below this many nats per image are not reported: one nat is below the noise of a test
#: split of some hundred images, and nobody sees it in a sample.
LEAST = 2.0


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error.

    Attributes:
        value: the number.
        error: its standard error; None if the number is exact or not a mean.
    """

    value: float
    error: float | None = None

    @classmethod
    def of(cls, values: Tensor | np.ndarray, groups: np.ndarray | None = None) -> Estimate:
        """The mean of values with its standard error, see `error_of_mean`.

        Args:
            values: one per image, `(N,)`.
            groups: the group of each value, such as a patient; by default each value is one.

        Example:
            >>> Estimate.of(np.array([1.0, 3.0]))
            Estimate(value=2.0, error=1.0)
        """
        found = np.asarray(values, float)
        return cls(float(found.mean()), error_of_mean(found, groups))

    def __format__(self, spec: str) -> str:
        """The number and its standard error, both in a format; no error if it is not known.

        Example:
            >>> f"{Estimate(1234.5, 2.25):,.1f}", f"{Estimate(3.0, math.nan):.1f}"
            ('1,234.5 ± 2.2', '3.0')
        """
        known = self.error is not None and not math.isnan(self.error)
        return f"{self.value:{spec}}" + (f" ± {self.error:{spec.lstrip('+')}}" if known else "")

    @property
    def sure(self) -> bool:
        """Whether the number is above `LEAST`, and above 0 beyond its standard error."""
        return self.value > LEAST and self.value > SURE * (self.error or 0.0)

    @classmethod
    def of_sum(
        cls,
        cheap: np.ndarray,
        costly: np.ndarray,
        rows: np.ndarray,
        groups: np.ndarray | None = None,
    ) -> Estimate:
        r"""The mean of a sum x + d whose second term is known for some images only.

        $$\bar x_N + \bar d_n, \quad
        \text{variance} = \frac{S_{x + d}^2}{N} + \Big(\frac{1}{n} - \frac{1}{N}\Big) S_d^2$$

        The first term of the variance is that of a mean over all N images; the second comes from
        the images without d. It is small if d varies little between images. With G groups, m of
        which have a d, it is

        $$\frac{1}{N^2} \sum_g \frac{G}{G - 1} a_g^2 + \frac{m}{m - 1} (2 a_g b_g + b_g^2)$$

        for the sums over a group of $a_i = x_i - \bar x_N$ and $b_i = (N / n) (d_i - \bar d_n)$.

        Args:
            cheap: x of all N images.
            costly: d of n images, which must represent all.
            rows: the indices of these n images.
            groups: the group of each of the N images, such as a patient.

        References:
            Sampling Techniques (Cochran, 1977, chapter 12: double sampling)

        Example:
            >>> Estimate.of_sum(np.array([1.0, 3.0]), np.array([0.5]), np.array([0])).value
            2.5
        """
        value = float(cheap.mean() + costly.mean())
        if len(rows) < 2:
            return cls(value, math.nan)
        if groups is not None:
            return cls(value, _grouped_error(cheap, costly, rows, groups))
        both = np.cov(cheap[rows], costly)
        total = max(0.0, cheap.var(ddof=1) + 2 * both[0, 1] + both[1, 1]) / len(cheap)
        rest = both[1, 1] * (1 / len(rows) - 1 / len(cheap))
        return cls(value, math.sqrt(total + rest))


def _grouped_error(
    cheap: np.ndarray, costly: np.ndarray, rows: np.ndarray, groups: np.ndarray
) -> float:
    """The error of `Estimate.of_sum` with groups; NaN if fewer than two have both terms."""
    places = np.unique(groups, return_inverse=True)[1]
    count, part = places.max() + 1, len(np.unique(places[rows]))
    if part < 2:
        return math.nan
    scale = len(cheap) / len(rows)
    a = np.bincount(places, cheap - cheap.mean(), count)
    b = np.bincount(places[rows], scale * (costly - costly.mean()), count)
    total = count / (count - 1) * (a @ a) + part / (part - 1) * ((2 * a + b) @ b)
    return math.sqrt(max(0.0, float(total))) / len(cheap)
