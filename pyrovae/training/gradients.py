"""The gradients of one batch, computed without a device sync."""

from __future__ import annotations

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
from pyrovae.utils.pyro_state import running_alone

__all__ = ["BatchGradients", "Compute", "Gradients", "Terms"]


class Terms(NamedTuple):
    """The terms of one step: tensors of shape `()`, in nats per image except `finite`.

    Attributes:
        finite: 1 if loss and gradients are finite, so that the step is applied, else 0.
        loss: the value that was minimised.
        elbo: the ELBO at beta 1.
        rate: log q - log p of the latents, or their KL where the objective computes it.
        norm: the global norm of the gradient before clipping; 0 until it is computed.
    """

    finite: Tensor
    loss: Tensor
    elbo: Tensor
    rate: Tensor
    norm: Tensor


def _as_it_is(images: Tensor) -> Tensor:
    return images


#: Sets gradients, given images, beta and other inputs. Returns the terms, and the parameters that
#: the programs used, sorted by their names in Pyro's store.
Compute = Callable[[Tensor, "float | Tensor", dict[str, Any]], tuple[Terms, list[Tensor]]]


class BatchGradients(nn.Module):
    """Computes the gradients of the mean loss of a batch.

    Args:
        model: the generative program.
        guide: the inference program.
        objective: the objective, see `as_objective`.
        observe: maps images to observations; by default images are observations.
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
        """Sets the gradients of the mean loss; returns the terms and the parameters.

        Args:
            images: the input of `observe`.
            beta: the weight of the latent sites.
            inputs: other inputs of the programs.
            params: the parameters; by default those that the programs use, sorted by their names
                in Pyro's store.
        """
        x = self.observe(images)
        with running_alone(), poutine.trace(param_only=True) as capture, ScaleLatents(beta):
            found = self.objective.terms_and_grads(beta, self.model, self.guide, x, **inputs)
        if params is None:
            used = {site["value"].unconstrained() for site in capture.trace.nodes.values()}
            params = sorted(used, key=pyro.get_param_store().param_name)
        loss, elbo, rate = found
        grads = [p.grad for p in params if p.grad is not None]
        multiply_each(grads, 1 / len(x))
        elbo, rate = elbo.to(loss), rate.to(loss)
        return Terms(loss.isfinite().to(loss), loss, elbo, rate, torch.zeros_like(loss)), params


class Gradients(nn.Module):
    """Computes the gradients of the mean loss over the batches of all processes, clipped.

    If the loss or a gradient is not finite, buffers (such as batch norm statistics) and the state
    of the objective are restored.

    Args:
        model: the generative program.
        guide: the inference program.
        objective: the objective, see `as_objective`.
        observe: maps images to observations; by default images are observations.
        clip_norm: largest global norm of the gradient of the loss in nats per image; None does
            not clip.
        group: the processes; each has another batch, of the same size.

    Attributes:
        batch: computes the gradients of this process's batch.
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
        """Sets the gradients; returns the terms, averaged over processes, and the parameters.

        Args:
            images: this process's batch.
            beta: the weight of the latent sites.
            inputs: other inputs of the programs.
            batch: replaces the attribute `batch`.
            **kwargs: other arguments of `batch`.
        """
        buffers = list(self.buffers())
        before = [buffer.clone() for buffer in buffers]
        state = self._kept_state()
        was = [value.clone() for value in state.values()]
        terms, params = (batch or self.batch)(images, beta, inputs, **kwargs)
        if self.group.size > 1:
            terms = self._averaged(terms, params, before)
        norm = clip_gradients(params, self.clip_norm).to(terms.loss)
        finite = terms.finite * norm.isfinite().to(terms.finite)
        terms = terms._replace(finite=finite, norm=norm)
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(torch.where(terms.finite > 0, buffer, value))
            now = self.objective.state
            for (name, own), old in zip(state.items(), was, strict=True):
                own.copy_(torch.where(terms.finite > 0, now[name].to(old), old))
                now[name] = own
        return terms, params

    def _kept_state(self) -> dict[str, Tensor]:
        """The objective's state, on the device of the parameters, as a recorded step needs it."""
        state, first = self.objective.state, next(self.parameters())
        state.update({name: value.to(first.detach()) for name, value in state.items()})
        return dict(state)

    @torch.no_grad()
    def _averaged(self, terms: Terms, params: list[Tensor], before: list[Tensor]) -> Terms:
        """Averages gradients, terms, buffers and objective state over the processes at once."""
        grads = [p.grad for p in params if p.grad is not None]
        pairs = zip(self.buffers(), before, strict=True)
        floating = [(now, old) for now, old in pairs if now.is_floating_point()]
        # The change of buffers is averaged: averaging constant buffers would add rounding errors.
        changes, state = [now - old for now, old in floating], self.objective.state
        found = iter(self.group.average([*grads, *terms, *changes, *state.values()]))
        copy_each(grads, [next(found) for _ in grads])
        terms = Terms(*(next(found) for _ in terms))
        for buffer, value in floating:
            buffer.copy_(value + next(found))
        state.update({name: next(found) for name in state})
        return terms._replace(finite=(terms.finite == 1).to(terms.finite))
