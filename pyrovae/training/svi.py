"""The SVI step: one optimiser for all parameters, and no device sync."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from pyrovae.objectives import as_objective
from pyrovae.programs.pair import run_both
from pyrovae.training.gradients import Compute, Gradients, Terms
from pyrovae.training.optimizer import GroupedOptimizer
from pyrovae.utils.sites import sample_sites

__all__ = ["ALL_FINITE", "SVI", "first_bad_site"]

#: The result of `first_bad_site` if all sites are finite.
ALL_FINITE = "the gradient, while all sites are finite"


class SVI(pyro.infer.SVI):
    """Pyro's SVI in nats per image, which skips steps with a non-finite loss or gradient.

    Loss and gradients are divided by the number of images, the length of the first argument, so
    that clipping thresholds and learning rates do not depend on the batch size. A skipped step
    changes neither parameters nor buffers (such as batch norm statistics) nor the state of the
    objective. `step` waits for the loss, as Pyro's SVI does; `advance` does not.

    Args:
        model: the generative program.
        guide: the inference program.
        optim: a `GroupedOptimizer`, or any other `PyroOptim`, which waits for the device.
        loss: any `pyro.infer` ELBO.
        **kwargs: other arguments of `Gradients`.

    Attributes:
        objective: the ELBO as an `Objective`.
        compute: the function that computes gradients; by default `Gradients`.
    """

    def __init__(
        self,
        model: nn.Module,
        guide: nn.Module,
        optim: pyro.optim.PyroOptim,
        loss: pyro.infer.ELBO,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, guide, optim, loss)
        self.objective = as_objective(loss)
        clip_norm = optim.clip_norm if isinstance(optim, GroupedOptimizer) else None
        self.gradients = Gradients(model, guide, self.objective, clip_norm=clip_norm, **kwargs)
        self.compute: Compute = self.gradients
        self.skipped = False

    def step(self, images: Tensor, **kwargs: Any) -> float:
        """Takes a step, or skips it if it is not finite; returns the loss in nats per image.

        Sets the attribute `skipped` to whether the step was skipped.
        """
        terms = self.advance(images, inputs=kwargs)
        self.skipped = not terms.finite
        return float(terms.loss)

    def advance(
        self, images: Tensor, beta: float | Tensor = 1.0, inputs: dict[str, Any] | None = None
    ) -> Terms:
        """Takes a step like `step`, without waiting for the device.

        Args:
            images: the input of `observe`, which maps it to observations.
            beta: the weight of the latent sites.
            inputs: other inputs of the programs.

        Returns:
            The terms of the step, as tensors.
        """
        terms, params = self.compute(images, beta, inputs or {})
        if isinstance(self.optim, GroupedOptimizer):
            self.optim.apply(params, terms.finite)
        elif terms.finite:  # Other optimisers cannot skip a step on the device.
            self.optim(params)
        for p in params:
            p.grad = None
        return terms


@torch.no_grad()
def first_bad_site(
    model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
) -> str:
    """Names the first site, guide first, whose value or log density is not finite."""
    with pyro.validation_enabled(False):
        guide_trace, model_trace = run_both(model, guide, *args, **kwargs)
        for program, trace in (("guide", guide_trace), ("model", model_trace)):
            for name in sample_sites(trace):
                site = trace.nodes[name]
                scored = _finite(site["fn"].log_prob(site["value"]))
                # Where pixels are missing, NaN is observed, and the density is finite.
                if not (_finite(site["value"]) or (site["is_observed"] and scored)):
                    return f"the value of site '{name}' in the {program}"
                if not scored:
                    return f"the log density of site '{name}' in the {program}"
    return ALL_FINITE


def _finite(value: Any) -> bool:
    return not isinstance(value, Tensor) or bool(value.isfinite().all())
