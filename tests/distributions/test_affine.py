"""The affine map that stores its inverse."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae.distributions import WhiteningInverse


def random_map(*batch: int) -> WhiteningInverse:
    """A map of three dimensions in double precision."""
    whitening = torch.randn(*batch, 3, 3, dtype=torch.double).tril(-1)
    whitening += torch.diag_embed(0.5 + torch.rand(*batch, 3, dtype=torch.double))
    return WhiteningInverse(torch.randn(*batch, 3, dtype=torch.double), whitening)


def test_it_inverts_itself_and_knows_its_volume() -> None:
    moved, x = random_map(), torch.randn(3, dtype=torch.double)
    y = moved(x)
    torch.testing.assert_close(moved.inv(y), x)

    def map_of(own: Tensor) -> Tensor:
        return moved(own)

    jacobian = torch.autograd.functional.jacobian(map_of, x)
    torch.testing.assert_close(moved.log_abs_det_jacobian(x, y), jacobian.logdet())


def test_moved_normals_are_multivariate_normals() -> None:
    moved, x = random_map(4, 1), torch.randn(5, 3, dtype=torch.double)
    base = dist.Normal(torch.zeros(3, dtype=torch.double), 1.0).to_event(1)
    found = dist.TransformedDistribution(base, [moved])
    precision = moved.whitening.mT @ moved.whitening
    exact = dist.MultivariateNormal(moved.loc, precision_matrix=precision)
    assert found.batch_shape == exact.batch_shape == (4, 1)
    torch.testing.assert_close(found.log_prob(x), exact.log_prob(x))
    assert found.rsample((7,)).shape == (7, 4, 1, 3)
