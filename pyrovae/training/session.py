"""One training run: epochs of SVI steps, validation, schedules, checkpoints and stopping."""

from __future__ import annotations

import copy
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor

from pyrovae.data import Batches, ImageData, Split, spread
from pyrovae.data.base import fingerprint
from pyrovae.data.summary import summary
from pyrovae.engine import Engine
from pyrovae.objectives import Progress, check_objective
from pyrovae.posterior.validation import Validation, validate
from pyrovae.programs.checks import check_all_train, run_once
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.runs.directory import RunDirectory
from pyrovae.runs.state import TrainingState
from pyrovae.training.averaging import Average
from pyrovae.training.callbacks import Callbacks, Epoch, RunInfo
from pyrovae.training.initialization.base import initialize
from pyrovae.training.optimizer import GroupedOptimizer
from pyrovae.training.pacing import Pace
from pyrovae.training.python_state import watched_hooks
from pyrovae.training.recipe import Recipe
from pyrovae.training.recording import recorder_for
from pyrovae.training.rows import EpochRow, as_text, rows_until
from pyrovae.training.saving import Saved
from pyrovae.training.settings import Settings
from pyrovae.training.stepping import Stepper
from pyrovae.training.svi import ALL_FINITE, SVI, first_bad_site
from pyrovae.training.sync_batch_norm import coupled_parts, synchronous_norms
from pyrovae.utils.errors import InputError
from pyrovae.utils.grids import showing
from pyrovae.utils.memory import peak_device_bytes, peak_resident_bytes
from pyrovae.utils.modes import training_mode
from pyrovae.utils.process_group import Group, reseed
from pyrovae.utils.signals import Diverged, Interrupted, signals
from pyrovae.utils.text import counted

__all__ = ["Session"]


class Session:
    """One call of `Trainer.fit`, with the state that its steps share."""

    def __init__(
        self,
        trainer: Settings,
        vae: ModelGuidePair,
        data: ImageData,
        recipe: Recipe,
        engine: Engine,
        run: RunDirectory | None,
        callbacks: Callbacks,
        group: Group,
    ) -> None:
        self.trainer, self.vae, self.data, self.recipe = trainer, vae, data, recipe
        self.engine, self.run, self.callbacks, self.group = engine, run, callbacks, group
        with group.first_on_machine():
            self.train_split, self.val_split = data.split("train"), data.split("val")
        self.step_split, rows = vae.training_rows(self.train_split)
        self.batches = self.training_batches(rows)
        self.feed = engine.feed(self.batches)
        self.state = self.beginning()
        self.optimizer = GroupedOptimizer(recipe.optimizer, trainer.clip_norm)
        # A copy: the state of an objective must not leak into another run.
        programs = vae.model, vae.guide, self.optimizer, copy.deepcopy(recipe.objective)
        self.svi = SVI(*programs, observe=self.observe, group=group)
        self.objective = self.svi.objective
        about = engine.device, trainer.seed, trainer.restore_best
        self.average = Average(vae, trainer.ema)
        self.saved = Saved(self.svi, vae, self.state, run, group, *about, self.average)
        self.rows: list[dict[str, str]] = []
        self.excused = ""
        self.unread: list[tuple[int, Tensor]] = []
        self.pace = Pace(group, waits=engine.device.type != "cpu")
        self.undecided = engine.decides_by_time
        self.stopped = ""
        self.seen: list[int] = []
        self.check(self.train_split)

    def training_batches(self, rows: np.ndarray | None) -> Batches:
        """This process's batches of the training split; their images on the GPU if they fit."""
        part = self.group.rank, self.group.size
        changes: dict[str, Any] = {"flip": self.data.flip, "augment": self.data.augment}
        batches = self.batches_of(seed=self.trainer.seed, part=part, rows=rows, **changes)
        batches.images = self.engine.fetch(batches.images)
        return batches

    def batches_of(self, **how: Any) -> Batches:
        """Batches of what the programs learn from, with the attributes that they take."""
        attributes, device = self.vae.attributes + self.vae.optional, self.engine.device
        size = self.trainer.batch_size
        return Batches(self.step_split, size, device=device, attributes=attributes, **how)

    def observe(self, images: Tensor) -> Tensor:
        """Maps images to observations; runs from before dequantised training add no noise."""
        return self.vae.scored(images) if self.state.dequantised else self.vae.observe(images)

    def beginning(self) -> TrainingState:
        """The state before the first step; refuses processes with different training images."""
        images = self.train_split.images
        print_of_images = fingerprint(spread(images, 256))
        if len(set(self.group.gather((len(images), print_of_images)))) > 1:
            raise InputError("the processes have different training images")
        per_step = min(self.batches.images_per_step, len(images))
        threads, epochs = self.engine.threads, self.trainer.epochs
        return TrainingState(len(images), print_of_images, per_step, threads, epochs=epochs)

    def check(self, split: Split) -> None:
        """Checks images and programs, and lays out memory, before anything is written."""
        self.vae.learn_inputs(split)
        self.vae.likelihood.check(torch.from_numpy(spread(split.images, 2000)))
        check_objective(self.objective)
        self.vae.check_objective(self.objective.innermost())
        if not any(p.requires_grad for p in self.vae.parameters()):
            raise InputError("nothing is left to train: only frozen parts have parameters")
        self.run_first_batch()
        try:
            self.optimizer.register(p for _, p in pyro.get_param_store().named_parameters())
        except (ValueError, TypeError) as error:
            raise InputError(f"optimizer: {error}") from error
        check_all_train(self.vae, self.optimizer.parameters())
        self.engine.lay_out(self.vae)
        self.optimizer.lay_out()

    def run_first_batch(self) -> None:
        """Runs the programs on one batch with Pyro's validation, which registers parameters."""
        images, attributes = next(self.batches_of(seed=0, shuffle=False).labelled(0))
        training_mode(self.vae)
        inputs = self.vae.inputs(attributes)
        with watched_hooks(dict(self.vae.named_modules())) as self.idle_hooks:
            run_once(self.vae, self.svi.evaluate_loss, self.engine.place(images), inputs)

    def train(self, resume: bool) -> TrainingState:
        """Trains the remaining epochs; returns the final state."""
        status = "failed"
        with signals() as self.seen, showing(self.data.show), ExitStack() as self.held:
            try:
                self.begin(resume)
                self.held.callback(self.stepper.close)
                self.train_epochs()
                status = "finished"
            except (Interrupted, KeyboardInterrupt):
                status = "interrupted"
                raise
            finally:
                if status != "finished":  # A notebook goes on with the weights that it validated.
                    self.average.keep()
                self.callbacks.end(status)
        return self.state

    def begin(self, resume: bool) -> None:
        """Loads the checkpoint or initialises the parameters; starts callbacks, chooses steps."""
        if resume:
            lines = self.saved.load(self.held, len(self.batches))
            lines.append(self.state.about(self.trainer.epochs))
            rate = self.optimizer.scale_learning_rate(1.0)
            lines += self.recipe.lengthened(self.state.epochs, self.position(), rate)
            for line in lines:
                self.callbacks.message(line)
            self.state.epochs = self.trainer.epochs
        else:
            self.start()
        # Before the configuration is written, since a damaged `metrics.csv` is refused.
        run, epoch = self.run, self.state.epoch
        self.rows = self.group.from_main(lambda: rows_until(run.metrics, epoch) if run else [])
        self.callbacks.begin(self.info())
        if run is not None:
            run.begin()
        coupled = coupled_parts(self.vae, self.objective)
        for line in self.group.about(self.trainer.batch_size, coupled):
            self.callbacks.message(line)
        now = self.position()
        beta = self.recipe.beta(replace(now, step=now.total - 1))
        if line := self.trainer.about_best(self.objective, beta):
            self.callbacks.message(line)
        self.stepper = self.choose_steps()

    def info(self) -> RunInfo:
        """The state of the run when it begins or resumes, for the callbacks."""
        state, own = self.state, self.objective
        begun = self.run, self.trainer.epochs, state.epoch, state.step - state.batch
        aims = own.prefers_wide_guide, own.maximises_elbo
        threads = self.engine.threads
        return RunInfo(*begun, *aims, self.callbacks.message, id=state.run, threads=threads)

    def choose_steps(self) -> Stepper:
        """Chooses compiled, recorded or eager steps, and logs the choice."""
        say, recorded = self.callbacks.message, self.engine.record
        recorder = recorder_for(self.engine.device) if recorded else None
        stepper = Stepper(self.svi, self.optimizer, self.feed, self.vae.inputs, recorder, say)
        compiled, why = self.engine.compiles(self.trainer.epochs * len(self.batches))
        if synchronous_norms(self.vae):
            compiled, why = False, "--trainer.sync_batch_norm: processes communicate in a step"
            self.undecided = False
        if self.idle_hooks and (compiled or self.undecided):
            compiled, why, self.undecided = False, self.idle_hooks[0], False
        words = "compiled" if compiled else "not compiled"
        say(f"the step is {words}{', and recorded as a CUDA graph' if recorder else ''} ({why})")
        if compiled:
            stepper.compile()
        else:
            stepper.record()
        return stepper

    def start(self) -> None:
        """Initialises the same parameters and different noise in all processes, and saves them."""
        self.vae.check_inputs(self.train_split)
        self.callbacks.message(summary(self.data, self.train_split, self.val_split))
        images, flip = self.train_split.images, self.data.flip
        lines = self.group.from_main(lambda: initialize(self.recipe.start, self.vae, images, flip))
        for line in lines.splitlines():
            self.callbacks.message(line)
        self.group.broadcast([*self.vae.parameters(), *self.vae.buffers()])
        self.average.restart()
        if not self.group.main:
            reseed(self.trainer.seed, self.group.rank, 0)
        if self.run is not None:
            self.held.enter_context(self.run.lock())
            self.run.check_free()  # Another run may have begun during the preparation.
            self.held.push(self.saved.free_untrained)
        self.saved.save()

    def train_epochs(self) -> None:
        """Trains epoch by epoch; after a signal it finishes the step, saves, and raises."""
        state = self.state
        self.vae.fitted = True
        while state.epoch < self.trainer.epochs and not self.reason_to_stop():
            if self.train_epoch():
                with self.average.applied():
                    self.end_epoch()
                self.saved.save()
            if number := self.asked_to_stop():
                self.saved.save()
                where = f"step {state.step} (epoch {state.epoch + 1}, batch {state.batch})"
                raise Interrupted(number, where, self.run.root if self.run else None)
        if state.epoch < self.trainer.epochs:
            self.callbacks.message(f"stopped early: {self.reason_to_stop()}")
        self.average.keep()
        if self.trainer.restore_best and state.best:
            self.callbacks.message(self.saved.restore_best())

    def asked_to_stop(self) -> int:
        """The number of a signal that any process received, else 0; the same in all processes."""
        return int(self.group.largest(self.seen[0] if self.seen else 0))

    def position(self) -> Progress:
        """The position in the run, in steps of the current size."""
        state, per_epoch = self.state, len(self.batches)
        step, total = state.epoch * per_epoch + state.batch, self.trainer.epochs * per_epoch
        return Progress(step, total, per_epoch, state.num_images)

    def train_epoch(self) -> bool:
        """Trains the remaining batches of an epoch; returns whether the epoch is complete."""
        state, size = self.state, self.state.images_per_step
        self.callbacks.begin_epoch(state.epoch + 1, len(self.batches) * size, state.batch * size)
        training_mode(self.vae)
        started = time.monotonic()
        self.pace.start()
        self.feed.begin(state.epoch, state.batch)
        while state.batch < len(self.batches) and not self.step():
            pass
        self.read()
        state.epoch_seconds += time.monotonic() - started
        return state.batch == len(self.batches)

    def step(self) -> int:
        """Takes one step of SVI, with the scheduled learning rate and beta.

        Returns:
            The number of the signal that stops the run, else 0. Signals are checked only where
            terms are read.
        """
        state, progress = self.state, self.position()
        self.optimizer.scale_learning_rate(self.recipe.schedule(progress))
        self.objective.begin_step(progress)
        terms = self.stepper(self.recipe.beta(progress))
        state.step, state.batch = state.step + 1, state.batch + 1
        self.average.update(state.step)
        self.unread.append((state.step, terms))
        if len(self.unread) < self.pace.every:
            return 0
        number = self.asked_to_stop()  # First: the read would wait for a process that has ended.
        self.read()
        return number

    def decide(self, seconds: float | None) -> None:
        """Switches to compiled steps if the remaining steps take long enough.

        Args:
            seconds: seconds per step; None if not measured.
        """
        if seconds is None or not self.undecided:
            return
        self.undecided, now = False, self.position()
        left = (now.total - now.step) * seconds
        if left > self.engine.BREAK_EVEN_SECONDS:
            self.callbacks.message(f"compiling: an estimated {left:,.0f} s of steps are left")
            self.stepper.compile()

    def read(self) -> None:
        """Reads the terms of all steps since the last read, in one device sync."""
        if not self.unread:
            return
        numbers = torch.stack([terms for _, terms in self.unread]).tolist()
        for (step, _), (finite, *terms) in zip(self.unread, numbers, strict=True):
            if finite:
                _, elbo, rate, _ = terms
                self.state.add(*terms)
                self.callbacks.step(self.state.images_per_step, elbo, rate)
            else:
                self.state.skip()
                self.callbacks.message(f"step {step} skipped: loss or gradient is not finite")
                self.stop_if_diverged(step)
        seconds = self.pace.read(len(self.unread))
        self.unread = []
        self.decide(seconds)

    def stop_if_diverged(self, step: int) -> None:
        """Raises `Diverged` after too many consecutive steps that were not finite."""
        if self.state.skipped_in_a_row >= self.trainer.max_skipped:
            images, attributes = self.feed.last()
            x, inputs = self.observe(images), self.vae.inputs(attributes)
            found = self.group.gather(first_bad_site(self.vae.model, self.vae.guide, x, **inputs))
            # If one process alone has a site that is not finite, the others only see the gradient.
            site = min(found, key=lambda name: name == ALL_FINITE)
            raise Diverged(
                f"{self.state.skipped_in_a_row} consecutive steps were not finite, the last one "
                f"was step {step}; the first non-finite value is {site}. Try a lower learning "
                "rate or --trainer.clip_norm"
            )

    def end_epoch(self) -> None:
        """Validates, logs the epoch, and saves the weights if they are among the best."""
        state, now = self.state, self.position()
        state.check_epoch()
        last = replace(now, step=now.step - 1)
        state.epoch, state.seconds = state.epoch + 1, state.seconds + state.epoch_seconds
        found, measured = self.group.from_main(lambda: (self.validate(), self.measured()))
        rate = self.optimizer.scale_learning_rate(self.recipe.schedule(last))
        beta = self.recipe.beta(last)
        row = EpochRow.of(state, found, learning_rate=rate, beta=beta, **measured)
        settled = row.beta == self.recipe.beta(replace(now, step=now.total - 1))
        about = self.vae, self.val_split, self.engine, settled
        vectors = {} if found.kl is None else {"kl_per_dimension": found.kl}
        epoch = Epoch(row, *about, vectors=vectors, rows=self.rows, run=self.run)
        epoch = replace(epoch, row=replace(row, own=self.callbacks.measurements(epoch)))
        self.rows.append(as_text(epoch.row.columns()))
        self.callbacks.end_epoch(epoch)
        self.stopped = self.group.from_main(self.callbacks.reason_to_stop)
        state.begin_epoch()
        if state.record_best(row.val_elbo):
            self.saved.save_best(row.val_elbo)

    def validate(self) -> Validation:
        """Evaluates the programs on the validation split, and measures its encodings."""
        found = validate(self.vae, self.val_split, self.engine, seed=self.trainer.seed)
        if found.reason and not self.excused:
            self.callbacks.message(
                "active units, KL per dimension and PSNR are not measured during training "
                f"({found.reason})"
            )
        self.excused = self.excused or found.reason
        return found

    def measured(self) -> dict[str, Any]:
        """The peak memory of this process and of its GPU, in 10^9 bytes."""
        device = peak_device_bytes(self.engine.device)
        memory = {"memory_gb": peak_resident_bytes(), "device_memory_gb": device}
        noise = self.vae.likelihood.noise_scale()
        return {
            **{name: None if own is None else own / 1e9 for name, own in memory.items()},
            "noise_scale": None if noise is None else float(noise.detach()),
            "objective": self.objective.numbers(),
        }

    def reason_to_stop(self) -> str:
        """Why the run ends before its last epoch; "" if it continues."""
        patience, best = self.trainer.patience, self.state.best
        if patience and best and self.state.epoch - best[0][1] >= patience:
            waited = counted(patience, "epoch")
            return f"the validation ELBO has not improved for {waited} (best: epoch {best[0][1]})"
        return self.stopped
