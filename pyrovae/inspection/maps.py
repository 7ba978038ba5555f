"""Two-dimensional maps of posterior means, and grids of decoded latents."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import torch
from pyro.distributions import Independent
from torch import Tensor

from pyrovae.inspection.traversals import prior_sites, show_within
from pyrovae.posterior.space import LatentSpace
from pyrovae.utils.errors import InputError

__all__ = ["latent_grid", "neighbour_map", "principal_map"]

#: Least number of images of a map of neighbours.
LEAST = 10
#: Draws that estimate the quantiles of a prior without a formula for them.
DRAWS = 10_000


def principal_map(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two principal components of codes, and their shares of the variance.

    The sign is such that the weight of largest magnitude of each component is positive.

    Args:
        codes: one vector for each image, `(N, D)`.

    Returns:
        `(N, 2)` and `(2,)`.

    Raises:
        InputError: for fewer than 3 images or 2 dimensions, or if all codes are equal.

    Example:
        >>> principal_map(np.array([[0.0, 0.0], [2.0, 0.1], [4.0, 0.0]]))[0][:, 0].round(3)
        array([-2.,  0.,  2.])
    """
    if codes.ndim != 2 or len(codes) < 3 or codes.shape[1] < 2:
        raise InputError(f"codes {codes.shape}: a map needs at least 3 images and 2 dimensions")
    centred = codes - codes.mean(0)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    if not sizes[0] > 0:
        raise InputError(
            f"the codes of {len(codes)} images are all equal: a map needs different codes"
        )
    largest = np.abs(right[:2]).argmax(1)
    signs = np.where(right[[0, 1], largest] < 0, -1, 1)
    return left[:, :2] * sizes[:2] * signs, np.square(sizes[:2]) / np.square(sizes).sum()


def neighbour_method() -> str:
    """The method of `neighbour_map`: "UMAP" if umap-learn is installed, else "t-SNE"."""
    return "UMAP" if importlib.util.find_spec("umap") else "t-SNE"


def neighbour_map(codes: np.ndarray, seed: int = 0) -> tuple[np.ndarray, str]:
    """A map that keeps neighbours together, by UMAP if umap-learn is installed, else by t-SNE.

    On both maps, distances between groups and sizes of groups have little meaning.

    Args:
        codes: one vector for each image, `(N, D)`; a thousand take some seconds.
        seed: seed of UMAP; t-SNE starts from the principal components.

    Returns:
        `(N, 2)`, and the name of the method.

    Raises:
        InputError: for fewer than 10 images.

    References:
        UMAP (McInnes et al., 2018), https://arxiv.org/abs/1802.03426; Visualizing Data using
        t-SNE (van der Maaten and Hinton, 2008, section 3)
    """
    if len(codes) < LEAST:
        raise InputError(f"a map of neighbours needs at least {LEAST} images, got {len(codes)}")
    state, method = seed % 2**32, neighbour_method()
    if method == "UMAP":
        from umap import UMAP

        model = UMAP(n_neighbors=min(15, len(codes) - 1), random_state=state, n_jobs=1)
    else:
        from sklearn.manifold import TSNE

        model = TSNE(perplexity=min(30, (len(codes) - 1) / 3), init="pca", random_state=state)
    return model.fit_transform(codes.astype(np.float32)).astype(float), method


def trustworthiness(codes: np.ndarray, places: np.ndarray, neighbours: int = 10) -> float:
    """The trustworthiness of a map: 1 if all neighbours on it are neighbours in `codes`.

    A random map has about 0.5.

    Args:
        codes: one vector for each image, `(N, D)`.
        places: coordinates of the same images on the map, `(N, 2)`.
        neighbours: the number of neighbours per image, at most; limited to less than N / 2.

    References:
        Neighborhood Preservation in Nonlinear Projection Methods (Venna and Kaski, 2001,
        equation 1)
    """
    from sklearn import manifold

    count = min(neighbours, (len(codes) - 1) // 2)
    return float(manifold.trustworthiness(codes, places, n_neighbors=count))


def prior_quantiles(
    space: LatentSpace, probabilities: Tensor, draws: Tensor, **inputs: Tensor
) -> Tensor:
    """Quantiles of each dimension of the prior: exact if there is a formula, else from draws.

    A site has a formula if its distribution implements `icdf`, and does not depend on other
    sites or on inputs.

    Args:
        space: the latents.
        probabilities: `(P,)`.
        draws: latents drawn from the model, `(B, D)`.
        **inputs: further inputs of the programs for the B draws.

    Returns:
        `(P, D)`.
    """
    found = torch.quantile(draws.cpu(), probabilities.to(draws).cpu(), dim=0).to(draws)
    for name, fn in prior_sites(space, draws, **inputs).items():
        exact = _exact_quantiles(fn, probabilities.to(draws), len(draws))
        if exact is not None:
            found[:, space.slices[name]] = exact
    return found


def _exact_quantiles(fn: Any, probabilities: Tensor, count: int) -> Tensor | None:
    """The quantiles of `count` vectors if they have a formula and are all equal, else None."""
    base = fn.base_dist if isinstance(fn, Independent) else fn
    shape = fn.batch_shape + fn.event_shape
    if tuple(fn.batch_shape) != (count,) or base.batch_shape != shape:
        return None
    try:
        found = base.icdf(probabilities.reshape(-1, *[1] * len(shape)).expand(-1, *shape))
    except NotImplementedError:
        return None
    found = found.flatten(2) if found.ndim > 2 else found[..., None]
    return found[:, 0] if torch.equal(found, found[:, :1].expand_as(found)) else None


def latent_grid(space: LatentSpace, quantiles: Tensor, **inputs: Tensor) -> Tensor:
    """The images decoded at a grid of two-dimensional latents.

    Args:
        space: the latents, of two dimensions.
        quantiles: of each dimension, `(P, 2)`, in rising order.
        **inputs: further inputs of the programs for one image.

    Returns:
        Floats in [0, 1], `(P, P, C, H, W)`: the first dimension rises from left to right, the
        second from bottom to top.

    Raises:
        InputError: if there are not exactly two dimensions.

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling, 2013, appendix A, figure 4),
        https://arxiv.org/abs/1312.6114
    """
    if space.size != 2:
        raise InputError(f"a grid needs 2 latent dimensions, got {space.size}")
    second, first = torch.meshgrid(quantiles[:, 1].flip(0), quantiles[:, 0], indexing="ij")
    z = torch.stack([first, second], -1)
    return show_within(space, z[:, :, None], **inputs)[:, :, 0]
