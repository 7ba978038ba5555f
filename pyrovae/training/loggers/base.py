"""What a logger is told of a run, and the loggers of one run together."""

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
from pyrovae.utils.grids import grid, interleave
from pyrovae.utils.randomness import private_randomness

__all__ = ["Epoch", "EpochRow", "Logger", "Loggers", "Start"]

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
        """What the file holds, by name: what the objective keeps has columns of its own."""
        found = asdict(self)
        kept = found.pop("objective")
        return found | {f"objective_{name}": value for name, value in kept.items()}

    def line(self, epochs: int) -> str:
        """One line for people."""
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
class Start:
    """What a logger knows when a run begins, or goes on from a checkpoint.

    Attributes:
        run: where to write; None writes nothing.
        epochs: epochs of the run in all.
        epoch: whole epochs that are done.
        step: steps of these epochs.
        wide: whether the objective prefers a guide wider than the ELBO does.
        say: prints a line, through all loggers.
    """

    run: RunDirectory | None
    epochs: int
    epoch: int
    step: int
    wide: bool
    say: Callable[[str], None]


@dataclass(frozen=True)
class Epoch:
    """What a logger knows when an epoch has ended.

    Attributes:
        row: the numbers.
        programs: the model and the guide, on the engine's device.
        split: what they are validated on.
        engine: where to compute.
        settled: whether beta has its final value.
    """

    row: EpochRow
    programs: ModelGuidePair
    split: Split
    engine: Engine
    settled: bool = True

    @cached_property
    def pictures(self) -> dict[str, Tensor]:
        """Sheets of samples and reconstructions, uint8 `(C, H, W)`; drawn once for all loggers."""
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
        # The same latents and noise in every epoch, so that pictures of two epochs compare.
        with private_randomness(0, self.engine.device):
            samples = self.programs.sample(NUM_PICTURES, many).cpu()
            again = self.programs.reconstruct(self.engine.place(some), attributes).cpu()
        pairs = interleave(some.cpu().float() / 255, again)
        return {"samples": grid(samples), "reconstructions": grid(pairs)}


class Logger(Recorded):
    """Reports a run: each method is called at its moment, and does nothing by default.

    One process of a group calls them. An error ends the run.
    """

    def begin(self, start: Start) -> None:
        """A run begins or goes on: what came after its checkpoint is done again."""

    def begin_epoch(self, epoch: int, num_images: int, done: int) -> None:
        """An epoch of so many images begins, of which some are done already."""

    def step(self, num_images: int, elbo: float, rate: float) -> None:
        """A step was finite: its images, and their mean ELBO and rate in nats."""

    def message(self, text: str) -> None:
        """A line for people."""

    def end_epoch(self, epoch: Epoch) -> None:
        """An epoch was validated; its checkpoint is not written yet."""

    def end(self) -> None:
        """The run ends, also by an error or before it began."""


class Loggers:
    """Several loggers as one, with the methods of each: all are told, in their order.

    Args:
        loggers: the loggers.
    """

    def __init__(self, loggers: Iterable[Logger] = ()) -> None:
        self.loggers = list(loggers)

    def begin(self, start: Start) -> None:
        """Tells all loggers."""
        for logger in self.loggers:
            logger.begin(start)

    def begin_epoch(self, epoch: int, num_images: int, done: int) -> None:
        """Tells all loggers."""
        for logger in self.loggers:
            logger.begin_epoch(epoch, num_images, done)

    def step(self, num_images: int, elbo: float, rate: float) -> None:
        """Tells all loggers."""
        for logger in self.loggers:
            logger.step(num_images, elbo, rate)

    def message(self, text: str) -> None:
        """Tells all loggers."""
        for logger in self.loggers:
            logger.message(text)

    def end_epoch(self, epoch: Epoch) -> None:
        """Tells all loggers."""
        for logger in self.loggers:
            logger.end_epoch(epoch)

    def end(self) -> None:
        """Tells all loggers."""
        for logger in self.loggers:
            logger.end()
