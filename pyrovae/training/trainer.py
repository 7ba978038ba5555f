"""The trainer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyro
import torch

from pyrovae.data import ImageData, as_image_data
from pyrovae.engine import Engine
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.runs.directory import RunDirectory
from pyrovae.runs.state import TrainingState
from pyrovae.training.callbacks import (
    Callback,
    Callbacks,
    Console,
    Hooks,
    LoggerFeed,
    Pictures,
    RunPage,
)
from pyrovae.training.callbacks.base import Warnings
from pyrovae.training.description import Description
from pyrovae.training.loggers import CSVLogger, Logger, TensorBoardLogger
from pyrovae.training.recipe import Recipe
from pyrovae.training.session import Session
from pyrovae.training.settings import Settings
from pyrovae.training.sync_batch_norm import synchronous
from pyrovae.utils.errors import InputError, check_kind
from pyrovae.utils.modes import frozen
from pyrovae.utils.plain import from_yaml
from pyrovae.utils.process_group import Group, processes
from pyrovae.utils.pyro_state import training_store
from pyrovae.utils.signals import Interrupted, quiet

if TYPE_CHECKING:
    from pyrovae.training.history import History

__all__ = ["Recipe", "Trainer", "TrainingState"]

#: Changed options that an error names.
SHOWN = 3


class Trainer(Settings):
    """Training with Pyro's SVI.

    Args:
        epochs: passes over the training split.
        batch_size: images per step and process; an epoch drops an incomplete last batch, unless it
            is the only one.
        seed: the seed of the order and mirroring of the images. The commands also seed torch
            with it, which determines the initial weights and all noise: in Python, call
            `torch.manual_seed(seed)` before you build the VAE.
        clip_norm: largest global norm of the gradient of the loss in nats per image; null does
            not clip.
        patience: stops after that many epochs without a better validation ELBO; null never stops
            early.
        max_skipped: stops after that many consecutive steps that were not finite.
        sync_batch_norm: whether batch normalisation uses the means and variances over the images
            of all processes instead of each process; such a step is not compiled. It has no
            effect with one process.
        restore_best: whether training ends with the weights of the best validation ELBO in place
            of the last ones.
        ema: decay per step of an exponential moving average of the weights, such as 0.999.
            Validation, pictures, checkpoints and the trained programs then have the averaged
            weights, also if the run is interrupted. Null keeps no average.

    Raises:
        ValueError: if a number is not positive.

    Example:
        >>> from pyrovae import *
        >>> data = SyntheticFaces(num_train=64, num_val=16, num_test=16, image_size=16)
        >>> vae = VAE(
        ...     encoder=MLPEncoder(data.image_shape, num_outputs=8),
        ...     decoder=MLPDecoder(data.image_shape, latent_dim=4, num_maps=3),
        ...     prior=StandardNormal(4),
        ...     likelihood=SharedScaleNormal(),
        ...     posterior=DiagonalNormal(4),
        ... )
        >>> history = Trainer(epochs=2, batch_size=16).fit(vae, data)
        >>> len(history), list(history["step"]), history.state.step
        (2, [4, 8], 8)
    """

    def fit(
        self,
        vae: ModelGuidePair,
        data: ImageData | Any,
        recipe: Recipe | None = None,
        engine: Engine | None = None,
        *,
        run: RunDirectory | str | Path | None = None,
        resume: bool | Literal["auto"] = False,
        progress: bool = False,
        callbacks: Sequence[Callback] = (),
        loggers: Sequence[Logger] | None = None,
    ) -> History:
        """Trains a VAE in place; it ends in evaluation mode.

        Its weights are those of the last epoch, or of the best one with `restore_best`.

        Under `torchrun` all processes train one VAE together, and the main process writes.

        Args:
            vae: the pair of programs, such as a `VAE`.
            data: the data set; training uses its split `"train"`, validation its split `"val"`.
                An array, a tensor or a data set of PyTorch is divided; see `as_image_data`.
            recipe: objective, optimiser, schedules and initialisation.
            engine: the device and the precision.
            run: the directory for checkpoints, metrics and pictures; None writes nothing.
            resume: whether to resume from the last checkpoint of the run. "auto" resumes if there
                is one, so that the same cell of a notebook starts a run and continues it.
            progress: whether to show the epochs and a progress bar, by `Console()`; otherwise
                warnings go to the logger `pyrovae`.
            callbacks: called at each step and epoch, besides `Console()` with `progress` and
                `Pictures()` and `RunPage()` with `run`. A given callback of the same class
                replaces the default one.
            loggers: get the metrics and pictures of each epoch. They replace the default loggers,
                which are `CSVLogger()` and `TensorBoardLogger()` with `run`, else none.

        Returns:
            The rows of `metrics.csv` as a pandas frame, also without `run`. A resumed run takes
            its earlier epochs from that file, which `CSVLogger` writes. The attribute `state` is
            the state of the run, such as its steps and best epochs.

        Raises:
            InputError: if parts and data do not fit together, before anything is written.
            TypeError: if an argument has the wrong type, such as a folder instead of a data set.
            PeerFailed: if another process of the run has ended.
            Interrupted: after SIGINT, SIGTERM, SIGHUP or SIGUSR1; the current step is finished
                and saved. It is a `KeyboardInterrupt`; its `history` has the metrics.
            Diverged: after `max_skipped` consecutive steps that were not finite.
        """
        recipe = Recipe() if recipe is None else recipe
        engine = Engine() if engine is None else engine
        _check_parts(vae, recipe, engine, callbacks, loggers)
        data, group = as_image_data(data), processes()
        group.check(engine.device)
        run, resume = _place(run, resume, group)
        about = Description(self, vae, data, recipe, engine, callbacks, loggers)
        group.from_main(lambda: _describe(run, about, resume))
        feed = _feed(loggers, run, about)
        called = _arranged(callbacks, feed, run is not None, progress) if group.main else []
        with training_store(vae), engine.running(vae, vae.networks()):
            try:
                with (
                    torch.inference_mode(False),
                    torch.enable_grad(),
                    pyro.validation_enabled(False),
                    quiet(),
                    synchronous(vae, group if self.sync_batch_norm else Group()),
                    frozen(vae.named(recipe.freeze)),
                ):
                    active = Callbacks(called)
                    session = Session(self, vae, data, recipe, engine, run, active, group)
                    return _history(session, resume)
            finally:
                vae.eval()


def _place(
    run: RunDirectory | str | Path | None, resume: bool | str, group: Group
) -> tuple[RunDirectory | None, bool]:
    """The directory that this process writes to, if any, and whether the run resumes."""
    if resume not in (True, False, "auto"):
        raise ValueError(f"resume must be True, False or 'auto', got {resume!r}")
    if resume and run is None:
        raise InputError("resume needs a run directory")
    if run is not None:
        check_kind("run", run, RunDirectory | str | os.PathLike, "; it is the path of a directory")
        if isinstance(run, str) and not run:
            raise InputError("run: allowed is the path of a directory, got ''")
    found = RunDirectory(run) if isinstance(run, str | os.PathLike) else run
    # Other processes may have decided differently, or see another directory.
    resumes = group.from_main(lambda: _resumes(found, resume))
    return (found if group.main else None), resumes


def _resumes(run: RunDirectory | None, resume: bool | str) -> bool:
    """Whether a run resumes; raises `InputError` if it cannot, or would replace another."""
    if run is None:
        return False
    if resumes := run.has_checkpoint() if resume == "auto" else bool(resume):
        run.check_run()
    else:
        run.check_free()
    return resumes


def _describe(run: RunDirectory | None, about: Description, resume: bool) -> None:
    """Gives a run from Python its `config.yaml`; refuses to resume it with other options.

    The command line has its own text, and does the same.

    Raises:
        InputError: if options have changed.
    """
    if run is None or run.config_text:
        return
    before = run.options() or run.commented_options() if resume else {}
    if before and (changes := about.changes(before)):
        some = [
            f"{name} was {old}, now {'another' if new is None else new}"
            for name, (old, new) in [*changes.items()][:SHOWN]
        ]
        more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
        raise InputError(
            f"{run.root}: a resumed run keeps its options ({'; '.join(some)}{more}); only epochs, "
            "engine, callbacks, loggers and the place of the data may change; to train the "
            "weights with other options, load them and name another run, without resume"
        )
    if not (resume and about.missing):  # What the run has can be more than this.
        run.config_text = about.text(before)


def _feed(
    loggers: Sequence[Logger] | None, run: RunDirectory | None, about: Description
) -> LoggerFeed:
    """The given loggers, or the usual ones; they get the options of the run."""
    usual: list[Logger] = [CSVLogger(), TensorBoardLogger()] if run is not None else []
    # The command line knows options that the objects do not, such as those of the optimiser.
    text = run.config_text if run is not None else ""
    options = from_yaml(text) or about.options
    return LoggerFeed(usual if loggers is None else loggers, options, text)


def _history(session: Session, resume: bool) -> History:
    from pyrovae.training.history import History  # Pandas is slow to import.

    try:
        state = session.train(resume)
    except Interrupted as stop:
        stop.history = History.of(session.rows, session.state)
        raise
    return History.of(session.rows, state)


def _arranged(
    given: Sequence[Callback], feed: LoggerFeed, writes: bool, progress: bool
) -> list[Hooks]:
    """All callbacks in order: the terminal, those that were given, the loggers, the files."""
    own = {type(callback) for callback in given}
    before: list[Hooks] = [Console()] if progress else [Warnings()]
    before = [] if Console in own else before
    after: list[Hooks] = [Pictures(), RunPage()] if writes else []
    before, after = ([usual for usual in few if type(usual) not in own] for few in (before, after))
    return [*before, *given, feed, *after]


def _check_parts(
    vae: object,
    recipe: object,
    engine: object,
    callbacks: Sequence[object],
    loggers: Sequence[object] | None,
) -> None:
    """Raises `TypeError` if an argument of `fit` has the wrong type."""
    check_kind("vae", vae, ModelGuidePair)
    hint = "; an objective goes in Recipe(objective=), and images of splits in one mapping"
    check_kind("recipe", recipe, Recipe, f"{hint}, {{'train': ..., 'val': ...}}")
    check_kind("engine", engine, Engine, '; such as Engine("cuda")')
    for name, given in (("callbacks", callbacks), ("loggers", loggers or ())):
        check_kind(name, given, Sequence, "; write a list")
    for callback in callbacks:
        check_kind("callbacks", callback, Callback)
    methods = "; its methods are start(config), log(numbers, images, step) and finish(status)"
    for logger in loggers or ():
        hint = "; a callback goes in callbacks=" if isinstance(logger, Callback) else methods
        check_kind("loggers", logger, Logger, hint)
