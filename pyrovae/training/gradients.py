"""The gradients of one batch, from the programs, without waiting for the device."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from pyrovae.objectives import Objective, ScaleLatents
from pyrovae.training.optimizer import clip_gradients
from pyrovae.utils.for_each import copy_each, multiply_each
from pyrovae.utils.process_group import Group

__all__ = ["BatchGradients", "Compute", "Gradients", "Terms"]


class Terms(NamedTuple):
    """What one step tells, tensors of shape `()`: all in nats per image, save the first.

    Attributes:
        finite: 1 where loss and gradients are finite, so that parameters may move, else 0.
        loss: what was minimised.
        elbo: the ELBO at beta 1.
        rate: log q - log p of the latents, or their divergence where the objective knows it.
    """

    finite: Tensor
    loss: Tensor
    elbo: Tensor
    rate: Tensor


def _as_it_is(images: Tensor) -> Tensor:
    return images


#: What leaves gradients behind, given images, beta and other inputs: also gives the parameters
#: that the programs used, by their names in Pyro's store.
Compute = Callable[[Tensor, "float | Tensor", dict[str, Any]], tuple[Terms, list[Tensor]]]


#: Pyro has one stack of effects for all threads: one thread at a time may run programs.
_pyro = threading.RLock()


class BatchGradients(nn.Module):
    """Runs an objective on programs, and leaves the mean gradients of a batch behind.

    Args:
        model: the generative program.
        guide: the inference program.
        objective: what `as_objective` makes of an ELBO.
        observe: what makes observations of images; by default images are observations.
    """

    def __init__(
        self,
        model: nn.Module,
        guide: nn.Module,
        objective: Objective,
        observe: Callable[[Tensor], Tensor] = _as_it_is,
    ) -> None:
        super().__init__()
        self.model, self.guide = model, guide
        self.objective, self.observe = objective, observe

    def forward(
        self,
        images: Tensor,
        beta: float | Tensor,
        inputs: dict[str, Any],
        params: list[Tensor] | None = None,
    ) -> tuple[Terms, list[Tensor]]:
        """Sets the gradients of the mean loss; returns what `Compute` does.

        Args:
            images: what `observe` makes observations of.
            beta: the weight of the latent sites.
            inputs: what else the programs take.
            params: the parameters; by default those in Pyro's store, by their names there.
        """
        x = self.observe(images)
        with _pyro, poutine.trace(param_only=True) as capture, ScaleLatents(beta):
            found = self.objective.terms_and_grads(beta, self.model, self.guide, x, **inputs)
        if params is None:
            used = {site["value"].unconstrained() for site in capture.trace.nodes.values()}
            params = sorted(used, key=pyro.get_param_store().param_name)
        loss, elbo, rate = found
        grads = [p.grad for p in params if p.grad is not None]
        multiply_each(grads, 1 / len(x))
        return Terms(loss.isfinite().to(loss), loss, elbo.to(loss), rate.to(loss)), params


class Gradients(nn.Module):
    """Mean gradients of the batches of all processes, clipped, or none of them.

    Where loss or gradients are not finite, buffers (such as batch norm's statistics) and the
    objective's state are put back as they were.

    Args:
        model: the generative program.
        guide: the inference program.
        objective: what `as_objective` makes of an ELBO.
        observe: what makes observations of images; by default images are observations.
        clip_norm: largest global norm of the gradient of the loss in nats per image; None
            leaves gradients as they are.
        group: the processes, each with a batch of its own of the same size.

    Attributes:
        batch: what runs the programs on this process's batch.
    """

    def __init__(
        self,
        model: nn.Module,
        guide: nn.Module,
        objective: Objective,
        observe: Callable[[Tensor], Tensor] = _as_it_is,
        clip_norm: float | None = None,
        group: Group | None = None,
    ) -> None:
        super().__init__()
        self.batch = BatchGradients(model, guide, objective, observe)
        self.objective, self.clip_norm, self.group = objective, clip_norm, group or Group()

    def forward(
        self,
        images: Tensor,
        beta: float | Tensor,
        inputs: dict[str, Any],
        batch: Compute | None = None,
        **kwargs: Any,
    ) -> tuple[Terms, list[Tensor]]:
        """Sets the gradients; returns what `Compute` does, the terms averaged too.

        Args:
            images: this process's batch.
            beta: the weight of the latent sites.
            inputs: what else the programs take.
            batch: what runs the programs in place of the attribute.
            **kwargs: what else it takes.
        """
        buffers = list(self.buffers())
        before = [buffer.clone() for buffer in buffers]
        state = self._kept_state()
        was = [value.clone() for value in state.values()]
        terms, params = (batch or self.batch)(images, beta, inputs, **kwargs)
        if self.group.size > 1:
            terms = self._averaged(terms, params, before)
        finite = clip_gradients(params, self.clip_norm)
        terms = terms._replace(finite=terms.finite * finite.to(terms.finite))
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(torch.where(terms.finite > 0, buffer, value))
            now = self.objective.state
            for (name, own), old in zip(state.items(), was, strict=True):
                own.copy_(torch.where(terms.finite > 0, now[name].to(old), old))
                now[name] = own
        return terms, params

    def _kept_state(self) -> dict[str, Tensor]:
        """The objective's state, in tensors beside the parameters: a recorded step knows these."""
        state, first = self.objective.state, next(self.parameters())
        state.update({name: value.to(first.detach()) for name, value in state.items()})
        return dict(state)

    @torch.no_grad()
    def _averaged(self, terms: Terms, params: list[Tensor], before: list[Tensor]) -> Terms:
        """Averages all that a step changes over the processes, in one exchange."""
        grads = [p.grad for p in params if p.grad is not None]
        pairs = zip(self.buffers(), before, strict=True)
        floating = [(now, old) for now, old in pairs if now.is_floating_point()]
        # Of buffers their change, lest constants drift by what averaging them rounds.
        changes, state = [now - old for now, old in floating], self.objective.state
        found = iter(self.group.average([*grads, *terms, *changes, *state.values()]))
        copy_each(grads, [next(found) for _ in grads])
        terms = Terms(*(next(found) for _ in terms))
        for buffer, value in floating:
            buffer.copy_(value + next(found))
        state.update({name: next(found) for name in state})
        return terms._replace(finite=(terms.finite == 1).to(terms.finite))
