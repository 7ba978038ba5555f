"""A callback that warns of problems with the posterior during training."""

from __future__ import annotations

import math
from textwrap import shorten
from typing import Any

from pyrovae.data import Split
from pyrovae.evaluation.baselines import structureless, without_structure
from pyrovae.inspection.dispersion import dispersion
from pyrovae.inspection.judge import Evidence, Finding, Options
from pyrovae.inspection.judging import judge
from pyrovae.inspection.measures.history import from_cells
from pyrovae.inspection.measures.latents import of_encoding, of_spread
from pyrovae.inspection.measures.noise import of_noise
from pyrovae.inspection.spread_sweep import sweep_spread
from pyrovae.posterior.view import PosteriorView
from pyrovae.training.callbacks import Callback, Epoch, RunInfo
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import replacing

__all__ = ["PosteriorMonitor"]

#: Earlier epochs are not judged: the decoder does not use the latents yet.
LEAST_STEPS = 200
#: Factors of the guide's spread; three are enough for the weight on the rate.
NEAR = (0.95, 1.0, 1.05)
#: How a line begins that says that a problem is over.
OVER = "no longer seen: "


class PosteriorMonitor(Callback):
    """Checks the posterior after each epoch, and warns of each new problem.

    Each epoch has at most one warning, on its worst problem. There is none before step 200 or
    before beta has its final value. A further line says when a later epoch has no problem. These
    lines are printed, and written to the run's `warnings.txt`.

    Use it to detect problems early, such as posterior collapse.

    Args:
        images: the number of images of the validation split that it uses.

    Example:
        >>> callbacks = [PosteriorMonitor(images=32)]  # Trainer.fit(..., callbacks=callbacks)
    """

    def __init__(self, images: int = 64) -> None:
        self.images = images
        self.warned: list[str] = []
        self._info: RunInfo | None = None
        self._failed = False
        self._structureless: list[float] = []

    def begin(self, info: RunInfo) -> None:
        """Reads the warnings of an earlier part of the run."""
        self._info, self.warned = info, []
        if info.run is not None and info.run.warnings.exists():
            self.warned = info.run.warnings.read_text(errors="replace").splitlines()

    def end_epoch(self, epoch: Epoch) -> None:
        """Prints and saves the new warnings."""
        lines = self.look(epoch) if math.isfinite(epoch.row.val_elbo) else []
        if not lines or self._info is None:
            return
        for line in lines:
            self._info.say(line)
        if self._info.run is not None:
            with replacing(self._info.run.warnings) as temporary:
                temporary.write_text("\n".join(self.warned) + "\n")

    def look(self, epoch: Epoch) -> list[str]:
        """The new warning, as a list of one line; empty without one."""
        some = epoch.split.spread(self.images)
        early = epoch.row.step < LEAST_STEPS or not epoch.settled
        if early or len(some) < 2 or self._failed:
            return []
        try:
            faults = judge(self._evidence(epoch, some)).faults
        except Exception as error:  # Training continues with any user's program.
            self._failed = True
            reason = shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
            return [f"warning: the posterior cannot be checked during training ({reason})"]
        open_ = self._open()
        lines = [self._warning(epoch, own) for own in faults[:1] if own.title not in open_]
        if open_ and not faults:
            lines = [f"note (epoch {epoch.row.epoch}): {OVER}{'; '.join(open_)}"]
        self.warned += lines
        return lines

    def _open(self) -> list[str]:
        """The problems that were warned of since the last epoch without a problem."""
        found: list[str] = []
        for said in (line.partition("): ")[2] for line in self.warned):
            found = [] if said.startswith(OVER) else [*found, said.partition(" (")[0]]
        return found

    def _warning(self, epoch: Epoch, fault: Finding) -> str:
        tries = f" Try: {fault.advice[0].text}." if fault.advice else ""
        place = f"warning (epoch {epoch.row.epoch})"
        return f"{place}: {fault.title} ({fault.nats}). {fault.reason}{tries}"

    def _evidence(self, epoch: Epoch, some: Split) -> Evidence:
        """What is known of the posterior and of the history at this epoch."""
        row, view = epoch.row, PosteriorView(epoch.programs, some, epoch.engine)
        if not self._structureless:
            likelihood = epoch.programs.likelihood
            self._structureless = structureless(likelihood, some.images, some.images)
        rate = max(float(cells["learning_rate"]) for cells in epoch.rows)
        noise = dispersion(epoch.programs, some, epoch.engine).value
        return Evidence(
            options=Options({"beta": {"value": row.beta}, "optimizer": {"lr": rate}}),
            finished=False,
            wide=self._info is not None and self._info.wide,
            maximises_elbo=self._info is None or self._info.maximises_elbo,
            elbo=row.val_elbo,
            no_latent=without_structure(self._structureless, row.val_elbo),
            **from_cells(epoch.rows),
            **of_encoding(view.encoded),
            **of_noise(epoch.programs, some, epoch.engine, noise),
            **self._spread(view, some),
        )

    def _spread(self, view: PosteriorView, some: Split) -> dict[str, Any]:
        try:
            own = view.programs, some, view.engine
            return of_spread(view.encoded, sweep_spread(*own, factors=NEAR, widest=1)[1])
        except (InputError, NotImplementedError):  # Latents on a sphere have no spread to scale.
            return {}
