"""Numbers with their standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

__all__ = ["Estimate"]


@dataclass(frozen=True)
class Estimate:
    """A number, and how far it may be off.

    Attributes:
        value: the number.
        error: its standard error; None where it is no mean, or exact.
    """

    value: float
    error: float | None = None

    @classmethod
    def of(cls, values: Tensor | np.ndarray) -> Estimate:
        """The mean of independent values, with its standard error.

        Example:
            >>> Estimate.of(np.array([1.0, 3.0]))
            Estimate(value=2.0, error=1.0)
        """
        found = np.asarray(values, float)
        error = found.std(ddof=1) / math.sqrt(len(found)) if len(found) > 1 else math.nan
        return cls(float(found.mean()), float(error))
