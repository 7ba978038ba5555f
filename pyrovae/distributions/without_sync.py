"""Families of torch without host-device transfers, so that a CUDA graph can record them."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.utils import lazy_property

__all__ = ["LowRankMultivariateNormal", "StudentT"]


class StudentT(dist.StudentT):
    """Student's t distribution without the copy to the device in torch's constructor.

    Args:
        df: degrees of freedom.
        loc: locations.
        scale: scales.
        validate_args: whether to check arguments and values.

    Example:
        >>> StudentT(torch.tensor(3.0), torch.zeros(2), torch.tensor(1.0)).batch_shape
        torch.Size([2])
    """

    def __init__(
        self, df: Tensor, loc: Tensor, scale: Tensor, validate_args: bool | None = None
    ) -> None:
        self.df, self.loc, self.scale = torch.broadcast_tensors(df, loc, scale)
        half = torch.full_like(self.df, 0.5)
        self._chi2 = dist.Gamma(half * self.df, half, validate_args=validate_args)
        dist.TorchDistribution.__init__(self, self.df.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> StudentT:
        """The same distribution over a larger batch."""
        return super().expand(batch_shape, _instance or type(self).__new__(type(self)))


class LowRankMultivariateNormal(dist.LowRankMultivariateNormal):
    """Low-rank Normal distribution without the read from the device in torch's constructor.

    torch reads whether the Cholesky factorisation succeeded. Here it cannot fail: the matrices
    have eigenvalues of at least 1.

    Args:
        loc: means, `(*, D)`.
        cov_factor: factors of the covariance, `(*, D, R)`.
        cov_diag: the diagonal that is added to the covariance, `(*, D)`.
        validate_args: whether to check arguments and values.
    """

    def __init__(
        self, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor, validate_args: bool | None = None
    ) -> None:
        self.loc, self.cov_factor, self.cov_diag = loc, cov_factor, cov_diag
        self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag = cov_factor, cov_diag
        unit = cov_factor / cov_diag.sqrt().unsqueeze(-1)
        self._capacitance_tril = _tril_of_one_and(unit.mT @ unit)
        shapes = loc.shape[:-1], loc.shape[-1:]
        dist.TorchDistribution.__init__(self, *shapes, validate_args=validate_args)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The Cholesky factor of the covariance, `(*, D, D)`."""
        sides = self._unbroadcasted_cov_diag.sqrt().unsqueeze(-1)
        unit = self._unbroadcasted_cov_factor / sides
        tril = sides * _tril_of_one_and(unit @ unit.mT)
        return tril.expand(self._batch_shape + self._event_shape + self._event_shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LowRankMultivariateNormal:
        """The same distribution over a larger batch."""
        return super().expand(batch_shape, _instance or type(self).__new__(type(self)))


def _tril_of_one_and(matrix: Tensor) -> Tensor:
    """The Cholesky factor of the identity plus a positive semidefinite matrix."""
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return torch.linalg.cholesky_ex(identity + matrix).L
