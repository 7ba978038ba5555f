"""The interface of an objective, and an adapter for Pyro's ELBOs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from pyro.infer import ELBO, TraceEnum_ELBO
from torch import Tensor

from pyrovae.objectives.device_losses import keeping_tensors
from pyrovae.objectives.effects import LatentRate
from pyrovae.objectives.schedules import Progress
from pyrovae.objectives.stock import check_objective_name, is_linear
from pyrovae.utils.errors import InputError

__all__ = [
    "LossTerms",
    "Objective",
    "StockObjective",
    "as_objective",
    "check_objective",
    "loss_per_image",
]


class LossTerms(NamedTuple):
    """The terms of one batch: tensors of shape `()`, in nats per image.

    Attributes:
        loss: the value that is minimised.
        elbo: the ELBO at beta 1.
        rate: log q - log p of the latents, or their KL where the objective computes it.
    """

    loss: Tensor
    elbo: Tensor
    rate: Tensor


class Objective:
    """The methods that training needs in addition to those of a `pyro.infer` ELBO.

    Every method has a default. A custom ELBO that overrides one derives from both classes:
    `class Mine(Objective, Trace_ELBO)`.

    Attributes:
        loss_and_grads: accumulates the gradients of the loss in nats, summed over the images, and
            returns that loss.
        couples_batch: whether the loss of a batch is not the mean of the losses of its images.
        prefers_wide_guide: whether the optimal guide is wider than the optimal guide of the ELBO.
            That holds for bounds of several particles.
        maximises_elbo: whether the loss at beta 1 follows the ELBO. A penalty, or a target of the
            rate or the distortion, has another optimum.
        rate_and_distortion: unweighted means of the last batch, in nats per image; None where the
            objective does not keep them.
    """

    loss_and_grads: Callable[..., Any]
    couples_batch: bool = False
    prefers_wide_guide: bool = False
    maximises_elbo: bool = True
    rate_and_distortion: tuple[Tensor, Tensor] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Tensors that change over a run. A checkpoint holds them; the dict object stays the same.
        self.state: dict[str, Tensor] = {}

    def begin_step(self, progress: Progress) -> None:
        """Called before each step with the position in the run; does nothing by default.

        An override writes values that depend on the position into a tensor of `state`, in place.
        A compiled or recorded step sees no other changes.
        """

    def check_recordable(self) -> None:
        """Raises `NotImplementedError` if `begin_step` is overridden and `state` is empty."""
        if type(self).begin_step is not Objective.begin_step and not self.state:
            name = type(self).__name__
            raise NotImplementedError(f"{name}.begin_step fills no tensor of `state`")

    def innermost(self) -> Any:
        """The objective itself; a wrapper returns the innermost objective that it wraps."""
        return self

    def numbers(self) -> dict[str, float]:
        """The scalars in `state`, such as a multiplier, as floats."""
        state = self.state.items()
        return {name: float(value) for name, value in state if value.numel() == 1}

    def terms_and_grads(
        self, beta: float | Tensor, model: Any, guide: Any, x: Tensor, **inputs: Any
    ) -> LossTerms:
        """Accumulates the gradients of the summed loss; returns the terms without a sync.

        By default a messenger measures the rate at the sites while the programs run.

        Args:
            beta: the weight of the latent sites.
            model: the generative program.
            guide: the inference program.
            x: observations.
            **inputs: other inputs of the programs.
        """
        with keeping_tensors(), LatentRate() as sites:
            total = self.loss_and_grads(model, guide, x, **inputs)
        loss = loss_per_image(total, len(x), x.device)
        zero = torch.zeros_like(loss)
        direct = is_linear(self.innermost()) and not sites.weighted
        fit = zero if direct else sites.log_likelihood()  # Before `rate`, which forgets the sites.
        rate = sites.rate(zero)
        if direct:
            return LossTerms(loss, (beta - 1) * rate - loss + sites.factors(zero), rate)
        return LossTerms(loss, fit - rate, rate)


class StockObjective(Objective):
    """Adapter that gives a `pyro.infer` ELBO the methods of `Objective`.

    Args:
        bound: the ELBO.
    """

    def __init__(self, bound: ELBO) -> None:
        super().__init__()
        self.bound = bound

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        """Accumulates the gradients of the ELBO; returns its loss."""
        return self.bound.loss_and_grads(model, guide, *args, **kwargs)

    def innermost(self) -> ELBO:
        """The ELBO."""
        return self.bound


class _Enumerated(StockObjective):
    """Adapter for `TraceEnum_ELBO`, whose own gradients read the loss as a number."""

    def __init__(self, bound: ELBO) -> None:
        super().__init__(bound)
        if math.isfinite(bound.max_plate_nesting):
            # Its default is infinite, so the command line gives floats; Pyro needs an integer.
            bound.max_plate_nesting = int(bound.max_plate_nesting)

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        loss = self.bound.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return loss.detach()


def as_objective(bound: Any) -> Objective:
    """Returns the bound itself if it is an `Objective`, else wraps it in a `StockObjective`."""
    if isinstance(bound, Objective):
        return bound
    return _Enumerated(bound) if type(bound) is TraceEnum_ELBO else StockObjective(bound)


def check_objective(objective: Objective) -> None:
    """Raises `InputError` if an objective does not suit batches of images."""
    bound = objective.innermost()
    check_objective_name(f"{type(bound).__module__}.{type(bound).__name__}")
    count = bound.num_particles
    if not isinstance(count, int) or count < 1:
        raise InputError(f"--objective.num_particles must be at least 1, got {count}")


def loss_per_image(loss: Any, num_images: int, device: torch.device) -> Tensor:
    """The loss in nats per image, from a loss or a tuple of losses that a Pyro ELBO returns."""
    parts = loss if isinstance(loss, tuple) else (loss,)
    total = sum(torch.as_tensor(part, device=device) for part in parts)
    return torch.as_tensor(total) / num_images
