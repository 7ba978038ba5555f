"""SVI steps in the fastest way that works: compiled, recorded as a CUDA graph, or eager."""

from __future__ import annotations

import time
from collections.abc import Callable
from textwrap import shorten

import torch
from torch import Tensor

from pyrovae.data.feed import Feed
from pyrovae.training.compiling import CompiledStep, compile_gradients, compiler_silenced
from pyrovae.training.optimizer import GroupedOptimizer
from pyrovae.training.python_state import check_hooks, parts_of
from pyrovae.training.recording import NotRecordable, Recorder, Replayed, Work
from pyrovae.training.svi import SVI
from pyrovae.utils.process_group import PeerFailed

__all__ = ["Stepper"]


class Stepper:
    """Takes steps that are eager, compiled, recorded, or compiled and recorded.

    All ways compute the same steps. If one fails, the log says why, and the next one is tried:

    - the whole step compiled, optimiser included, and recorded; needs one process and a recorder;
    - the gradients compiled, and recorded if there is a recorder;
    - the eager step, recorded if there is a recorder.

    Args:
        svi: takes an eager step.
        optimizer: the optimiser of `svi`, with all parameters registered.
        feed: returns the batches.
        inputs: maps the attributes of a batch to other inputs of the programs.
        recorder: records work of the device; None if the device has no launch overhead.
        say: receives lines for the log.
    """

    def __init__(
        self,
        svi: SVI,
        optimizer: GroupedOptimizer,
        feed: Feed,
        inputs: Callable[[Tensor], dict[str, Tensor]],
        recorder: Recorder | None,
        say: Callable[[str], None],
    ) -> None:
        self.svi, self.optimizer, self.feed, self.inputs = svi, optimizer, feed, inputs
        self.recorder, self.say = recorder, say
        self.take: Work = self._eager
        self._records = False
        self._ways: list[tuple[Callable[[], Work], str]] = []
        self._beta: float | Tensor = 1.0
        self._last_beta: float | None = None
        if recorder is not None:
            first = optimizer.parameters()[0]
            self._beta = torch.zeros((), dtype=first.dtype, device=first.device)
            optimizer.make_capturable()

    def __call__(self, beta: float) -> Tensor:
        """Takes a step; returns its `Terms` as one tensor `(5,)`, without a device sync."""
        self.feed.stage()
        self._set(beta)
        if self.recorder is not None and not self.optimizer.started:
            return self._eager()  # The first step creates the state of the optimiser.
        return self._try() if self._ways else self.take()

    def compile(self) -> None:
        """Compiles the steps from the next one on, and records them if there is a recorder."""
        self._ways = [(self._gradients, "cannot be compiled, runs eagerly")]
        if self.recorder is not None and self.svi.gradients.group.size == 1:
            self._ways.insert(0, (self._whole, "compiled without the optimiser"))

    def record(self) -> None:
        """Records the steps from the next one on, if there is a recorder."""
        self.take, self._records = self._recorded(self._eager), True

    def close(self) -> None:
        """Releases recordings and batches at the end of a run.

        NCCL cannot shut down while a CUDA graph refers to it, and a graph holds its memory.
        """
        self._ways, self.take = [], _closed

    def _set(self, beta: float) -> None:
        if not isinstance(self._beta, Tensor):
            self._beta = beta
        elif beta != self._last_beta:
            self._beta.fill_(beta)
            self._last_beta = beta

    def _eager(self) -> Tensor:
        images, attributes = self.feed()
        return torch.stack(self.svi.advance(images, self._beta, self.inputs(attributes)))

    def _try(self) -> Tensor:
        """Takes a step with the first way that works, and keeps that way; else eager."""
        position = self.feed.position()
        while self._ways:
            make, failure = self._ways.pop(0)
            started, before = time.monotonic(), self.svi.compute
            try:
                with compiler_silenced():
                    work = make()
                    found = work()
            except PeerFailed:
                raise
            except Exception as error:  # Compilers raise many errors; eager steps still work.
                self.svi.compute = before
                self.feed.return_to(position)
                self.say(f"{failure}: {_reason(error)}")
                continue
            self.say(f"compiled in {time.monotonic() - started:.0f} s")
            self._ways, self.take = [], self._recorded(work)
            return found
        if not self._records:
            self.record()
        return self.take()

    def _whole(self) -> Work:
        self.feed.keep_addresses()
        assert isinstance(self._beta, Tensor)
        gradients = self.svi.gradients
        return CompiledStep(self.feed, gradients, self.inputs, self.optimizer, self._beta)

    def _gradients(self) -> Work:
        self.svi.compute = compile_gradients(self.svi.gradients, self.optimizer.parameters())
        return self._eager

    def _recorded(self, work: Work) -> Work:
        """Returns the work with recording and replay; unchanged if it cannot be recorded."""
        if self.recorder is None:
            return work
        gradients, objective = self.svi.gradients, self.svi.objective
        recorded = Replayed(work, self.recorder, parts_of(gradients, objective))

        def replayed() -> Tensor:
            self.feed.keep_addresses()
            try:
                return recorded()
            except NotRecordable as error:
                self.say(f"not recorded, kernels are launched one by one: {_reason(error)}")
            for parameter in self.optimizer.parameters():
                parameter.grad = None  # Gradients of a failed recording hold no values.
            self.take = work
            return work()

        try:
            objective.check_recordable()
            check_hooks(gradients)
        except NotImplementedError as error:
            self.say(f"not recorded, kernels are launched one by one: {_reason(error)}")
            return work
        return replayed


def _closed() -> Tensor:
    raise RuntimeError("the run has ended")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return shorten(text, 160, placeholder=" ...")
