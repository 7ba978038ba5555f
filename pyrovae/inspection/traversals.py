"""Paths through latent space: along one dimension, and between two points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor
from torch.nn.functional import normalize

from pyrovae.distributions.latent import innermost
from pyrovae.evaluation.pairs import chunks
from pyrovae.posterior.space import LatentSpace
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas

__all__ = ["effects", "linear_path", "spherical_path"]

#: Latents decoded at once, and dimensions moved at once.
AT_ONCE = 100


def within_support(space: LatentSpace, z: Tensor, **inputs: Tensor) -> Tensor:
    """Latents `(*, B, D)` moved into the support of the prior.

    Values within the support stay unchanged. Values of a support with bounds are clamped to
    them; others, such as points near a sphere, are scaled to length 1.

    Args:
        space: the latents.
        z: one or several vectors per image, `(*, B, D)`.
        **inputs: further inputs of the programs for B images.
    """
    return _moved(space, space.prior_trace(z, **inputs))


def _decoded(space: LatentSpace, z: Tensor, inputs: dict[str, Tensor]) -> Any:
    """The trace of the model with these latents, without drawing x."""
    known = space.unflatten(z) | {"x": torch.zeros((), device=z.device)}
    given = poutine.condition(space.programs.model, data=known)
    return poutine.trace(given).get_trace(num_images=z.shape[-2], **inputs)


def prior_sites(space: LatentSpace, z: Tensor, **inputs: Tensor) -> dict[str, Any]:
    """The model's distribution of each latent site, given earlier sites of `(*, B, D)` latents."""
    trace = _decoded(space, z, inputs)
    return {name: trace.nodes[name]["fn"] for name in space.shapes}


def _moved(space: LatentSpace, trace: Any) -> Tensor:
    nodes = [trace.nodes[name] for name in space.shapes]
    moved = [_allowed(node["fn"].support, node["value"]) for node in nodes]
    return space.flatten(dict(zip(space.shapes, moved, strict=True)))


def _allowed(support: torch.distributions.constraints.Constraint, value: Tensor) -> Tensor:
    """The value if it is in the support, else a value near it that is."""
    if support.check(value).all():
        return value
    inner = innermost(support)
    low, high = (getattr(inner, name, None) for name in ("lower_bound", "upper_bound"))
    slack = torch.finfo(value.dtype).eps  # The bound itself may be outside of the support.
    if inner is torch.distributions.constraints.simplex:
        return normalize(value.clamp_min(slack), p=1, dim=-1)
    if low is None and high is None:  # A sphere.
        return normalize(value, dim=-1)
    if low is not None:
        low = torch.as_tensor(low).to(value)
        value = torch.maximum(value, low + slack * low.abs().clamp_min(1))
    if high is not None:
        high = torch.as_tensor(high).to(value)
        value = torch.minimum(value, high - slack * high.abs().clamp_min(1))
    return value


def show_within(space: LatentSpace, z: Tensor, **inputs: Tensor) -> Tensor:
    """The decoded images of latents `(*, B, D)`, which are moved into the prior's support.

    Args:
        space: the latents.
        z: one or several vectors per image.
        **inputs: further inputs of the programs for B images.

    Returns:
        Floats in [0, 1], `(*, B, C, H, W)`.
    """
    return moved_and_shown(space, z, **inputs)[1]


def moved_and_shown(space: LatentSpace, z: Tensor, **inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The latents of `within_support`, and their decoded images; see `show_within`."""
    found, shown = [], []
    for some in z.reshape(-1, *z.shape[-2:]).split(max(1, AT_ONCE // z.shape[-2])):
        trace = _decoded(space, some, inputs)
        moved = _moved(space, trace)
        if not torch.equal(moved, some):
            trace = _decoded(space, moved, inputs)
        found.append(moved)
        shown.append(space.programs.likelihood.to_images(trace.nodes["x"]["fn"]))
    images = torch.cat(shown).reshape(*z.shape[:-1], *shown[0].shape[-3:])
    return torch.cat(found).reshape(z.shape), images


def along(z: Tensor, dims: Sequence[int], values: Tensor) -> Tensor:
    """Copies of latents with one dimension at a time replaced.

    Args:
        z: the latents to start from, `(*, D)`.
        dims: K indices of dimensions, from 0.
        values: S new values of each of these dimensions, `(K, S)`.

    Returns:
        `(K, S, *, D)`.

    Raises:
        InputError: if a dimension does not exist.

    Example:
        >>> along(torch.zeros(2), [1], torch.tensor([[-1.0, 1.0]]))
        tensor([[[ 0., -1.],
                 [ 0.,  1.]]])
    """
    size = z.shape[-1]
    for dim in dims:
        if not 0 <= dim < size:
            raise InputError(f"no latent dimension {dim}: allowed is 0 to {size - 1}")
    found = z.expand(*values.shape, *z.shape).clone()
    for row, dim in enumerate(dims):
        found[row, ..., dim] = values[row].reshape(-1, *[1] * (z.ndim - 1))
    return found


def linear_path(first: Tensor, second: Tensor, steps: int = 10) -> Tensor:
    r"""The straight line from one point to another.

    $$z_t = (1 - t) z_0 + t z_1, \quad t = 0, \ldots, 1$$

    Args:
        first: where to start, `(D,)`.
        second: where to end.
        steps: how many points, both ends included, at least 2.

    Returns:
        `(steps, D)`.

    Raises:
        InputError: if `steps` is below 2.
    """
    t = _weights(first, steps)
    return (1 - t) * first + t * second


def spherical_path(first: Tensor, second: Tensor, steps: int = 10) -> Tensor:
    r"""The arc around 0 from one point to another, with linearly interpolated length.

    $$z_t = \big((1 - t) r_0 + t r_1\big)
    \frac{\sin((1 - t) \omega) u_0 + \sin(t \omega) u_1}{\sin \omega}$$

    with lengths r, directions u and the angle $\omega$ between them. Draws of a Normal in many
    dimensions have nearly the same length. The straight line between two of them has points of
    smaller length: half-way by a factor of $\sqrt 2$.

    Args:
        first: where to start, `(D,)`.
        second: where to end.
        steps: how many points, both ends included, at least 2.

    Returns:
        `(steps, D)`.

    Raises:
        InputError: if `steps` is below 2.

    References:
        Animating Rotation with Quaternion Curves (Shoemake, 1985, section 3.3); Sampling
        Generative Networks (White, 2016, section 2.1), https://arxiv.org/abs/1609.04468

    Example:
        >>> spherical_path(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]), 3)[1]
        tensor([1.0607, 1.0607])
    """
    t = _weights(first, steps)
    lengths = first.norm(), second.norm()
    start, end = normalize(first, dim=-1), normalize(second, dim=-1)
    if min(lengths) == 0:  # 0 has no direction.
        start = end = start + end
    aside = end - (start @ end) * start
    angle = torch.atan2(aside.norm(), start @ end)
    if start @ end < 0 and aside.norm() < torch.finfo(first.dtype).eps ** 0.5:
        # Opposite points: all arcs have the same length, so any axis will do.
        axis = torch.eye(len(start), dtype=start.dtype, device=start.device)[start.abs().argmin()]
        aside = axis - (start @ axis) * start
    arc = (t * angle).cos() * start + (t * angle).sin() * normalize(aside, dim=-1)
    return ((1 - t) * lengths[0] + t * lengths[1]) * arc


def _weights(like: Tensor, steps: int) -> Tensor:
    if steps < 2:
        raise InputError(f"steps must be at least 2, got {steps}")
    return torch.linspace(0, 1, steps, dtype=like.dtype, device=like.device)[:, None]


def effects(
    space: LatentSpace,
    z: Tensor,
    dims: Sequence[int] | np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    **inputs: Tensor,
) -> pandas.DataFrame:
    r"""The change of the decoded image along some dimensions, in grey levels.

    $$\sqrt{\operatorname{mean} \big(255 \, (x_d^{\text{high}} - x_d^{\text{low}})\big)^2}$$

    over pixels, channels and images, where $x_d^{\text{low}}$ is the decoded image of the latents
    with dimension d set to `low`.

    Args:
        space: the latents.
        z: latents of B images, `(B, D)`.
        dims: K indices of dimensions.
        low: the low value of each dimension, `(K,)`.
        high: the high value of each dimension, `(K,)`.
        **inputs: further inputs of the programs for B images.

    Returns:
        One row per dimension: `low`, `high` and the root mean square `change`, in levels of 255.
    """
    ends = torch.from_numpy(np.stack([low, high], 1)).to(z)
    changes: list[float] = []
    for rows in chunks(len(dims), AT_ONCE):
        both = show_within(space, along(z, [*map(int, dims[rows])], ends[rows]), **inputs)
        squared = (both[:, 1] - both[:, 0]).square().flatten(1)
        changes += (255 * squared.mean(1).sqrt()).tolist()
    index = pandas.Index([space.names[dim] for dim in dims], name="dimension")
    return pandas.DataFrame({"low": low, "high": high, "change": changes}, index=index)
