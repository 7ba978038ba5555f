"""What an objective is, and how a stock ELBO of Pyro becomes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from pyro.infer import ELBO
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
    """What an objective reports of one batch: tensors of shape `()`, in nats per image.

    Attributes:
        loss: what is minimised.
        elbo: the ELBO at beta 1.
        rate: log q - log p of the latents, or their divergence where the objective computes it.
    """

    loss: Tensor
    elbo: Tensor
    rate: Tensor


class Objective:
    """What training asks of a loss, beside the methods of an ELBO of `pyro.infer`.

    Every method has a default. An ELBO of one's own that needs another derives from both:
    `class Mine(Objective, Trace_ELBO)`.

    Attributes:
        loss_and_grads: adds up the gradients of the loss in nats, summed over the images, and
            returns that loss.
        couples_batch: whether the loss of a batch is more than the mean of its images' losses.
        prefers_wide_guide: whether the guide that is best for it is wider than the one that is
            best for the ELBO. That holds for bounds of several particles.
        rate_and_distortion: those of the last batch, unweighted means in nats per image; None
            where the objective does not keep them.
    """

    loss_and_grads: Callable[..., Any]
    couples_batch: bool = False
    prefers_wide_guide: bool = False
    rate_and_distortion: tuple[Tensor, Tensor] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: What the objective changes over a run. A checkpoint holds it; the dict stays the same.
        self.state: dict[str, Tensor] = {}

    def begin_step(self, progress: Progress) -> None:
        """Takes the position in the run; by default does nothing.

        What follows from it belongs into a tensor of `state`, filled in place: a compiled or
        recorded step sees no other changes.
        """

    def check_recordable(self) -> None:
        """Raises `NotImplementedError` if `begin_step` changes more than `state`."""
        if type(self).begin_step is not Objective.begin_step and not self.state:
            name = type(self).__name__
            raise NotImplementedError(f"{name}.begin_step fills no tensor of `state`")

    def innermost(self) -> Any:
        """The bound itself; an objective around another one returns that of the other."""
        return self

    def numbers(self) -> dict[str, float]:
        """The single numbers in `state`, such as a multiplier."""
        state = self.state.items()
        return {name: float(value) for name, value in state if value.numel() == 1}

    def terms_and_grads(
        self, beta: float | Tensor, model: Any, guide: Any, x: Tensor, **inputs: Any
    ) -> LossTerms:
        """Adds up the gradients of the summed loss; returns its terms without waiting.

        By default the rate is measured at the sites of the programs, as they run.

        Args:
            beta: the weight that the latent sites have.
            model: the generative program.
            guide: the inference program.
            x: observations.
            **inputs: what else the programs take.
        """
        with keeping_tensors(), LatentRate() as sites:
            total = self.loss_and_grads(model, guide, x, **inputs)
        loss = loss_per_image(total, len(x), x.device)
        rate = sites.rate(torch.zeros_like(loss))
        if is_linear(self.innermost()):
            return LossTerms(loss, (beta - 1) * rate - loss, rate)
        return LossTerms(loss, sites.log_likelihood() - rate, rate)


class StockObjective(Objective):
    """An ELBO of `pyro.infer` as an objective.

    Args:
        bound: the ELBO.
    """

    def __init__(self, bound: ELBO) -> None:
        super().__init__()
        self.bound = bound

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        """The ELBO's loss, after adding up its gradients."""
        return self.bound.loss_and_grads(model, guide, *args, **kwargs)

    def innermost(self) -> ELBO:
        """The ELBO."""
        return self.bound


def as_objective(bound: Any) -> Objective:
    """An ELBO with the methods of `Objective`: itself if it has them, else an adapter."""
    return bound if isinstance(bound, Objective) else StockObjective(bound)


def check_objective(objective: Objective) -> None:
    """Raises `InputError` if an objective does not fit programs of images."""
    bound = objective.innermost()
    check_objective_name(f"{type(bound).__module__}.{type(bound).__name__}")
    if not isinstance(bound.num_particles, int) or bound.num_particles < 1:
        raise InputError(
            f"--objective.num_particles must be at least 1, got {bound.num_particles}"
        )


def loss_per_image(loss: Any, num_images: int, device: torch.device) -> Tensor:
    """Any loss that an ELBO of Pyro returns, in nats per image; several are added up."""
    parts = loss if isinstance(loss, tuple) else (loss,)
    total = sum(torch.as_tensor(part, device=device) for part in parts)
    return torch.as_tensor(total) / num_images
