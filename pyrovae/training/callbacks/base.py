"""The interface of callbacks, and the data that they receive."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from torch import Tensor

from pyrovae.data import Split
from pyrovae.engine import Engine
from pyrovae.posterior.passes import in_order
from pyrovae.programs import ModelGuidePair
from pyrovae.runs import RunDirectory
from pyrovae.training.rows import EpochRow
from pyrovae.utils.arguments import Recorded
from pyrovae.utils.grids import columns_for, interleave, page, png
from pyrovae.utils.randomness import private_randomness

__all__ = ["Callback", "Callbacks", "Epoch", "Hooks", "RunInfo", "Warnings"]

NUM_PICTURES = 144

#: The beginning of a line of the log that warns.
WARNING = "warning"


@dataclass(frozen=True)
class RunInfo:
    """The state of a run when it begins or resumes.

    Attributes:
        run: the run directory; None if nothing is written.
        epochs: number of epochs of the whole run.
        epoch: number of complete epochs.
        step: number of steps in these epochs.
        wide: whether the objective prefers a wider guide than the ELBO does.
        maximises_elbo: whether the objective follows the ELBO at beta 1.
        say: sends a line to all callbacks.
        id: a text that identifies the run, also after it resumes.
        threads: number of CPU threads that compute one operation together; 0 on a GPU.
    """

    run: RunDirectory | None
    epochs: int
    epoch: int
    step: int
    wide: bool
    maximises_elbo: bool
    say: Callable[[str], None]
    id: str = ""
    threads: int = 0


@dataclass(frozen=True)
class Epoch:
    """The state of a run after an epoch.

    Attributes:
        row: the metrics of the epoch.
        programs: the model and the guide, on the engine's device.
        split: the validation split.
        engine: the device and the precision.
        settled: whether beta has its final value.
        vectors: measurements with one number per latent dimension, by name.
        rows: the rows of `metrics.csv` up to this epoch.
        run: the run directory; None if nothing is written.
    """

    row: EpochRow
    programs: ModelGuidePair = field(repr=False)
    split: Split = field(repr=False)
    engine: Engine
    settled: bool = True
    vectors: Mapping[str, np.ndarray] = field(default_factory=dict)
    rows: Sequence[Mapping[str, str]] = field(default=(), repr=False)
    run: RunDirectory | None = None

    @cached_property
    def pictures(self) -> dict[str, Tensor]:
        """Pages of samples and reconstructions, uint8 `(C, H, W)`; computed once per epoch."""
        first = in_order(self.programs, self.split, self.engine, NUM_PICTURES // 2)
        some, attributes = next(first.labelled(0))
        many = attributes.repeat(-(-NUM_PICTURES // len(some)), 1)[:NUM_PICTURES]
        # The same latents and noise in every epoch, so that epochs can be compared.
        with private_randomness(0, self.engine.device):
            samples = self.programs.sample(NUM_PICTURES, many).cpu()
            again = self.programs.reconstruct(self.engine.place(some), attributes).cpu()
        columns = columns_for(len(some))
        pairs = interleave(some.cpu().float() / 255, again, columns)
        return {"samples": page(samples), "reconstructions": page(pairs, columns)}

    @cached_property
    def files(self) -> dict[str, bytes]:
        """The same pages as the content of PNG files."""
        return {kind: png(sheet) for kind, sheet in self.pictures.items()}


class Hooks:
    """The hooks of a run. Every hook does nothing by default."""

    def begin(self, info: RunInfo) -> None:
        """Called when a run begins or resumes; steps after the checkpoint are repeated."""

    def begin_epoch(self, epoch: int, num_images: int, done: int) -> None:
        """Called before an epoch.

        Args:
            epoch: the number of the epoch, from 1.
            num_images: images of the epoch.
            done: images that are done already, if the run resumes within the epoch.
        """

    def step(self, num_images: int, elbo: float, rate: float) -> None:
        """Called after each step with a finite loss and gradient.

        Args:
            num_images: images of the step.
            elbo: mean ELBO, in nats per image.
            rate: mean rate, in nats per image.
        """

    def message(self, text: str) -> None:
        """Called with each line of the log."""

    def measurements(self, epoch: Epoch) -> Mapping[str, float]:
        """Called after the validation of an epoch, before `end_epoch`; `epoch.rows` lack its row.

        Returns:
            Numbers by name. They are columns of `metrics.csv` and of the history, `own_NAME`, and
            go to all loggers.
        """
        return {}

    def end_epoch(self, epoch: Epoch) -> None:
        """Called after the validation of an epoch, before its checkpoint is written."""

    def reason_to_stop(self) -> str:
        """Returns why the run ends after this epoch, or ""; called after `end_epoch`."""
        return ""

    def end(self, status: str) -> None:
        """Called when the run ends, also after an error, even one before `begin`.

        Args:
            status: "finished", "interrupted" (by a signal) or "failed".
        """


class Warnings(Hooks):
    """Passes the warnings of a run without a console to the logger `pyrovae`."""

    def message(self, text: str) -> None:
        """Logs a warning, and no other line."""
        if text.startswith(WARNING):
            logging.getLogger("pyrovae").warning("%s", text.removeprefix(f"{WARNING}: "))

    def end_epoch(self, epoch: Epoch) -> None:
        """Logs a warning if steps were skipped, or the validation ELBO is not finite."""
        row = epoch.row
        if row.skipped_steps or not math.isfinite(row.val_elbo):
            logging.getLogger("pyrovae").warning(
                "epoch %d: validation ELBO %.1f; steps skipped because loss or gradient was not "
                "finite: %d. Try a lower learning rate",
                row.epoch,
                row.val_elbo,
                row.skipped_steps,
            )


class Callback(Recorded, Hooks):
    """Base class of callbacks: a run calls the hooks that a subclass overrides.

    Only the main process calls the hooks. An error in a hook ends the run.
    """


class Callbacks(Hooks):
    """Calls the hooks of several callbacks, in order.

    Args:
        callbacks: the callbacks.
    """

    def __init__(self, callbacks: Iterable[Hooks] = ()) -> None:
        self.callbacks = list(callbacks)

    def begin(self, info: RunInfo) -> None:
        """Calls `begin` of all callbacks."""
        for callback in self.callbacks:
            callback.begin(info)

    def begin_epoch(self, epoch: int, num_images: int, done: int) -> None:
        """Calls `begin_epoch` of all callbacks."""
        for callback in self.callbacks:
            callback.begin_epoch(epoch, num_images, done)

    def step(self, num_images: int, elbo: float, rate: float) -> None:
        """Calls `step` of all callbacks."""
        for callback in self.callbacks:
            callback.step(num_images, elbo, rate)

    def message(self, text: str) -> None:
        """Calls `message` of all callbacks."""
        for callback in self.callbacks:
            callback.message(text)

    def measurements(self, epoch: Epoch) -> dict[str, float]:
        """The numbers of all callbacks; the last one counts where two have one name.

        Raises:
            TypeError: if a callback does not return numbers by name.
        """
        found: dict[str, float] = {}
        for callback in self.callbacks:
            own = callback.measurements(epoch)
            try:
                found |= {str(name): float(value) for name, value in own.items()}
            except (AttributeError, TypeError, ValueError):
                name = type(callback).__name__
                raise TypeError(
                    f"{name}.measurements must return numbers by name, got {own!r}"
                ) from None
        return found

    def end_epoch(self, epoch: Epoch) -> None:
        """Calls `end_epoch` of all callbacks."""
        for callback in self.callbacks:
            callback.end_epoch(epoch)

    def reason_to_stop(self) -> str:
        """The first reason to stop; "" if there is none."""
        return next(filter(None, (callback.reason_to_stop() for callback in self.callbacks)), "")

    def end(self, status: str) -> None:
        """Calls `end` of all callbacks."""
        for callback in self.callbacks:
            callback.end(status)
