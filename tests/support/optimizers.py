"""Optimisers by name, and SVI with one of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pyro.infer import Trace_ELBO
from torch.optim import SGD, Adam, Adamax, AdamW

from pyrovae import SVI, GroupedOptimizer
from pyrovae.programs.vae import VAE

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "Adam": partial(Adam, lr=1e-2),
    "Adam-amsgrad": partial(Adam, lr=1e-2, amsgrad=True),
    "Adam-fused": partial(Adam, lr=1e-2, fused=True),
    "AdamW": partial(AdamW, lr=1e-2, weight_decay=0.1),
    "Adamax": partial(Adamax, lr=1e-2),
    "SGD": partial(SGD, lr=1e-4),
    "SGD-momentum": partial(SGD, lr=1e-4, momentum=0.9),
}


def svi_of(
    vae: VAE, factory: Any = OPTIMIZERS["Adam"], clip_norm: float | None = None
) -> tuple[SVI, GroupedOptimizer]:
    optimizer = GroupedOptimizer(factory, clip_norm)
    return SVI(vae.model, vae.guide, optimizer, Trace_ELBO()), optimizer
