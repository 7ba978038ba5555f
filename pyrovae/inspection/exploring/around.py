"""Directions that change the decoded image most around one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyrovae.inspection.sections.traversals import SHARES
from pyrovae.inspection.subject import Subject
from pyrovae.inspection.traversals import along, show_within

__all__ = ["Directions", "principal_directions"]

#: Directions, and dimensions of largest rate that they are made of, at most.
MOST, UNITS = 12, 200
#: Draws of the guide for the spread of the posterior along each direction.
DRAWS = 1000
#: The step of a difference, in standard deviations of the aggregate posterior.
STEP = 0.1


@dataclass(frozen=True)
class Directions:
    """Directions around one image, the largest visible change first.

    Attributes:
        vectors: `(K, D)`; a step of 1 is one standard deviation of the aggregate posterior.
        shares: the share of each direction in the squared change of the decoded image, `(K,)`.
        scale: the standard deviation of q(z given x) along each direction, in steps, `(K,)`.
        low: the 1% quantile of the encodings along each direction, in steps from the image.
        high: the 99% quantile.
    """

    vectors: np.ndarray
    shares: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray


def principal_directions(
    subject: Subject, z: Tensor, x: Tensor, inputs: dict[str, Tensor]
) -> Directions:
    r"""The principal components of the decoded images around z, as directions of z.

    If latents vary around z as over the aggregate posterior, with covariance $\Sigma$, decoded
    images have the covariance $J \Sigma J^T$ to first order. Its principal components belong to

    $$v_k = \Sigma^{1/2} u_k, \quad
    \Sigma^{1/2} J^T J \, \Sigma^{1/2} u_k = \lambda_k u_k, \quad
    J = \partial \hat x(z) / \partial z$$

    for the decoded image $\hat x$. The share of a direction is $\lambda_k / \sum_j \lambda_j$.
    Central differences of 0.1 standard deviations estimate J. Of more than 200 active units,
    those with the largest rate are used. For a linear decoder and a standard Normal aggregate the
    decoded directions $J v_k$ are the principal components of the model's images.

    Coordinates along the directions are $t_k = u_k^T \Sigma^{-1/2} (z' - z)$, so that
    $z' = z + \sum_k t_k v_k$.

    Args:
        subject: what is inspected.
        z: the posterior mean of one image, `(1, D)`.
        x: the observation, `(1, C, H, W)`.
        inputs: further inputs of the programs for it.
    """
    encoded, units, none = subject.encoded, _units(subject), np.zeros(0)
    if not len(units):
        return Directions(np.zeros((0, subject.space.size)), none, none, none, none)
    root, inverse = _roots(encoded.draws[:, units])
    with subject.quietly(7):
        slopes = _slopes(subject, z, units, inputs)
        drawn = subject.space.guide_draws(DRAWS, x, **inputs)[:, 0].cpu().double().numpy()
    values, rotation = np.linalg.eigh(root @ (slopes @ slopes.T) @ root)
    order = np.argsort(-values)[:MOST]
    rotation, total = rotation[:, order], np.maximum(values, 0).sum()
    vectors = np.zeros((len(order), subject.space.size))
    vectors[:, units] = (root @ rotation).T
    signs = np.sign(vectors[np.arange(len(order)), np.abs(vectors).argmax(1)])
    signs[signs == 0] = 1
    to_steps = (inverse @ rotation) * signs
    here = z[0].cpu().double().numpy()[units]
    away = (encoded.draws[:, units] - here) @ to_steps
    low, high = np.quantile(away, (SHARES[0], SHARES[-1]), axis=0)
    spread = ((drawn[:, units] - drawn[:, units].mean(0)) @ to_steps).std(0, ddof=1)
    shares = np.maximum(values[order], 0) / (total or 1.0)
    return Directions(vectors * signs[:, None], shares, spread, low, high)


def _units(subject: Subject) -> np.ndarray:
    """The active units with the largest rate; all dimensions if no unit is active.

    A discrete site has no small steps, so its entries are in no direction.
    """
    encoded = subject.encoded
    active = np.flatnonzero(encoded.active & ~encoded.discrete)
    units = active if len(active) else np.flatnonzero(~encoded.discrete)
    order = np.argsort(-encoded.kl[:, units].mean(0), kind="stable")
    return np.sort(units[order][:UNITS])


def _roots(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The symmetric root of the covariance of draws, and its pseudo-inverse."""
    values, axes = np.linalg.eigh(np.atleast_2d(np.cov(draws.T)))
    sizes = np.sqrt(np.maximum(values, 0))
    inverse = np.where(sizes > 1e-9 * sizes.max(), 1 / np.maximum(sizes, 1e-300), 0)
    return (axes * sizes) @ axes.T, (axes * inverse) @ axes.T


def _slopes(
    subject: Subject, z: Tensor, units: np.ndarray, inputs: dict[str, Tensor]
) -> np.ndarray:
    """The derivative of the decoded image by each unit, `(U, pixels)`."""
    steps = STEP * subject.encoded.draws[:, units].std(0)
    ends = z[0].cpu().double().numpy()[units][:, None] + steps[:, None] * np.array([-1.0, 1.0])
    moved = along(z, units.tolist(), torch.from_numpy(ends).to(z))
    both = show_within(subject.space, moved, **inputs).flatten(2).double().cpu().numpy()
    return (both[:, 1] - both[:, 0]) / (2 * np.maximum(steps, 1e-12))[:, None]
