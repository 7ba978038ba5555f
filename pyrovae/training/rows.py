"""The rows of `metrics.csv`: one per epoch."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pyrovae.posterior.validation import Validation
from pyrovae.runs.state import TrainingState
from pyrovae.utils.errors import InputError

__all__ = ["EpochRow", "as_csv", "as_text", "read_rows", "rows_until"]

#: The fields with a column per name, and what these columns begin with.
NAMED = {
    "objective": "objective_",
    "val_rates": "val_rate_",
    "classes": "val_class_",
    "own": "own_",
}


@dataclass(frozen=True)
class EpochRow:
    """A row of `metrics.csv`: one epoch, in nats per image unless the name says otherwise.

    Attributes:
        active_units: number of active latent dimensions, over the validation split.
        noise_scale: the learned scale of the likelihood.
        gradient_norm: mean norm of the gradient over the steps, before clipping.
        val_psnr: PSNR of the decoded posterior draws of the validation split, in decibels.
        memory_gb: peak resident memory of the main process, in 10^9 bytes.
        device_memory_gb: peak memory of tensors on its GPU, in 10^9 bytes.
        objective: scalars of the objective.
        val_rates: the part of `val_rate` of each latent site, if there are several.
        classes: scores of programs that classify, over the validation split.
        own: the numbers of callbacks, see `Callback.measurements`.
    """

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
    active_units: int | None = None
    noise_scale: float | None = None
    gradient_norm: float | None = None
    val_psnr: float | None = None
    memory_gb: float | None = None
    device_memory_gb: float | None = None
    objective: dict[str, float] = field(default_factory=dict)
    val_rates: dict[str, float] = field(default_factory=dict)
    classes: dict[str, float] = field(default_factory=dict)
    own: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, state: TrainingState, found: Validation, **measured: Any) -> EpochRow:
        """The row of an epoch that has just ended.

        Args:
            state: the state of the run, with the sums over the steps of this epoch.
            found: the scores and measurements of the validation split.
            **measured: the other fields, such as the learning rate and beta of the last step.
        """
        scores = found.scores
        return cls(
            epoch=state.epoch,
            step=state.step,
            seconds=state.seconds,
            images_per_second=state.batch * state.images_per_step / state.epoch_seconds,
            train_loss=state.mean(state.loss),
            train_elbo=state.mean(state.elbo),
            train_rate=state.mean(state.rate),
            val_elbo=scores.elbo,
            val_rate=scores.rate,
            val_distortion=scores.distortion,
            val_bits_per_dim=scores.bits_per_dim,
            skipped_steps=state.skipped,
            active_units=found.active_units,
            gradient_norm=state.mean(state.norm),
            val_psnr=found.psnr,
            val_rates=scores.rates,
            classes=found.classes,
            **measured,
        )

    def columns(self) -> dict[str, float | None]:
        """The columns of `metrics.csv`: those of `NAMED` fields are at the end."""
        found = asdict(self)
        for name, prefix in NAMED.items():
            found |= {f"{prefix}{own}": value for own, value in found.pop(name).items()}
        return found

    def line(self, epochs: int) -> str:
        """The line for the terminal."""
        bits = "" if self.val_bits_per_dim is None else f"  {self.val_bits_per_dim:.3f} bits/dim"
        share = self.classes.get("accuracy")
        wrong = "" if share is None else f"  error {100 * (1 - share):.2f}%"
        skipped = f"  SKIPPED {self.skipped_steps} steps" if self.skipped_steps else ""
        numbers = (self.objective | self.own).items()
        kept = "".join(f"  {name} {value:,.4g}" for name, value in numbers)
        return (
            f"epoch {self.epoch}/{epochs}  ELBO train {self.train_elbo:,.1f}  "
            f"val {self.val_elbo:,.1f} (rate {self.val_rate:,.1f}, distortion "
            f"{self.val_distortion:,.1f}){bits}{wrong}  {self.images_per_second:,.0f} images/s  "
            f"lr {self.learning_rate:.2g}{kept}{skipped}"
        )


#: The columns of every file, and those of all files but the oldest, in their order.
COLUMNS = [own.name for own in fields(EpochRow) if own.name not in NAMED]
NEEDED = {own.name for own in fields(EpochRow) if own.default is MISSING} - set(NAMED)


def as_text(numbers: Mapping[str, float | None]) -> dict[str, str]:
    """The cells of a row; a number that is missing or None gives an empty cell."""
    cells = dict.fromkeys(COLUMNS) | dict(numbers)
    return {name: "" if value is None else str(value) for name, value in cells.items()}


def as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """The text of `metrics.csv`; rows may lack columns of other rows."""
    text = io.StringIO(newline="")
    names = dict.fromkeys(name for row in rows for name in row) or dict.fromkeys(COLUMNS)
    table = csv.DictWriter(text, list(names))
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a `metrics.csv`; raises `InputError` if the file is damaged."""
    try:
        with open(path, newline="") as file:
            table = csv.DictReader(file)
            if not table.fieldnames:
                raise InputError(f"{path}: is empty; remove it to resume without it")
            rows = list(table)
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: damaged ({error}); remove it to resume without it") from None
    if any(not _is_row(row) for row in rows):
        raise InputError(f"{path}: wrong columns or values; remove it to resume without it")
    return rows


def rows_until(path: Path, epoch: int) -> list[dict[str, str]]:
    """The rows of a `metrics.csv` up to an epoch; none if there is no such file.

    Raises:
        InputError: if the file is damaged.
    """
    rows = read_rows(path) if path.exists() else []
    return [row for row in rows if int(row["epoch"]) <= epoch]


def _is_row(row: dict[Any, Any]) -> bool:
    always = [name for name in row if not str(name).startswith(tuple(NAMED.values()))]
    known = [name for name in COLUMNS if name in row]  # Older versions wrote fewer columns.
    whole = all(re.fullmatch("[0-9]{1,15}", str(row.get(name))) for name in ("epoch", "step"))
    return (
        always == known and set(known) >= NEEDED and whole and all(map(_is_number, row.values()))
    )


def _is_number(text: Any) -> bool:
    """Whether a cell holds a number or is empty."""
    try:
        float(text or 0)
    except (TypeError, ValueError):
        return False
    return text is not None
