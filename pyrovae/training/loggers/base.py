"""The interface of loggers, and the data that they receive."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property

from torch import Tensor

from pyrovae.data import Batches, Split
from pyrovae.engine import Engine
from pyrovae.programs import ModelGuidePair
from pyrovae.runs import RunDirectory
from pyrovae.utils.arguments import Recorded
from pyrovae.utils.grids import columns_for, interleave, page, png
from pyrovae.utils.randomness import private_randomness

__all__ = ["Epoch", "EpochRow", "Logger", "Loggers", "RunInfo"]

NUM_PICTURES = 144


@dataclass(frozen=True)
class EpochRow:
    """A row of `metrics.csv`: one epoch, in nats per image unless the name says otherwise."""

    epoch: int
    step: int
    seconds: float
    images_per_second: float
    learning_rate: float
    beta: float
    train_loss: float
    train_elbo: float
    train_rate: float
    val_elbo: float
    val_rate: float
    val_distortion: float
    val_bits_per_dim: float | None
    skipped_steps: int
    objective: dict[str, float] = field(default_factory=dict)

    def columns(self) -> dict[str, float | None]:
        """The columns of `metrics.csv`; scalars of the objective are `objective_NAME`."""
        found = asdict(self)
        kept = found.pop("objective")
        return found | {f"objective_{name}": value for name, value in kept.items()}

    def line(self, epochs: int) -> str:
        """The line for the terminal."""
        bits = "" if self.val_bits_per_dim is None else f"  {self.val_bits_per_dim:.3f} bits/dim"
        skipped = f"  SKIPPED {self.skipped_steps} steps" if self.skipped_steps else ""
        kept = "".join(f"  {name} {value:,.3g}" for name, value in self.objective.items())
        return (
            f"epoch {self.epoch}/{epochs}  ELBO train {self.train_elbo:,.1f}  "
            f"val {self.val_elbo:,.1f} (rate {self.val_rate:,.1f}, distortion "
            f"{self.val_distortion:,.1f}){bits}  {self.images_per_second:,.0f} images/s  "
            f"lr {self.learning_rate:.2g}{kept}{skipped}"
        )


@dataclass(frozen=True)
class RunInfo:
    """The state of a run when it begins or resumes.

    Attributes:
        run: the run directory; None if nothing is written.
        epochs: number of epochs of the whole run.
        epoch: number of complete epochs.
        step: number of steps in these epochs.
        wide: whether the objective prefers a wider guide than the ELBO does.
        say: sends a line to all loggers.
    """

    run: RunDirectory | None
    epochs: int
    epoch: int
    step: int
    wide: bool
    say: Callable[[str], None]


@dataclass(frozen=True)
class Epoch:
    """The state of a run after an epoch.

    Attributes:
        row: the metrics of the epoch.
        programs: the model and the guide, on the engine's device.
        split: the validation split.
        engine: the device and the precision.
        settled: whether beta has its final value.
    """

    row: EpochRow
    programs: ModelGuidePair
    split: Split
    engine: Engine
    settled: bool = True

    @cached_property
    def pictures(self) -> dict[str, Tensor]:
        """Pages of samples and reconstructions, uint8 `(C, H, W)`; computed once per epoch."""
        first = Batches(
            self.split,
            NUM_PICTURES // 2,
            seed=0,
            shuffle=False,
            device=self.engine.device,
            attributes=self.programs.attributes,
        )
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


class Logger(Recorded):
    """Base class of loggers. Every hook does nothing by default.

    Only the main process calls the hooks. An error in a hook ends the run.
    """

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

    def end_epoch(self, epoch: Epoch) -> None:
        """Called after the validation of an epoch, before its checkpoint is written."""

    def end(self) -> None:
        """Called when the run ends, also after an error, even one before `begin`."""


class Loggers:
    """Calls the hooks of several loggers, in order.

    Args:
        loggers: the loggers.
    """

    def __init__(self, loggers: Iterable[Logger] = ()) -> None:
        self.loggers = list(loggers)

    def begin(self, info: RunInfo) -> None:
        """Calls `begin` of all loggers."""
        for logger in self.loggers:
            logger.begin(info)

    def begin_epoch(self, epoch: int, num_images: int, done: int) -> None:
        """Calls `begin_epoch` of all loggers."""
        for logger in self.loggers:
            logger.begin_epoch(epoch, num_images, done)

    def step(self, num_images: int, elbo: float, rate: float) -> None:
        """Calls `step` of all loggers."""
        for logger in self.loggers:
            logger.step(num_images, elbo, rate)

    def message(self, text: str) -> None:
        """Calls `message` of all loggers."""
        for logger in self.loggers:
            logger.message(text)

    def end_epoch(self, epoch: Epoch) -> None:
        """Calls `end_epoch` of all loggers."""
        for logger in self.loggers:
            logger.end_epoch(epoch)

    def end(self) -> None:
        """Calls `end` of all loggers."""
        for logger in self.loggers:
            logger.end()
