"""Hand-written VAEs without Pyro, and typical training loops for them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyrovae.likelihoods import SharedScaleNormal
from pyrovae.programs.vae import VAE

__all__ = [
    "BinaryPixels",
    "HandWritten",
    "NormalPixels",
    "RecordedStep",
    "captured_step",
    "lean_step",
    "plain_step",
]

WARM_UP = 3  # steps before a capture, on a side stream


class HandWritten(nn.Module, ABC):
    """The negative ELBO of a `VAE` of independent Normal latents, written out.

    It is the same estimate from the same noise as Pyro's `Trace_ELBO` of that VAE, without
    distribution objects and handlers, as an expert would write it for one model.

    Args:
        vae: the VAE whose networks and parameters are used.
        bf16: whether the networks compute in bf16.
    """

    def __init__(self, vae: VAE, bf16: bool = False) -> None:
        super().__init__()
        self.encoder, self.decoder, self.bf16 = vae.guide.encoder, vae.model.decoder, bf16

    @abstractmethod
    def scored(self, images: Tensor) -> Tensor:
        """The observations to score, with the same noise as `ModelGuidePair.scored` draws."""

    @abstractmethod
    def distortion(self, h: Tensor, x: Tensor) -> Tensor:
        """-log p(x | h), summed over the batch."""

    def forward(self, images: Tensor) -> Tensor:
        """The loss in nats per image, for uint8 images."""
        x = self.scored(images)
        loc, raw = self._run(self.encoder, x).chunk(2, dim=-1)
        loc, log_scale = loc.clamp(-1e4, 1e4), 7 * torch.tanh(raw / 7)
        noise = torch.randn_like(loc)
        z = loc + noise * log_scale.exp()
        rate = (0.5 * (z.square() - noise.square()) - log_scale).sum()
        return (rate + self.distortion(self._run(self.decoder, z), x)) / len(x)

    def _run(self, network: nn.Module, x: Tensor) -> Tensor:
        if not self.bf16:
            return network(x)
        with torch.autocast(x.device.type, torch.bfloat16):
            return network(x).float()


class NormalPixels(HandWritten):
    """Normal pixels with one learned scale, equal to `SharedScaleNormal`."""

    def __init__(self, vae: VAE, bf16: bool = False) -> None:
        super().__init__(vae, bf16)
        likelihood = vae.likelihood
        assert isinstance(likelihood, SharedScaleNormal)
        self.raw_scale = likelihood.scale.raw

    def scored(self, images: Tensor) -> Tensor:
        """Dequantised pixels."""
        return (images + torch.rand(images.shape, device=images.device)) / 256

    def distortion(self, h: Tensor, x: Tensor) -> Tensor:
        """The squared errors, plus the log of the scale once per pixel."""
        scale = 0.001 + 0.2 * (10 * self.raw_scale).exp()
        constant = x.numel() * (scale.log() + 0.5 * math.log(2 * math.pi))
        return 0.5 * ((x - h) / scale).square().sum() + constant


class BinaryPixels(HandWritten):
    """Binary pixels, equal to `Bernoulli`."""

    def scored(self, images: Tensor) -> Tensor:
        """Pixels of value 0 or 1."""
        return images / 255

    def distortion(self, h: Tensor, x: Tensor) -> Tensor:
        """The cross entropy of the log odds."""
        return functional.binary_cross_entropy_with_logits(h, x, reduction="sum")


def plain_step(module: nn.Module, images: Tensor, rate: float) -> Callable[[], float]:
    """The loop of most VAE repositories: default Adam, and `loss.item()` at every step."""
    optimizer = torch.optim.Adam(module.parameters(), lr=rate)

    def step() -> float:
        optimizer.zero_grad()
        loss = module(images)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def lean_step(
    compute: Callable[[Tensor], Tensor], module: nn.Module, images: Tensor, rate: float
) -> Callable[[], Tensor]:
    """A loop with fused Adam that does not read the loss.

    Args:
        compute: returns the loss: the module, or its compiled form.
        module: the module whose parameters are trained.
        images: the batch.
        rate: the learning rate.
    """
    optimizer = torch.optim.Adam(module.parameters(), lr=rate, fused=True)

    def step() -> Tensor:
        loss = compute(images)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


class RecordedStep:
    """A step that a CUDA graph replays, with references to all tensors that the graph uses.

    The graph stores addresses only. If a tensor is freed, its memory may be reused, and the next
    replay accesses the wrong data ("illegal memory access"). So this object keeps all of them
    alive.

    Args:
        graph: the graph with the recorded step.
        loss: the tensor in the graph's memory pool that receives the loss.
        optimizer: the optimiser; its state was created before the recording.
        module: the module with parameters and buffers; its gradients are in the graph's pool.
        compute: the function that computed the loss in the recording, with the compiler's buffers.
        images: the batch that every replay reads.
    """

    def __init__(
        self,
        graph: torch.cuda.CUDAGraph,
        loss: Tensor,
        optimizer: torch.optim.Optimizer,
        module: nn.Module,
        compute: Callable[[Tensor], Tensor],
        images: Tensor,
    ) -> None:
        self.graph, self.loss = graph, loss
        self.optimizer, self.module, self.compute, self.images = optimizer, module, compute, images
        # zero_grad may drop the module's references, but the graph needs the memory.
        self.gradients = [parameter.grad for parameter in module.parameters()]

    def __call__(self) -> Tensor:
        """Replays a step; the next replay overwrites the returned loss."""
        self.graph.replay()
        return self.loss


def captured_step(
    compute: Callable[[Tensor], Tensor], module: nn.Module, images: Tensor, rate: float
) -> RecordedStep:
    """The step of `lean_step`, replayed with its optimiser as one CUDA graph."""
    optimizer = torch.optim.Adam(module.parameters(), lr=rate, fused=True, capturable=True)

    def compute_and_move() -> Tensor:
        # Without existing gradients, the backward pass of the capture allocates them in the
        # graph's pool, and every replay overwrites them.
        optimizer.zero_grad(set_to_none=True)
        loss = compute(images)
        loss.backward()
        optimizer.step()
        return loss.detach()

    side: Any = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            compute_and_move()
    torch.cuda.current_stream().wait_stream(side)
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = compute_and_move()
    return RecordedStep(graph, loss, optimizer, module, compute, images)
