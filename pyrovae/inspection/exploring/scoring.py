"""Log p(x) of single images, computed in pieces, and its rank among reference images."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from pyrovae.data import Split
from pyrovae.evaluation.evidence import summary, weights_of_images
from pyrovae.inspection.outliers import rank_among
from pyrovae.posterior.view import PosteriorView
from pyrovae.utils.lazy import pandas

__all__ = ["Evidences", "two_sided"]

COLUMNS = ["log_evidence", "error", "elbo", "ess", "k_hat"]


class Evidences:
    """Estimates of log p(x) of the images of a split, image by image; see `log_evidence`.

    The draws of an image depend only on the seed and on its index, so an estimate does not depend
    on which others were computed before.

    Args:
        view: the programs and the images.
        draws: importance draws per image.
    """

    def __init__(self, view: PosteriorView, draws: int) -> None:
        self.view, self.draws = view, draws
        self.table = pandas.DataFrame(np.nan, range(len(view.split)), COLUMNS)
        self._known = np.zeros(len(view.split), bool)
        # Random order: any part of the images represents all.
        self._order = np.random.default_rng(0).permutation(len(view.split))

    @property
    def split(self) -> Split:
        """The images."""
        return self.view.split

    @property
    def done(self) -> float:
        """The share of the images whose estimate is known."""
        return float(self._known.mean())

    @property
    def known(self) -> pandas.DataFrame:
        """The estimates that are known, by the index of the image."""
        return self.table[self._known]

    def of(self, row: int) -> pandas.Series:
        """The estimate of one image, the columns of `log_evidence`.

        All are NaN if the guide has no density.
        """
        if not self._known[row]:
            view, own = self.view, (self.view.programs, self.view.split, self.draws)
            how: dict[str, Any] = {"first": row, "rows": np.array([row])}
            try:
                passes = weights_of_images(*own, engine=view.engine, seed=view.seed, **how)
                self.table.loc[row] = summary(next(iter(passes))).iloc[0]
                self._known[row] = True
            except NotImplementedError:
                self._known[:] = True
        return self.table.loc[row]

    def work(self, seconds: float) -> None:
        """Computes more estimates until the time is over, at least one if any is missing."""
        end = time.monotonic() + seconds
        for row in self._order[~self._known[self._order]]:
            self.of(int(row))
            if time.monotonic() > end:
                return


def two_sided(value: float, reference: np.ndarray) -> float:
    r"""The p-value of a value that may be too low or too high.

    $$p = \min\left(1,\; 2 \min\left(
    \frac{1 + \#\{r \le v\}}{1 + N}, \frac{1 + \#\{r \ge v\}}{1 + N}\right)\right)$$

    For a value from the distribution of the reference, $P(p \le \alpha) \le \alpha$ for any N.

    Args:
        value: v.
        reference: `(N,)`.

    Example:
        >>> two_sided(10.0, np.arange(9.0)), two_sided(4.0, np.arange(9.0))
        (0.2, 1.0)
    """
    if not math.isfinite(value):
        return math.nan
    low, high = (rank_among(np.array([s * value]), s * reference)[1][0] for s in (1, -1))
    return float(min(1.0, 2 * min(low, high)))
