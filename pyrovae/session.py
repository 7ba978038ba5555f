"""One run of training: epochs of SVI steps, validation, schedules, checkpoints, stopping."""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, replace
from textwrap import shorten
from typing import TYPE_CHECKING

import pyro
import torch
from torch import Tensor

from pyrovae.capturing import CapturedStep, record_on_gpu
from pyrovae.checkpoint import RunDirectory, load_checkpoint, save_checkpoint
from pyrovae.compiling import CompiledGradients
from pyrovae.data import Batches, ImageData, Split, spread
from pyrovae.data.base import fingerprint
from pyrovae.engine import Engine
from pyrovae.errors import InputError
from pyrovae.evaluation import evaluate, private_randomness
from pyrovae.gradients import Terms
from pyrovae.interruption import Diverged, Interrupted, signals
from pyrovae.objectives import (
    Progress,
    begin_step,
    check_objective,
    state_of,
)
from pyrovae.optimizer import GroupedOptimizer
from pyrovae.programs import Programs
from pyrovae.recipe import Recipe
from pyrovae.reports import EpochRow, Reporter
from pyrovae.state import TrainingState
from pyrovae.svi import SVI, first_bad_site

if TYPE_CHECKING:
    from pyrovae.training import Trainer

__all__ = ["Session"]

READ_EVERY = 20  # steps on a device, between two looks at the numbers


class Session:
    """One call of `Trainer.fit`: the objects that its steps share."""

    def __init__(
        self,
        trainer: Trainer,
        vae: Programs,
        data: ImageData,
        recipe: Recipe,
        engine: Engine,
        run: RunDirectory | None,
        reporter: Reporter,
    ) -> None:
        self.trainer, self.vae, self.data, self.recipe = trainer, vae, data, recipe
        self.engine, self.run, self.reporter = engine, run, reporter
        # A copy: what an objective learns in one run must not reach another.
        self.objective = copy.deepcopy(recipe.objective)
        self.train_split, self.val_split = data.split("train"), data.split("val")
        self.batches = Batches(
            self.train_split,
            trainer.batch_size,
            seed=trainer.seed,
            flip=data.flip,
            device=engine.device,
            attributes=vae.attributes,
        )
        images = self.train_split.images
        self.batches.images = engine.fetch(images)
        self.state = TrainingState(len(images), fingerprint(spread(images, 256)))
        self.optimizer = GroupedOptimizer(recipe.optimizer, trainer.clip_norm)
        self.svi = SVI(vae.model, vae.guide, self.optimizer, self.objective, observe=vae.observe)
        self.advance: Callable[..., Terms] = self.svi.advance
        # Reading a number waits for the device, which a CPU does anyway.
        self.read_every = 1 if engine.device.type == "cpu" else READ_EVERY
        self.unread: list[tuple[int, int, Terms]] = []
        self.check(self.train_split)

    def check(self, split: Split) -> None:
        """Runs the programs once, with all of Pyro's validation, before anything is written."""
        self.vae.likelihood.check(torch.from_numpy(spread(split.images, 2000)))
        check_objective(self.objective)
        first = Batches(
            split,
            self.trainer.batch_size,
            seed=0,
            shuffle=False,
            device=self.engine.device,
            attributes=self.vae.attributes,
        )
        images, attributes = next(first.labelled(0))
        self.vae.train()
        buffers = [buffer.clone() for buffer in self.vae.buffers()]
        try:
            with private_randomness(0, self.engine.device), pyro.validation_enabled(True):
                x = self.vae.observe(self.engine.place(images))
                self.svi.evaluate_loss(x, **self.vae.inputs(attributes))
            self.optimizer.register(p for _, p in pyro.get_param_store().named_parameters())
        except (ValueError, RuntimeError, NotImplementedError, TypeError) as error:
            reason = shorten(str(error), 200, placeholder=" ...")
            raise InputError(f"the parts do not fit together, or the data: {reason}") from error
        for buffer, value in zip(self.vae.buffers(), buffers, strict=True):
            buffer.copy_(value)
        trained = {p for p in self.vae.parameters() if p.requires_grad}
        strangers = trained - set(self.optimizer.parameters())
        assert not strangers, f"{len(strangers)} parameters are unknown to Pyro"
        self.engine.lay_out(self.vae)

    def train(self, resume: bool) -> TrainingState:
        """The epochs that are left; a signal ends them after a whole step."""
        with signals() as stop:
            try:
                self.begin(resume)
                self.train_epochs(stop)
            finally:
                self.reporter.close()
        return self.state

    def begin(self, resume: bool) -> None:
        """Sets where to start from; from here on there is a run to resume."""
        if resume:
            self.load()
        else:
            self.reporter.message(
                self.recipe.start(self.vae, self.train_split.images, self.data.flip)
            )
            if self.run is not None:
                self.run.check_free()  # Preparing took its time: another run may have begun.
            self.save()
        if self.run is not None:
            self.run.begin()
        compiled, why = self.engine.compiles(self.trainer.epochs * len(self.batches))
        self.reporter.message(f"the step is {'' if compiled else 'not '}compiled ({why})")
        if compiled:
            self.svi.compute = self.compile
        self.reporter.start(self.state.epoch, self.state.step - self.state.batch)

    def compile(
        self, images: Tensor, beta: float | Tensor, inputs: dict[str, Tensor]
    ) -> tuple[Terms, list[Tensor]]:
        """The first step: what computes the others, if it can be compiled, is set here."""
        compiled = CompiledGradients(self.svi.gradients, self.optimizer.parameters())
        started = time.monotonic()
        try:
            found = compiled(images, beta, inputs)
        except Exception as error:  # Compilers fail in many ways, and a run can do without.
            reason = shorten(str(error), 160, placeholder=" ...")
            self.reporter.message(f"cannot be compiled, runs as it is: {reason}")
            self.svi.compute = self.svi.gradients
            return self.svi.compute(images, beta, inputs)
        self.reporter.message(f"compiled in {time.monotonic() - started:.0f} s")
        self.svi.compute = compiled
        if self.engine.device.type == "cuda" and self.optimizer.make_capturable():
            self.advance = CapturedStep(self.svi.advance, record_on_gpu, self.reporter.message)
        return found

    def train_epochs(self, stop: list[int]) -> None:
        """Epoch after epoch; a signal ends them after a whole step, with all saved."""
        state = self.state
        while state.epoch < self.trainer.epochs and not self.out_of_patience():
            if self.train_epoch(stop):
                self.end_epoch()
            if stop:
                self.save()
                where = f"step {state.step} (epoch {state.epoch + 1}, batch {state.batch})"
                raise Interrupted(stop[0], where, self.run.root if self.run else None)
        if state.epoch < self.trainer.epochs:
            self.reporter.message(
                f"stopped early: no better validation ELBO for {self.trainer.patience} epochs, "
                f"the best was epoch {state.best[0][1]}"
            )

    def progress(self) -> Progress:
        """Where the run stands."""
        per_epoch = len(self.batches)
        total = self.trainer.epochs * per_epoch
        return Progress(self.state.step, total, per_epoch, self.state.num_images)

    @property
    def images_per_step(self) -> int:
        """Images that a step takes."""
        return min(self.batches.batch_size, self.state.num_images)

    def train_epoch(self, stop: list[int]) -> bool:
        """The batches that are left of an epoch; returns whether all were done."""
        state, size = self.state, self.images_per_step
        self.reporter.start_epoch(state.epoch + 1, len(self.batches) * size, state.batch * size)
        self.vae.train()
        started = time.monotonic()
        for images, attributes in self.batches.labelled(state.epoch, start=state.batch):
            self.step(images, attributes)
            if stop:
                break
        self.read()
        state.epoch_seconds += time.monotonic() - started
        return state.batch == len(self.batches)

    def step(self, images: Tensor, attributes: Tensor) -> None:
        """One step of SVI, with the learning rate, beta and objective of its moment."""
        state, progress, inputs = self.state, self.progress(), self.vae.inputs(attributes)
        beta = self.recipe.beta(progress)
        self.optimizer.scale_learning_rate(self.recipe.schedule(progress))
        images = self.engine.place(images)
        begin_step(self.objective, progress)
        terms = self.advance(images, beta, inputs)
        state.step, state.batch = state.step + 1, state.batch + 1
        self.unread.append((state.step, len(images), terms))
        if len(self.unread) >= self.read_every:
            self.read()
            self.stop_if_diverged(images, inputs)

    def read(self) -> None:
        """Reads the numbers of the steps since the last time: one wait for all of them."""
        if not self.unread:
            return
        rows = torch.stack([term for *_, terms in self.unread for term in terms])
        numbers = rows.reshape(-1, len(Terms._fields)).tolist()
        for (step, count, _), (moved, loss, elbo, rate) in zip(self.unread, numbers, strict=True):
            if moved:
                self.state.add(loss, elbo, rate)
                self.reporter.step(count, elbo, rate)
            else:
                self.state.skip()
                self.reporter.message(f"step {step} skipped: its loss or gradient is not finite")
        self.unread = []

    def stop_if_diverged(self, images: Tensor, inputs: dict[str, Tensor]) -> None:
        """Stops the run after too many steps in a row that were not finite."""
        state = self.state
        if state.skipped_in_a_row >= self.trainer.max_skipped:
            x = self.vae.observe(images)
            site = first_bad_site(self.vae.model, self.vae.guide, x, **inputs)
            raise Diverged(
                f"{state.skipped_in_a_row} steps in a row were not finite, the last at step "
                f"{state.step}; the first thing not finite is {site}. Try a lower learning rate "
                "or --trainer.clip_norm"
            )

    def end_epoch(self) -> None:
        """Validation, report, checkpoints."""
        state = self.state
        state.epoch, state.seconds = state.epoch + 1, state.seconds + state.epoch_seconds
        found = evaluate(self.vae, self.val_split, self.engine, seed=self.trainer.seed)
        last = replace(self.progress(), step=state.step - 1)
        row = EpochRow(
            epoch=state.epoch,
            step=state.step,
            seconds=state.seconds,
            images_per_second=state.batch * self.images_per_step / state.epoch_seconds,
            learning_rate=self.optimizer.scale_learning_rate(self.recipe.schedule(last)),
            beta=self.recipe.beta(last),
            train_loss=state.mean(state.loss),
            train_elbo=state.mean(state.elbo),
            train_rate=state.mean(state.rate),
            val_elbo=found.elbo,
            val_rate=found.rate,
            val_distortion=found.distortion,
            val_bits_per_dim=found.bits_per_dim,
            skipped_steps=state.skipped,
        )
        self.reporter.end_epoch(row, self.vae, self.val_split, self.engine)
        state.begin_epoch()
        self.rank(found.elbo)
        self.save()

    def rank(self, elbo: float) -> None:
        """Keeps the weights if the epoch is among the best."""
        state = self.state
        if state.rank(elbo) and self.run is not None:
            save_checkpoint(self.run.best(state.epoch), self.weights(), {"val_elbo": elbo})

    def out_of_patience(self) -> bool:
        """Whether the validation ELBO has not improved for too long."""
        patience, best = self.trainer.patience, self.state.best
        return bool(patience and best and self.state.epoch - best[0][1] >= patience)

    def weights(self) -> dict[str, Tensor]:
        """What a checkpoint of the programs holds."""
        return {f"weights.{name}": value for name, value in self.vae.state_dict().items()}

    def save(self) -> None:
        """Writes all that resuming needs."""
        if self.run is None:
            return
        tensors = self.weights() | {"random.cpu": torch.get_rng_state()}
        if self.engine.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.engine.device)
        for name, value in self.optimizer.state_tensors().items():
            tensors[f"optimizer.{name}"] = value
        for name, value in state_of(self.objective).items():
            tensors[f"objective.{name}"] = value
        state = asdict(self.state) | {"config": self.run.config_text}
        save_checkpoint(self.run.last, tensors, state)
        self.run.tidy([epoch for _, epoch in self.state.best])

    def load(self) -> None:
        """Goes back to what `save` wrote."""
        assert self.run is not None
        tensors, state = load_checkpoint(self.run.last)
        if "num_images" not in state:
            raise InputError(f"{self.run.last}: holds weights only, no run to go on with")
        if state["num_images"] != self.state.num_images or state["images"] != self.state.images:
            raise InputError(
                f"the training split, now of {self.state.num_images} images, is not what the run "
                f"in {self.run.root} began with, {state['num_images']} images"
            )
        del state["config"]
        groups: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, value in tensors.items():
            group, rest = name.split(".", 1)
            groups[group][rest] = value
        try:
            self.vae.load_state_dict(groups["weights"])
            self.optimizer.load_state_tensors(groups["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = shorten(str(error), 200, placeholder=" ...")
            raise InputError(
                f"{self.run.last}: does not fit {self.run.config}: {reason}"
            ) from error
        state_of(self.objective).update(groups["objective"])
        torch.set_rng_state(groups["random"]["cpu"])
        if "cuda" in groups["random"] and self.engine.device.type == "cuda":
            torch.cuda.set_rng_state(groups["random"]["cuda"], self.engine.device)
        self.state.__dict__.update(state, best=[tuple(pair) for pair in state["best"]])
        self.run.tidy([epoch for _, epoch in self.state.best])
