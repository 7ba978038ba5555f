"""Maps of encodings with a way back: from a place on the map to a point of the latent space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from pyrovae.data.rows import spread_rows
from pyrovae.evaluation.pairs import chunks, squared_distances
from pyrovae.inspection.maps import neighbour_map, principal_map
from pyrovae.inspection.sections.map import COMPONENT, trust_said, variance_said

__all__ = ["Ground", "LineGround", "NeighbourGround", "PrincipalGround", "principal_ground"]

#: Images that a map of neighbours is fitted to, and images of a trustworthiness, at most.
FITTED, TRUSTED = 1000, 1000
#: Neighbours whose values are averaged.
NEIGHBOURS = 8
#: The margin around the encodings, as a share of their range.
MARGIN = 0.08


@dataclass(frozen=True)
class Ground(ABC):
    """A two-dimensional map of encodings.

    Attributes:
        codes: posterior means, `(N, D)`.
        places: their places on the map, `(N, 2)`.
        says: what the map shows.
    """

    codes: np.ndarray
    places: np.ndarray
    says: str

    @abstractmethod
    def lift(self, places: np.ndarray) -> np.ndarray:
        """Points of the latent space `(M, D)` that belong to places `(M, 2)`."""

    @abstractmethod
    def place(self, codes: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """The places `(M, 2)` of posteriors with means and standard deviations `(M, D)`."""

    @property
    def corners(self) -> tuple[np.ndarray, np.ndarray]:
        """The lower left and the upper right corner of the ground around the encodings."""
        low, high = self.places.min(0), self.places.max(0)
        margin = np.maximum(MARGIN * (high - low), 1e-6)
        return low - margin, high + margin

    def cells(self, side: int) -> np.ndarray:
        """The centres of the cells of a grid over the ground, by rows from the bottom.

        Args:
            side: the number of rows, and of columns.

        Returns:
            `(side * side, 2)`.
        """
        low, high = self.corners
        shares = (np.arange(side) + 0.5) / side
        up, across = np.meshgrid(shares, shares, indexing="ij")
        return low + np.stack([across.ravel(), up.ravel()], 1) * (high - low)


@dataclass(frozen=True)
class PrincipalGround(Ground):
    r"""The plane of the first two principal components.

    $$z = \bar\mu + p_1 v_1 + p_2 v_2$$

    Other components are 0 at a lifted point. It is the linear regression of posterior means on
    places.
    """

    @property
    def components(self) -> np.ndarray:
        """The unit vectors of both components, `(2, D)`."""
        sizes = np.square(self.places).sum(0)
        sums = self.places.T @ (self.codes - self.codes.mean(0))
        return sums / np.where(sizes > 0, sizes, np.inf)[:, None]

    def lift(self, places: np.ndarray) -> np.ndarray:
        """Points of the plane."""
        return self.codes.mean(0) + places @ self.components

    def place(self, codes: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """The coordinates of the nearest points of the plane."""
        return (codes - self.codes.mean(0)) @ self.components.T


@dataclass(frozen=True)
class LineGround(Ground):
    """The posteriors of one latent dimension: the mean across, the standard deviation up."""

    def lift(self, places: np.ndarray) -> np.ndarray:
        """The first coordinate."""
        return places[:, :1]

    def place(self, codes: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Mean and standard deviation."""
        return np.concatenate([codes, scale], 1)


@dataclass(frozen=True)
class NeighbourGround(Ground):
    """A map that keeps neighbours together; both ways average over the nearest neighbours."""

    @classmethod
    def of(cls, codes: np.ndarray, seed: int = 0) -> tuple[NeighbourGround, str]:
        """A map by UMAP or t-SNE, and the name of the method.

        At most 1,000 images determine the map. Others are placed between their neighbours.

        Args:
            codes: posterior means, `(N, D)`.
            seed: see `neighbour_map`.

        Raises:
            InputError: for fewer than 10 images.
        """
        rows = spread_rows(len(codes), FITTED)
        fitted, method = neighbour_map(codes[rows], seed)
        places = between_neighbours(codes, codes[rows], fitted)
        places[rows] = fitted
        says = [_trusted(codes, places, method)]
        if len(rows) < len(codes):
            says.append(
                f"{len(rows):,} images determine the map; the others lie between their neighbours."
            )
        return cls(codes, places, " ".join(says)), method

    def lift(self, places: np.ndarray) -> np.ndarray:
        """Averages of the posterior means of the nearest places."""
        return between_neighbours(places, self.places, self.codes)

    def place(self, codes: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Averages of the places of the nearest posterior means."""
        return between_neighbours(codes, self.codes, self.places)


def principal_ground(codes: np.ndarray, scale: np.ndarray) -> Ground:
    """The map of principal components, or `LineGround` for one latent dimension.

    If all means are equal, so are all places.

    Args:
        codes: posterior means, `(N, D)`.
        scale: posterior standard deviations, `(N, D)`.

    Raises:
        InputError: for fewer than 3 images.
    """
    if codes.shape[1] == 1:
        says = (
            "Across: the posterior mean of the one latent dimension; up: its standard deviation."
        )
        return LineGround(codes, np.concatenate([codes, scale], 1), says)
    if len(codes) > 2 and not np.ptp(codes, axis=0).any():
        return PrincipalGround(codes, np.zeros((len(codes), 2)), "All posterior means are equal.")
    places, shares = principal_map(codes)
    trusted = _trusted(codes, places, COMPONENT)
    return PrincipalGround(codes, places, f"{variance_said(shares, codes.shape[1])} {trusted}")


def _trusted(codes: np.ndarray, places: np.ndarray, name: str) -> str:
    rows = spread_rows(len(codes), TRUSTED)
    return trust_said(codes[rows], places[rows], name) if len(rows) > 2 else ""


def between_neighbours(new: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    r"""Averages of the values of the 8 nearest points, weighted by inverse squared distance.

    $$\sum_k w_k v_k \Big/ \sum_k w_k, \quad w_k = \lVert x - x_k \rVert^{-2}$$

    At a known point the result is its value.

    Args:
        new: points `(M, A)`.
        known: points with known values, `(N, A)`.
        values: `(N, B)`.

    Returns:
        `(M, B)`.

    Example:
        >>> known, values = np.array([[0.0], [2.0]]), np.array([[10.0], [20.0]])
        >>> between_neighbours(np.array([[1.0]]), known, values).round(6)
        array([[15.]])
    """
    count, found = min(NEIGHBOURS, len(known)), []
    for part in chunks(len(new)):
        squares = squared_distances(new[part], known)
        near = np.argpartition(squares, count - 1, axis=1)[:, :count]
        apart = np.take_along_axis(squares, near, 1)
        weights = 1 / np.maximum(apart, 1e-12 * (1 + apart.max(1, keepdims=True)))
        found.append((weights[..., None] * values[near]).sum(1) / weights.sum(1, keepdims=True))
    return np.concatenate(found)
