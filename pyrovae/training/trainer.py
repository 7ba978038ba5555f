"""Training: how long, on how many images a step, and when to stop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyro

from pyrovae.data import ImageData
from pyrovae.engine import Engine
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.runs.directory import RunDirectory
from pyrovae.runs.state import TrainingState
from pyrovae.training.description import describe
from pyrovae.training.loggers import (
    Console,
    Logger,
    Loggers,
    MetricsFile,
    Pictures,
    TensorBoard,
)
from pyrovae.training.recipe import Recipe
from pyrovae.training.session import Session
from pyrovae.training.settings import Settings
from pyrovae.training.sync_batch_norm import synchronous
from pyrovae.utils.errors import InputError, check_kind
from pyrovae.utils.process_group import Group, processes
from pyrovae.utils.signals import quiet

__all__ = ["Recipe", "Trainer", "TrainingState"]


class Trainer(Settings):
    """Trains a VAE with Pyro's SVI.

    Args:
        epochs: passes over the training split.
        batch_size: images a step, in each process that takes part; what is left of an epoch
            after the last whole batch waits for another epoch's shuffle.
        seed: decides the order and mirroring of the images; the commands also seed torch with
            it, which decides the weights' start and all noise.
        clip_norm: largest global norm of the gradient of the loss in nats per image; null
            leaves gradients as they are.
        patience: stops after that many epochs without a better validation ELBO; null never.
        max_skipped: stops when that many steps in a row were not finite.
        sync_batch_norm: whether batch normalisation takes means and variances over the images
            of all processes, not of each by itself; such a step is not compiled. It changes
            nothing where one process trains alone.

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
        >>> state = Trainer(epochs=2, batch_size=16).fit(vae, data)
        >>> state.step
        8
    """

    def fit(
        self,
        vae: ModelGuidePair,
        data: ImageData,
        recipe: Recipe | None = None,
        engine: Engine | None = None,
        *,
        run: RunDirectory | str | Path | None = None,
        resume: bool = False,
        progress: bool = False,
        loggers: Sequence[Logger] | None = None,
    ) -> TrainingState:
        """Trains, and leaves the VAE with the last epoch's weights, in evaluation mode.

        Processes that `torchrun` started train one VAE together; the first of them writes.

        Args:
            vae: the pair of programs: a `VAE`, or any other.
            data: its `"train"` split is trained on, its `"val"` split validated on.
            recipe: what is optimised and how.
            engine: where to compute.
            run: where to write checkpoints, metrics and pictures; None writes nothing.
            resume: whether to go on from the run's last checkpoint.
            progress: whether the usual loggers print lines and a progress bar.
            loggers: what reports the run, in this order; by default the usual ones, which are
                `Console()` with `progress`, and with a run `MetricsFile()`, `Pictures()` and
                `TensorBoard()`.

        Raises:
            InputError: if parts and data do not fit together, before anything is written.
            TypeError: if an argument is of another kind, such as a folder for the data in it.
            PeerFailed: if another process of the run has ended.
            Interrupted: if SIGINT or SIGTERM came; the step was finished and all is saved.
            Diverged: if `max_skipped` steps in a row were not finite.
        """
        check_kind("vae", vae, ModelGuidePair)
        check_kind("data", data, ImageData, "; a folder of images is ImageFolder(folder)")
        recipe = recipe or Recipe()
        check_kind("recipe", recipe, Recipe, "; an objective goes in Recipe(objective=)")
        if isinstance(run, (str, Path)):
            run = RunDirectory(run)
        if resume and run is None:
            raise InputError("resume needs a run directory")
        group, engine = processes(), engine or Engine()
        group.check(engine.device)
        resume = group.from_main(lambda: resume)  # The others may have looked at another time.
        run = run if group.main else None
        if run is not None and not resume:
            run.check_free()
        if run is not None and not (resume or run.config_text):
            run.config_text = describe(self, vae, data, recipe, engine, loggers)
        reported = _usual(run, progress) if loggers is None else loggers
        told = Loggers(reported if group.main else ())
        met = group if self.sync_batch_norm else Group()
        with pyro.get_param_store().scope(), engine.running(vae, vae.networks()):
            try:
                with pyro.validation_enabled(False), quiet(), synchronous(vae, met):
                    session = Session(self, vae, data, recipe, engine, run, told, group)
                    return session.train(resume)
            finally:
                vae.eval()


def _usual(run: RunDirectory | None, progress: bool) -> list[Logger]:
    """What reports a run unless others are named, the terminal first."""
    shown: list[Logger] = [Console()] if progress else []
    return [*shown, MetricsFile(), Pictures(), TensorBoard()] if run is not None else shown
