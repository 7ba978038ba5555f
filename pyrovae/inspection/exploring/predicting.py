"""Attributes that are predicted from any point of the latent space, with their errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyrovae.inspection.attributes import attribute_table, directions, reach
from pyrovae.inspection.probing import FEWEST, enough, held_out_predictions, ridge
from pyrovae.inspection.subject import Subject
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas

__all__ = ["Predictions"]


@dataclass(frozen=True)
class Predictions:
    """Linear predictions of attributes from points of the latent space.

    Attributes:
        table: the attributes that can be predicted, a column each, a row per image.
        codes: posterior means of the same images over the `columns` of the subject, `(N, C)`.
        slopes: the change of each prediction per dimension, `(A, D)`; 0 for other dimensions.
        at_zero: each prediction at z = 0, `(A,)`.
        errors: root mean squares of the errors on held-out images, `(A,)`.
        moves: half the way between images at both ends of each attribute's range, `(A, D)`.
        ends: the range of each attribute, see `reach`.
        left_out: the reason for each attribute that cannot be predicted.
        groups: the group of each image, `(N,)`; None if each image is one.
    """

    table: pandas.DataFrame
    codes: np.ndarray
    slopes: np.ndarray
    at_zero: np.ndarray
    errors: np.ndarray
    moves: np.ndarray
    ends: pandas.DataFrame
    left_out: dict[str, str]
    groups: np.ndarray | None = None

    @classmethod
    def of(cls, subject: Subject) -> Predictions:
        r"""Fits a ridge regression of each attribute on the posterior means of the split.

        Its error is the root mean square over images that the regression was not fitted to, in
        five folds:

        $$\sqrt{\frac{1}{N} \sum_n (a_n - \hat a_n)^2}$$

        It is the error for encodings of images like those of the split, not for points far from
        them. Discrete sites do not count: their means are probabilities, and a point has one of
        their values.

        A move is $\tfrac{1}{2} (a^{\text{high}} - a^{\text{low}}) \, v$ with the direction v of
        `directions`, as in `edited`.

        Args:
            subject: what is inspected. Images with an unknown attribute do not count.

        Raises:
            InputError: if the images have no attributes, or there are fewer than 20.
        """
        rows = subject.informed_rows()
        if len(rows) < FEWEST:
            raise InputError(f"{len(rows)} images: predictions need at least {FEWEST}")
        split = subject.split.take(rows)
        whole = attribute_table(split, subject.known_attributes)
        names, left_out = enough(whole, split.groups)
        table, codes = whole[names], subject.encoded.loc[rows][:, subject.columns]
        if not names:
            listed = "; ".join(f"{name}: {why}" for name, why in left_out.items())
            raise InputError(f"no attribute can be predicted ({listed})")
        values = table.to_numpy(float)
        wide = np.eye(subject.space.size)[:, subject.columns]
        points = np.concatenate([np.zeros((1, codes.shape[1])), wide])
        zero, *units = ridge(codes, values, points, split.groups)  # The regression is affine.
        found = held_out_predictions(codes, values, seed=subject.seed, groups=split.groups)
        errors = np.sqrt(np.square(found - values).mean(0))
        slopes, arrows, ends = (np.array(units) - zero).T, directions(codes, table), reach(table)
        half = (ends["high"] - ends["low"]).to_numpy(float) / 2
        moves = half[:, None] * (arrows.to_numpy(float) @ wide.T)
        return cls(table, codes, slopes, zero, errors, moves, ends, left_out, split.groups)

    def at(self, z: np.ndarray) -> np.ndarray:
        """The predictions at points `(M, D)`: `(M, A)`."""
        return z @ self.slopes.T + self.at_zero
