"""The gradients of one batch, from the programs, without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from pyrovae.objectives import LatentRate, ScaleLatents, state_of
from pyrovae.optimizer import clip_gradients
from pyrovae.waiting import keeping_tensors

__all__ = ["Gradients", "Terms", "loss_per_image"]


class Terms(NamedTuple):
    """What one step tells, tensors of shape `()`: all in nats per image, save the first.

    Attributes:
        moved: 1 where loss and gradients are finite, so that parameters may move, else 0.
        loss: what was minimised.
        elbo: the ELBO at beta 1.
        rate: log q - log p of the latents, or their divergence where the objective knows it.
    """

    moved: Tensor
    loss: Tensor
    elbo: Tensor
    rate: Tensor


def _as_it_is(images: Tensor) -> Tensor:
    return images


class Gradients(nn.Module):
    """Runs an objective on programs, and leaves the mean gradients of a batch behind.

    Where loss or gradients are not finite, buffers (such as batch norm's statistics) and the
    objective's state are put back as they were.

    Args:
        model: the generative program.
        guide: the inference program.
        objective: any ELBO of `pyro.infer`.
        observe: what makes observations of images; by default images are observations.
        clip_norm: largest global norm of the gradient of the loss in nats per image; None
            leaves gradients as they are.
    """

    def __init__(
        self,
        model: nn.Module,
        guide: nn.Module,
        objective: pyro.infer.ELBO,
        observe: Callable[[Tensor], Tensor] = _as_it_is,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__()
        self.model, self.guide = model, guide
        self.objective, self.observe, self.clip_norm = objective, observe, clip_norm

    def forward(
        self,
        images: Tensor,
        beta: float | Tensor,
        inputs: dict[str, Any],
        params: list[Tensor] | None = None,
    ) -> tuple[Terms, list[Tensor]]:
        """Sets the gradients of the mean loss, clipped.

        Args:
            images: what `observe` makes observations of.
            beta: the weight of the latent sites.
            inputs: what else the programs take.
            params: the parameters; by default those in Pyro's store, by their names there.

        Returns:
            The terms, and the parameters.
        """
        buffers = list(self.buffers())
        before, state = [b.clone() for b in buffers], dict(state_of(self.objective))
        terms, params = self.unclipped(images, beta, inputs, params)
        finite = clip_gradients(params, self.clip_norm)
        terms = terms._replace(moved=terms.moved * finite.to(terms.moved))
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(torch.where(terms.moved > 0, buffer, value))
        now = state_of(self.objective)
        for name, value in now.items():
            now[name] = torch.where(terms.moved > 0, value, state[name].to(value))
        return terms, params

    def unclipped(
        self,
        images: Tensor,
        beta: float | Tensor,
        inputs: dict[str, Any],
        params: list[Tensor] | None = None,
    ) -> tuple[Terms, list[Tensor]]:
        """As a call, but gradients are not clipped, and nothing is put back."""
        x = self.observe(images)
        with poutine.trace(param_only=True) as capture, keeping_tensors(), ScaleLatents(beta):
            with LatentRate() as latent:
                total = self.objective.loss_and_grads(self.model, self.guide, x, **inputs)
        if params is None:
            used = {site["value"].unconstrained() for site in capture.trace.nodes.values()}
            params = sorted(used, key=pyro.get_param_store().param_name)
        loss = loss_per_image(total, len(x), x.device)
        rate, elbo = latent.rate_and_elbo(self.objective, loss, beta)
        grads = [p.grad for p in params if p.grad is not None]
        torch._foreach_mul_(grads, 1 / len(x))
        return Terms(loss.isfinite().to(loss), loss, elbo.to(loss), rate.to(loss)), params


def loss_per_image(loss: Any, num_images: int, device: torch.device) -> Tensor:
    """Any loss that an ELBO of Pyro returns, in nats per image; several are added up."""
    parts = loss if isinstance(loss, tuple) else (loss,)
    total = sum(torch.as_tensor(part, device=device) for part in parts)
    return torch.as_tensor(total) / num_images
