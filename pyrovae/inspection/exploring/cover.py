"""How well the aggregate posterior covers a point of the latent space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyrovae.data.rows import spread_rows
from pyrovae.inspection.holes import LEAST, nearest_posteriors, place_of, usual_level
from pyrovae.posterior.encoding import Encoding
from pyrovae.utils.errors import InputError

__all__ = ["Cover"]

#: Posteriors that cover, and held-out encodings that they are compared with, at most.
MOST = 2000


@dataclass(frozen=True)
class Cover:
    """The posteriors of every second image or group, and the encodings of the others, held out.

    A point is covered as well as its distance to the nearest posterior is small, in standard
    deviations of that posterior: the second criterion of `find_holes`, with its threshold. Only
    active units count. Held-out draws have noise in every other dimension, and a point that is
    no draw has none: its distance would be small wherever it is.

    Attributes:
        rows: the indices of the N images whose posteriors cover.
        parts: the part of each image of the split: its group, or itself.
        columns: the indices of the D active units of continuous sites; if no unit is active, of
            all dimensions of these sites.
        loc: the means of these posteriors, `(N, D)`.
        scale: their standard deviations, `(N, D)`.
        held_out: the distance of one draw of the guide per held-out image, in rising order.
    """

    rows: np.ndarray
    parts: np.ndarray
    columns: np.ndarray
    loc: np.ndarray
    scale: np.ndarray
    held_out: np.ndarray

    @classmethod
    def of(cls, encoded: Encoding, groups: np.ndarray | None = None) -> Cover:
        """The cover of the encodings of a split.

        Args:
            encoded: the encodings.
            groups: the group of each image, such as a patient, which is in one half; by default,
                and if there is one group, each image is one.

        Raises:
            InputError: for fewer than two images.
        """
        count = len(encoded)
        if count < 2:
            raise InputError(f"{count} image: the cover needs at least 2, half of them held out")
        part = np.arange(count)
        if groups is not None and len(np.unique(groups)) > 1:
            part = np.unique(groups, return_inverse=True)[1]
        used, kept = (np.flatnonzero(part % 2 == side) for side in (0, 1))
        used, kept = used[spread_rows(len(used), MOST)], kept[spread_rows(len(kept), MOST)]
        real = ~encoded.discrete
        active = encoded.active & real
        columns = np.flatnonzero(active if active.any() else real)
        encoded = encoded.only(columns)
        loc, scale = encoded.loc[used], encoded.scale[used]
        distances = nearest_posteriors(encoded.draws[kept], loc, scale)
        return cls(used, part, columns, loc, scale, np.sort(distances))

    @property
    def enough(self) -> bool:
        """Whether there are enough images for the threshold of `find_holes`."""
        return len(self.rows) + len(self.held_out) >= LEAST

    @property
    def level(self) -> float:
        """The share of held-out encodings from the threshold on; 0 with too few images."""
        count = len(self.held_out)
        return place_of(usual_level(count), count) / count if self.enough else 0.0

    def shares(self, z: np.ndarray, without: Sequence[int] = ()) -> np.ndarray:
        """The share of held-out encodings that are as far from the posteriors or farther.

        For a draw from the posterior of a new image like those of the split it is uniform on
        [0, 1], up to steps of one image. A posterior mean is closer, so its share is larger. For
        points that belong to images of the split this holds only without these images.

        Args:
            z: points over the dimensions of all sites, `(M, *)`.
            without: indices of images whose posteriors, and those of their groups, do not count.

        Returns:
            `(M,)`; 1 is covered best.
        """
        others = ~np.isin(self.parts[self.rows], self.parts[list(without)])
        if not others.any():
            return np.full(len(z), np.nan)
        points = z[:, self.columns]
        distances = nearest_posteriors(points, self.loc[others], self.scale[others])
        count = len(self.held_out)
        return (count - np.searchsorted(self.held_out, distances, side="left")) / count

    def is_thin(self, shares: np.ndarray) -> np.ndarray:
        """Whether points of these shares are beyond the threshold; False with too few images."""
        return shares < self.level
