"""The step: Pyro's SVI with one optimiser for all parameters, and no wait for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from pyrovae.engine import Engine
from pyrovae.objectives import state_of
from pyrovae.optimizer import GroupedOptimizer, OptimizerFactory
from pyrovae.programs import run_both
from pyrovae.waiting import keeping_tensors

__all__ = [
    "SVI",
    "Engine",
    "GroupedOptimizer",
    "OptimizerFactory",
    "first_bad_site",
    "loss_per_image",
]


class SVI(pyro.infer.SVI):
    """Stock SVI, in nats per image, that skips a step whose loss or gradient is not finite.

    Loss and gradients are divided by the number of images, the length of the first argument, so
    that clipping thresholds and learning rates do not depend on the batch size. A skipped step
    changes neither parameters nor buffers (such as batch norm's statistics) nor the
    objective's state. `step` waits for the loss, as stock SVI does; `advance` does not.

    Args:
        model: the generative program.
        guide: the inference program.
        optim: the optimiser.
        loss: any ELBO of `pyro.infer`.

    Attributes:
        moved: whether the last step was taken, a tensor of shape `()`.
    """

    def __init__(
        self,
        model: nn.Module,
        guide: nn.Module,
        optim: GroupedOptimizer,
        loss: pyro.infer.ELBO,
    ) -> None:
        super().__init__(model, guide, optim, loss)
        self.objective = loss
        self.moved = torch.tensor(True)
        self._modules = [m for m in (model, guide) if isinstance(m, nn.Module)]

    @property
    def skipped(self) -> bool:
        """Whether the last step was skipped."""
        return not self.moved

    def step(self, *args: Any, **kwargs: Any) -> float:
        """Takes a step, unless it would not be finite; returns the loss in nats per image."""
        return float(self.advance(*args, **kwargs))

    def advance(self, *args: Any, **kwargs: Any) -> Tensor:
        """Takes a step as `step` does, without waiting for the device.

        Returns:
            The loss in nats per image, a tensor of shape `()`.
        """
        buffers = [buffer for module in self._modules for buffer in module.buffers()]
        before, state = [buffer.clone() for buffer in buffers], dict(state_of(self.objective))
        loss, params = self.gradients(*args, **kwargs)
        self.moved = self.optim.update(params, 1 / len(args[0]), loss.isfinite())
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(torch.where(self.moved, buffer, value))
        now = state_of(self.objective)
        for name, value in now.items():
            now[name] = torch.where(self.moved, value, state[name].to(value))
        pyro.infer.util.zero_grads(params)
        return loss

    def gradients(self, *args: Any, **kwargs: Any) -> tuple[Tensor, list[Tensor]]:
        """The loss in nats per image, and the parameters, with gradients of the batch's sum."""
        with poutine.trace(param_only=True) as capture, keeping_tensors():
            loss = self.loss_and_grads(self.model, self.guide, *args, **kwargs)
        params = {site["value"].unconstrained() for site in capture.trace.nodes.values()}
        by_name = sorted(params, key=pyro.get_param_store().param_name)
        return loss_per_image(loss, len(args[0]), by_name[0].device), by_name


def loss_per_image(loss: Any, num_images: int, device: torch.device) -> Tensor:
    """Any loss that an ELBO of Pyro returns, in nats per image; several are added up."""
    parts = loss if isinstance(loss, tuple) else (loss,)
    total = sum(torch.as_tensor(part, device=device) for part in parts)
    return torch.as_tensor(total) / num_images


@torch.no_grad()
def first_bad_site(
    model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
) -> str:
    """Names the first site of the programs whose value or log density is not finite."""
    with pyro.validation_enabled(False):
        guide_trace, model_trace = run_both(model, guide, *args, **kwargs)
        for program, trace in (("guide", guide_trace), ("model", model_trace)):
            for name, site in trace.nodes.items():
                if site["type"] == "sample" and not _finite(site["value"]):
                    return f"the value of site '{name}' in the {program}"
                if site["type"] == "sample" and not _finite(site["fn"].log_prob(site["value"])):
                    return f"the log density of site '{name}' in the {program}"
    return "the gradient, while all sites are finite"


def _finite(value: Any) -> bool:
    return not isinstance(value, Tensor) or bool(value.isfinite().all())
