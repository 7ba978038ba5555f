"""What a run tells while it trains: progress bar, log lines, CSV, TensorBoard, pictures."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from pyrovae.checkpoint import RunDirectory, checksum, replacing
from pyrovae.data import Batches, ImageData, Split
from pyrovae.engine import Engine
from pyrovae.errors import InputError
from pyrovae.evaluation import Evaluation, evaluate, evaluate_without_latent
from pyrovae.events import EventFile
from pyrovae.inspection.diagnosis import Watch
from pyrovae.interruption import Diverged
from pyrovae.pictures import grid, interleave, save_png
from pyrovae.plain import to_json
from pyrovae.programs import Programs
from pyrovae.randomness import private_randomness

__all__ = ["EpochRow", "Reporter", "describe", "final_report"]

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


class Reporter:
    """Reports a run to the terminal and, where there is one, to its run directory.

    Args:
        run: where to write; None writes nothing.
        progress: whether to print and show a progress bar (a bar only on a terminal).
        epochs: epochs of the run in all.
        wide: whether the objective wants a guide wider than the ELBO does.
    """

    def __init__(
        self, run: RunDirectory | None, progress: bool, epochs: int, wide: bool = False
    ) -> None:
        self.run, self.progress, self.epochs = run, progress, epochs
        self._bar: Any = None
        self._watch = Watch(wide=wide)
        self._rows: list[dict[str, str]] = []
        self._writer: EventFile | None = None

    def start(self, epoch: int, step: int) -> None:
        """Begins or goes on after that many whole epochs: drops what came after them."""
        if self.run is None:
            return
        if self.run.metrics.exists():
            self._rows = [
                row for row in _read_rows(self.run.metrics) if int(row["epoch"]) <= epoch
            ]
        if self.run.warnings.exists():
            self._watch.told = self.run.warnings.read_text(errors="replace").splitlines()
        self._writer = EventFile(self.run.tensorboard, purge_step=step + 1)

    def start_epoch(self, epoch: int, num_images: int, done: int) -> None:
        """Opens the progress bar of an epoch."""
        from tqdm import tqdm

        self._bar = tqdm(
            total=num_images,
            initial=done,
            desc=f"epoch {epoch}/{self.epochs}",
            unit=" images",
            disable=None if self.progress else True,
            leave=False,
            dynamic_ncols=True,
        )

    def step(self, num_images: int, elbo: float, rate: float) -> None:
        """Moves the progress bar on by one batch."""
        self._bar.set_postfix_str(f"ELBO {elbo:,.0f}, rate {rate:,.1f}", refresh=False)
        self._bar.update(num_images)

    def message(self, text: str) -> None:
        """Prints a line, above the bar where there is one."""
        if self.progress:
            from tqdm import tqdm

            tqdm.write(text)
            sys.stdout.flush()

    def end_epoch(
        self, row: EpochRow, vae: Programs, split: Split, engine: Engine, settled: bool = True
    ) -> None:
        """Closes the bar; prints, records and draws the epoch.

        Args:
            row: the numbers.
            vae: the programs.
            split: what they are validated on.
            engine: where to compute.
            settled: whether beta has its final value.
        """
        self._bar.close()
        self.message(row.line(self.epochs))
        if (self.progress or self.run is not None) and math.isfinite(row.val_elbo):
            self._warn(self._watch(vae, split, engine, settled=settled))
        if self.run is None:
            return
        self._rows.append({k: "" if v is None else str(v) for k, v in row.columns().items()})
        with replacing(self.run.metrics) as temporary, open(temporary, "w", newline="") as file:
            table = csv.DictWriter(file, list(dict.fromkeys(n for row in self._rows for n in row)))
            table.writeheader()
            table.writerows(self._rows)
        self._scalars(row)
        self._pictures(row, vae, split, engine)

    def _warn(self, lines: list[str]) -> None:
        """Says what is wrong with the posterior, and keeps it in the run directory."""
        for line in lines:
            self.message(line)
        if lines and self.run is not None:
            with replacing(self.run.warnings) as temporary:
                temporary.write_text("\n".join(self._watch.told) + "\n")

    def _scalars(self, row: EpochRow) -> None:
        assert self._writer is not None
        for name, value in row.columns().items():
            if value is not None and name not in ("epoch", "step"):
                tag = re.sub("^(train|val|objective)_", r"\1/", name)
                self._writer.add_scalar(tag, value, row.step)

    def _pictures(self, row: EpochRow, vae: Programs, split: Split, engine: Engine) -> None:
        assert self._writer is not None and self.run is not None
        first = Batches(
            split,
            NUM_PICTURES // 2,
            seed=0,
            shuffle=False,
            device=engine.device,
            attributes=vae.attributes,
        )
        some, attributes = next(first.labelled(0))
        repeats = -(-NUM_PICTURES // len(some))
        # The same latents and noise every epoch, so that pictures of two epochs compare.
        with private_randomness(0, engine.device):
            drawn = {
                "samples": vae.sample(
                    NUM_PICTURES, attributes.repeat(repeats, 1)[:NUM_PICTURES]
                ).cpu(),
                "reconstructions": interleave(
                    some.cpu().float() / 255,
                    vae.reconstruct(engine.place(some), attributes).cpu(),
                ),
            }
        for kind, pictures in drawn.items():
            sheet = grid(pictures)
            content = save_png(sheet, self.run.picture(kind, row.epoch))
            self._writer.add_picture(kind, sheet, content, row.step)
        self._writer.flush()

    def close(self) -> None:
        """Closes what is open."""
        if self._bar is not None:
            self._bar.close()
        if self._writer is not None:
            self._writer.close()


def _read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a `metrics.csv`; raises `InputError` if they are not what a run wrote."""
    columns = [column.name for column in fields(EpochRow) if column.name != "objective"]
    try:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: damaged ({error}); remove it to go on without it") from None
    if any(not _is_row(row, columns) for row in rows):
        raise InputError(f"{path}: not as a run wrote it; remove it to go on without its rows")
    return rows


def _is_row(row: dict[Any, Any], columns: list[str]) -> bool:
    always = [name for name in row if not str(name).startswith("objective_")]
    whole = all(re.fullmatch("[0-9]{1,15}", str(row.get(name))) for name in ("epoch", "step"))
    return always == columns and whole and all(map(_is_number, row.values()))


def _is_number(text: Any) -> bool:
    """Whether a cell holds a number, or nothing: a column that a row was written without."""
    try:
        float(text or 0)
    except (TypeError, ValueError):
        return False
    return text is not None


def describe(run: RunDirectory, vae: Programs, engine: Engine) -> str:
    """One line on what is about to run."""
    size = sum(p.numel() for p in vae.parameters())
    return f"{run.root}: {size:,} parameters, {engine.device}, networks in {engine.precision}"


def final_report(run: RunDirectory, vae: Programs, data: ImageData, engine: Engine) -> str:
    """Scores the best weights on the test split, beside the baseline that knows no latent."""
    weights, epoch = run.weights_of("best")
    vae.load_state_dict(weights)
    test = data.split("test")
    with engine.running(vae, vae.networks()):
        engine.lay_out(vae)
        found = evaluate(vae, test, engine)
    baseline = evaluate_without_latent(vae.likelihood, data.split("train").images, test.images)
    scores = {"split": "test", "vae": asdict(found), "without_latent": asdict(baseline)}
    path = run.root / "evaluation.json"
    if not _is_evaluated(path, weights):
        with replacing(path) as temporary:
            temporary.write_text(to_json(scores, indent=2))
    _check_finite(found, epoch)
    images = "1 image" if found.num_images == 1 else f"{found.num_images:,} images"
    picture = run.picture("samples", epoch)
    drawn = picture if picture.exists() else run.root / "samples"
    return (
        f"test, {images}, weights of epoch {epoch}, the best; nats an image:\n  {found}\n"
        f"  without a latent (one distribution a pixel): {baseline}\nsamples: {drawn}"
    )


def _is_evaluated(path: Path, weights: dict[str, Tensor]) -> bool:
    """Whether an evaluation of these weights stands there, which says more than training does."""
    try:
        earlier = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(earlier, dict) and earlier.get("weights") == checksum(weights)


def _check_finite(found: Evaluation, epoch: int) -> None:
    """Raises `Diverged` if a run's result is no number."""
    for name in ("elbo", "rate", "distortion"):
        if not math.isfinite(value := getattr(found, name)):
            raise Diverged(
                f"the result on the test split is not finite: the {name} of the weights of epoch "
                f"{epoch} is {value}. Try a lower learning rate or --trainer.clip_norm"
            )
