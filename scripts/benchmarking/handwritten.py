"""The VAEs of a benchmark without Pyro, and the loops that people write around them."""

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

WARM_UP = 3  # steps before a capture, on a stream of their own


class HandWritten(nn.Module, ABC):
    """The negative ELBO of a `VAE` of independent Normal latents, written out.

    It is the same estimate from the same noise as Pyro's `Trace_ELBO` of that VAE, without
    distributions and handlers: what an expert would write for one model.

    Args:
        vae: whose networks and parameters it takes over.
        bf16: whether the networks multiply in bf16.
    """

    def __init__(self, vae: VAE, bf16: bool = False) -> None:
        super().__init__()
        self.encoder, self.decoder, self.bf16 = vae.guide.encoder, vae.model.decoder, bf16

    @abstractmethod
    def scored(self, images: Tensor) -> Tensor:
        """What is scored of uint8 images, with the same noise as `ModelGuidePair.scored` draws."""

    @abstractmethod
    def distortion(self, h: Tensor, x: Tensor) -> Tensor:
        """-log p(x given h), summed over the batch."""

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
    """Normal pixels with one learned scale, as `SharedScaleNormal`."""

    def __init__(self, vae: VAE, bf16: bool = False) -> None:
        super().__init__(vae, bf16)
        likelihood = vae.likelihood
        assert isinstance(likelihood, SharedScaleNormal)
        self.raw_scale = likelihood.scale.raw

    def scored(self, images: Tensor) -> Tensor:
        """Dequantised pixels."""
        return (images + torch.rand(images.shape, device=images.device)) / 256

    def distortion(self, h: Tensor, x: Tensor) -> Tensor:
        """Squared errors, and the logarithm of the scale once a pixel."""
        scale = 0.001 + 0.2 * (10 * self.raw_scale).exp()
        constant = x.numel() * (scale.log() + 0.5 * math.log(2 * math.pi))
        return 0.5 * ((x - h) / scale).square().sum() + constant


class BinaryPixels(HandWritten):
    """Binary pixels, as `Bernoulli`."""

    def scored(self, images: Tensor) -> Tensor:
        """Pixels 0 and 1."""
        return images / 255

    def distortion(self, h: Tensor, x: Tensor) -> Tensor:
        """Cross entropy of the log odds."""
        return functional.binary_cross_entropy_with_logits(h, x, reduction="sum")


def plain_step(module: nn.Module, images: Tensor, rate: float) -> Callable[[], float]:
    """The loop of most VAE repositories: Adam as it comes, and the loss read at every step."""
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
    """One fused optimiser, and no look at the loss.

    Args:
        compute: gives the loss: the module, or what a compiler made of it.
        module: whose parameters are trained.
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
    """A step that a CUDA graph replays, with all that the graph reads and writes.

    The graph knows addresses only. A tensor that is freed leaves its address to others, and the
    next replay then reads and writes what is theirs ("illegal memory access"). So whoever holds
    the step holds all of it.

    Args:
        graph: has recorded a step.
        loss: what the recorded step writes its loss to, in the graph's own memory.
        optimizer: moves the parameters; its state was made before the recording.
        module: has the parameters and buffers, and the gradients in the graph's own memory.
        compute: what computed the loss while it was recorded, with what a compiler keeps there.
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
        # The module may be cleared of its gradients, but not the graph's memory of them.
        self.gradients = [parameter.grad for parameter in module.parameters()]

    def __call__(self) -> Tensor:
        """Takes a step; the next one overwrites the loss that it gives."""
        self.graph.replay()
        return self.loss


def captured_step(
    compute: Callable[[Tensor], Tensor], module: nn.Module, images: Tensor, rate: float
) -> RecordedStep:
    """As `lean_step`, the whole step with its optimiser replayed as one CUDA graph."""
    optimizer = torch.optim.Adam(module.parameters(), lr=rate, fused=True, capturable=True)

    def compute_and_move() -> Tensor:
        # Without gradients to add to, the backward pass of the capture makes tensors in the
        # graph's own memory, which every replay then writes anew.
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
