"""Steps of SVI in the fastest way that the run and the device allow."""

from __future__ import annotations

import time
from collections.abc import Callable
from textwrap import shorten

import torch
from torch import Tensor

from pyrovae.data.feed import Feed
from pyrovae.training.compiling import (
    CompiledStep,
    compile_gradients,
    compiler_silenced,
)
from pyrovae.training.optimizer import GroupedOptimizer
from pyrovae.training.recording import NotRecordable, Recorded, Recorder, Work
from pyrovae.training.svi import SVI
from pyrovae.utils.process_group import PeerFailed

__all__ = ["Stepper"]


class Stepper:
    """Takes steps: as they are, compiled, recorded, or both.

    Every way takes the same steps. Where one cannot be taken, a line says why, and the next one
    of these is:

    - the whole step compiled, optimiser included, and recorded: one process with a recorder;
    - the gradients compiled, and recorded where there is a recorder;
    - the step as it is, recorded where there is a recorder.

    Args:
        svi: takes a step as it is.
        optimizer: its optimiser, which knows its parameters.
        feed: gives the batches.
        inputs: makes the programs' further inputs of a batch's attributes.
        recorder: records the device's work; None on a device without launches to save.
        say: is told lines for people.
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
        self.take: Work = self._as_it_is
        self._records = False
        self._ways: list[tuple[Callable[[], Work], str]] = []
        self._beta: float | Tensor = 1.0
        self._last_beta: float | None = None
        if recorder is not None:
            first = optimizer.parameters()[0]
            self._beta = torch.zeros((), dtype=first.dtype, device=first.device)
            optimizer.make_capturable()

    def __call__(self, beta: float) -> Tensor:
        """Takes a step; gives its `Terms` as one tensor `(4,)`, without waiting for the device."""
        self.feed.stage()
        self._set(beta)
        if self.recorder is not None and not self.optimizer.started:
            return self._as_it_is()  # The optimiser has no state yet that could be recorded.
        return self._try() if self._ways else self.take()

    def compile(self) -> None:
        """From the next step on, compiles steps, and records them where there is a recorder."""
        self._ways = [(self._gradients, "cannot be compiled, runs as it is")]
        if self.recorder is not None and self.svi.gradients.group.size == 1:
            self._ways.insert(0, (self._whole, "compiled without the optimiser"))

    def record(self) -> None:
        """From the next step on, records steps, where there is a recorder."""
        self.take, self._records = self._recorded(self._as_it_is), True

    def close(self) -> None:
        """Lets go of what was recorded and of the batches, at the end of a run.

        NCCL ends only when no graph refers to it any more, and a graph holds its memory.
        """
        self._ways, self.take = [], _closed

    def _set(self, beta: float) -> None:
        if not isinstance(self._beta, Tensor):
            self._beta = beta
        elif beta != self._last_beta:
            self._beta.fill_(beta)
            self._last_beta = beta

    def _as_it_is(self) -> Tensor:
        images, attributes = self.feed()
        return torch.stack(self.svi.advance(images, self._beta, self.inputs(attributes)))

    def _try(self) -> Tensor:
        """The first way that works, from here on; else as before, recorded."""
        position = self.feed.position()
        while self._ways:
            make, otherwise = self._ways.pop(0)
            started, before = time.monotonic(), self.svi.compute
            try:
                with compiler_silenced():
                    work = make()
                    found = work()
            except PeerFailed:
                raise
            except Exception as error:  # Compilers fail in many ways; a run can do without.
                self.svi.compute = before
                self.feed.return_to(position)
                self.say(f"{otherwise}: {_reason(error)}")
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
        return self._as_it_is

    def _recorded(self, work: Work) -> Work:
        """The work, replayed once it has been recorded; as it is where that cannot be."""
        if self.recorder is None:
            return work
        recorded = Recorded(work, self.recorder)

        def replayed() -> Tensor:
            self.feed.keep_addresses()
            try:
                return recorded()
            except NotRecordable as error:
                self.say(f"not recorded, launched piece by piece: {_reason(error)}")
            for parameter in self.optimizer.parameters():
                parameter.grad = None  # What was made for the recording was never computed.
            self.take = work
            return work()

        try:
            self.svi.objective.check_recordable()
        except NotImplementedError as error:
            self.say(f"not recorded, launched piece by piece: {_reason(error)}")
            return work
        return replayed


def _closed() -> Tensor:
    raise RuntimeError("the run has ended")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return shorten(text, 160, placeholder=" ...")
