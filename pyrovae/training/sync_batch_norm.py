"""Batch normalisation over the batches of all processes in training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pyrovae.likelihoods import Likelihood
from pyrovae.networks import Decoder, Encoder
from pyrovae.objectives import Objective
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from pyrovae.utils.process_group import Group

__all__ = ["coupled_parts", "synchronous", "synchronous_norms"]

#: The classes that share torch's `forward` of batch norm.
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_stock_forward: Any = nn.BatchNorm1d.forward


@contextmanager
def synchronous(program: nn.Module, group: Group) -> Iterator[None]:
    """Context in which batch norms in training mode use the batches of all processes.

    Modules keep their classes, parameters, buffers and state dicts. Batch norm classes that
    override `forward` are not changed. With one process nothing is changed.

    Args:
        program: the module whose batch norms are changed.
        group: the processes; each must run the program equally often.
    """
    norms = [m for m in program.modules() if isinstance(m, BATCH_NORMS) and _is_stock(m)]
    norms = norms if group.size > 1 else []
    for norm in norms:
        vars(norm).update(forward=partial(_forward, norm, group))
    try:
        yield
    finally:
        for norm in norms:
            del vars(norm)["forward"]


def synchronous_norms(program: nn.Module) -> bool:
    """Whether a program is inside `synchronous` and has batch norms that it changed."""
    return any("forward" in vars(m) for m in program.modules() if isinstance(m, BATCH_NORMS))


def coupled_parts(program: nn.Module, objective: Objective | None = None) -> list[str]:
    """Names the parts whose result for one image depends on the rest of the process's batch."""
    names = [type(m).__name__ for m in program.modules() if _couples_batch(m)]
    if objective is not None and objective.couples_batch:
        names.append(type(objective.innermost()).__name__)
    return names


def _couples_batch(module: nn.Module) -> bool:
    if isinstance(module, BATCH_NORMS):
        return "forward" not in vars(module)
    parts = (Prior, Likelihood, Posterior, Encoder, Decoder)
    return isinstance(module, parts) and module.couples_batch


def _is_stock(norm: nn.Module) -> bool:
    return type(norm).forward is _stock_forward


def _forward(norm: Any, group: Group, x: Tensor) -> Tensor:
    """Replaces `forward` of a batch norm."""
    if not norm.training:
        return _stock_forward(norm, x)
    with suppress(AttributeError):  # A private name of torch.
        norm._check_input_dim(x)
    with torch.no_grad():
        mean, variance, count = _moments(x, group)
        if norm.track_running_stats:
            _track(norm, mean, variance * (count * group.size / (count * group.size - 1)))
    return _Normalised.apply(x, norm.weight, norm.bias, (mean, variance, count, norm.eps, group))


def _moments(x: Tensor, group: Group) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance per channel over all processes, and the mean number of values."""
    dims = _all_but_channels(x)
    kind = torch.promote_types(x.dtype, torch.float32)
    count = x.new_full((), x.numel() / x.shape[1], dtype=kind)
    total, count = group.average([x.sum(dims, dtype=kind), count])
    mean = total / count
    # In two passes, since E[x²] - E[x]² loses precision by cancellation.
    (squares,) = group.average([(x - _across(mean, x)).square().sum(dims)])
    return mean, squares / count, count


def _track(norm: Any, mean: Tensor, variance: Tensor) -> None:
    """Updates the running statistics."""
    seen: Any = norm.num_batches_tracked
    seen += 1
    momentum = seen.double().reciprocal() if norm.momentum is None else norm.momentum
    pairs: Any = ((norm.running_mean, mean), (norm.running_var, variance))
    for running, now in pairs:
        running += momentum * (now.to(running) - running)


class _Normalised(torch.autograd.Function):
    """Normalises, scales and shifts values.

    Mean and variance depend on the values of all processes, so the backward pass averages
    gradients over the processes.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, statistics: Any
    ) -> Tensor:
        mean, variance, count, ctx.eps, ctx.group = statistics
        ctx.save_for_backward(x, weight, mean, variance, count)
        return F.batch_norm(x, mean, variance, weight, bias, eps=ctx.eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        dims, scale = _all_but_channels(x), (variance + ctx.eps).rsqrt()
        grad = grad.to(mean.dtype)
        normal = (x - _across(mean, x)) * _across(scale, x)
        shift, stretch = grad.sum(dims), (grad * normal).sum(dims)
        of_weight = stretch if ctx.needs_input_grad[1] else None
        of_bias = shift if ctx.needs_input_grad[2] else None
        shift, stretch = (total / count for total in ctx.group.average([shift, stretch]))
        inner = grad - _across(shift, x) - normal * _across(stretch, x)
        inner *= _across(scale if weight is None else scale * weight, x)
        return inner.to(x.dtype), of_weight, of_bias, None


def _all_but_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.dim()) if dim != 1]


def _across(values: Tensor, x: Tensor) -> Tensor:
    """Reshapes one value per channel so that it broadcasts with `x`."""
    return values.view(-1, *[1] * (x.dim() - 2))
