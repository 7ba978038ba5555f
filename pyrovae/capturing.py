"""A whole step, optimiser included, recorded on a GPU once and replayed."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from pyrovae.gradients import Terms

__all__ = ["CapturedStep", "record_on_gpu"]

Work = Callable[[], Tensor]


class CapturedStep:
    """Replays a step as one CUDA graph: one launch in place of hundreds.

    The first steps run as they are, for what is set up on first use. Then images, beta and
    further inputs get addresses that stay, and the step is recorded. Random numbers stay live,
    since the generator's state is read at each replay; so do the learning rate, which must be a
    tensor, and the objective's state. Batches of another shape run as they are.

    Args:
        step: takes images, beta and further inputs, and must not wait for the device.
        record: takes work that gives a tensor; gives what repeats it into the same tensor.
        say: is told in one line if the step cannot be recorded.
    """

    WARM_UP = 3

    def __init__(
        self,
        step: Callable[..., Terms],
        record: Callable[[Work], tuple[Tensor, Callable[[], None]]],
        say: Callable[[str], None],
    ) -> None:
        self.step, self.record, self.say = step, record, say
        self.left = self.WARM_UP
        self.shapes: Any = None
        self.broken = False
        self.last_beta: float | None = None

    def __call__(self, images: Tensor, beta: float, inputs: dict[str, Tensor]) -> Terms:
        """Takes a step; what it tells is a copy, which the next step leaves alone."""
        shapes = [(v.shape, v.dtype) for v in (images, *inputs.values())]
        if self.shapes is None:
            self.left -= 1
            if self.left != 0:
                return self.step(images, beta, inputs)
            self._record(images, inputs)
            self.shapes = shapes
        if self.broken or shapes != self.shapes:
            return self.step(images, beta, inputs)
        if beta != self.last_beta:
            self.beta.fill_(beta)
            self.last_beta = beta
        for own, value in zip(self.inputs, (images, *inputs.values()), strict=True):
            own.copy_(value, non_blocking=True)
        self.replay()
        return Terms(*self.terms.clone().unbind())

    def _record(self, images: Tensor, inputs: dict[str, Tensor]) -> None:
        self.beta = torch.zeros((), device=images.device)
        self.inputs = [value.clone() for value in (images, *inputs.values())]
        own = dict(zip(inputs, self.inputs[1:], strict=True))
        try:
            self.terms, self.replay = self.record(
                lambda: torch.stack(self.step(self.inputs[0], self.beta, own))
            )
        except RuntimeError as error:  # Something waits for the device, or cannot be recorded.
            self.broken = True
            reason = shorten(str(error), 160, placeholder=" ...")
            self.say(f"the step cannot be recorded, and is launched piece by piece: {reason}")


def record_on_gpu(work: Work) -> tuple[Tensor, Callable[[], None]]:
    """Records work as a CUDA graph: it is not done now, but at each replay."""
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    # Threads that read images ahead may use the device meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = work()
    return result, graph.replay
