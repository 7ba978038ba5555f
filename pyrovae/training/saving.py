"""Saving and loading the checkpoints of a run."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from pyrovae.networks.base import add_gains
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.runs import RunDirectory, load_checkpoint, save_checkpoint
from pyrovae.runs.contents import check_best, check_resumable
from pyrovae.runs.state import WITHOUT_NOISE, TrainingState
from pyrovae.training.averaging import Average
from pyrovae.training.svi import SVI
from pyrovae.utils.errors import InputError
from pyrovae.utils.process_group import Group, generators, reseed, set_generators

__all__ = ["Saved"]


@dataclass
class Saved:
    """The checkpoints of one run of training.

    Attributes:
        svi: the SVI object with optimiser and objective.
        programs: the model and the guide.
        state: the progress of the run.
        run: the run directory; None writes nothing.
        group: the processes that train together.
        device: the device of this process.
        seed: the seed of the run.
        keeps: whether the best weights are kept in memory if there is no run directory.
        average: the average of the weights. The last checkpoint has it as its weights, and the
            weights of the last step in addition.
    """

    svi: SVI
    programs: ModelGuidePair
    state: TrainingState
    run: RunDirectory | None
    group: Group
    device: torch.device
    seed: int
    keeps: bool
    average: Average
    kept: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def weights(self) -> dict[str, Tensor]:
        """The tensors of the programs, by their names in a checkpoint."""
        return {f"weights.{name}": value for name, value in self.programs.state_dict().items()}

    def save_best(self, elbo: float) -> None:
        """Writes the current weights as those of a best epoch, with its validation ELBO."""
        if self.run is None:
            if self.keeps and self.state.best[0][1] == self.state.epoch:
                self.kept = {k: v.detach().clone() for k, v in self.programs.state_dict().items()}
        else:
            state, weights = self.state, self.weights()
            about = {"run": state.run, "epoch": state.epoch, "val_elbo": elbo}
            save_checkpoint(
                self.run.best(state.epoch), weights, about | {"num_tensors": len(weights)}
            )

    def restore_best(self) -> str:
        """Loads the weights of the best epoch in all processes; returns a line for the log."""
        epoch = self.state.best[0][1]
        self.programs.load_state_dict(self.group.from_main(self._best_weights))
        return f"ends with the weights of epoch {epoch}, whose validation ELBO is the best"

    def _best_weights(self) -> dict[str, Tensor]:
        return self.kept if self.run is None else self.run.weights_of("best")[0]

    def save(self) -> None:
        """Writes the checkpoint that a resumed run needs; every process must call this."""
        random = self.group.gather(generators(self.device))
        if self.run is None:
            return
        tensors = self.weights()
        if mean := self.average.tensors():
            raw = {name.replace("weights.", "raw.", 1): value for name, value in tensors.items()}
            tensors = raw | {f"weights.{name}": value for name, value in mean.items()}
        for rank, states in enumerate(random):
            for kind, state in states.items():
                tensors[".".join(filter(None, ("random", _name(rank), kind)))] = state
        for name, value in self.svi.optim.state_tensors().items():
            tensors[f"optimizer.{name}"] = value
        for name, value in self.svi.objective.state.items():
            tensors[f"objective.{name}"] = value
        about = {"config": self.run.config_text, "num_tensors": len(tensors)}
        save_checkpoint(self.run.last, tensors, asdict(self.state) | about)
        self.run.tidy([epoch for _, epoch in self.state.best])

    def free_untrained(self, error: type[BaseException] | None, *_: object) -> None:
        """Frees the directory if an error ended the run before its first step, else does nothing.

        The user corrects an option, such as a batch size that needs too much memory, and runs the
        command again.
        """
        failed = error is not None and issubclass(error, Exception)
        if failed and self.state.step == 0 and self.run is not None:
            self.run.free()

    def _read(self, held: ExitStack) -> tuple[dict[str, Tensor], dict[str, Any], str]:
        """Reads the checkpoint, if it belongs to the same images.

        Returns:
            The tensors, the state, and the start of a message for weights that do not fit.
        """
        assert self.run is not None
        self.run.check_run()
        held.enter_context(self.run.lock())
        tensors, state = load_checkpoint(self.run.last)
        check_resumable(self.run.last, state, tensors)
        self._check_best(state)
        if (state["num_images"], state["images"]) != (self.state.num_images, self.state.images):
            raise InputError(
                f"the training split ({self.state.num_images} images) is not the one that the run "
                f"in {self.run.root} began with ({state['num_images']} images): the data "
                f"differ, or {self.run.last} belongs to another run"
            )
        if planned := re.search(r"^  epochs: (\d{1,9})$", state.pop("config"), re.MULTILINE):
            state.setdefault("epochs", int(planned[1]))  # Older versions kept it here only.
        state.pop("num_tensors", None)
        return tensors, state, f"{self.run.last}: does not fit {self.run.config}"

    def _check_best(self, state: dict[str, Any]) -> None:
        """Raises `InputError` if the best weights so far are damaged, or of another run."""
        assert self.run is not None
        if state["best"]:
            path = self.run.best(int(state["best"][0][1]))
            if not path.is_file():
                raise InputError(
                    f"{path}: no such file, but {self.run.last.name} refers to it as the best: "
                    f"{path.name} was removed, or {self.run.last.name} belongs to another run"
                )
            check_best(path, load_checkpoint(path)[1], state)

    def load(self, held: ExitStack, steps: int) -> list[str]:
        """Restores the checkpoint; the number of processes may differ from that of the run.

        Args:
            held: holds the lock of the run directory.
            steps: the steps per epoch with these processes.

        Returns:
            Lines for the log on differences from the interrupted run.
        """
        tensors, state, misfit = self.group.from_main(lambda: self._read(held))
        groups: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, value in tensors.items():
            group, rest = name.split(".", 1)
            groups[group][rest] = value
        try:
            self.programs.load_state_dict(groups["raw"] or groups["weights"])
            add_gains(groups["weights"], self.programs.state_dict())
            self.average.load(groups["weights"])
            self.svi.optim.load_state_tensors(groups["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = shorten(str(error), 200, placeholder=" ...")
            raise InputError(f"{misfit}: {reason}") from error
        self.svi.objective.state.update(groups["objective"])
        lines = list(self._restore(state, steps))
        self._load_generators(groups["random"])
        if self.run is not None:
            self.run.tidy([epoch for _, epoch in self.state.best])
        return lines

    def _restore(self, state: dict[str, Any], steps: int) -> Iterator[str]:
        """Restores the progress; yields lines on differences from the interrupted run."""
        per_step, threads = self.state.images_per_step, self.state.num_threads
        state.setdefault("norm", math.nan if state["batch"] else 0.0)  # Older versions kept none.
        dequantised = state.setdefault("dequantised", False)
        if not dequantised and self.programs.likelihood.grey_levels == 256:
            yield WITHOUT_NOISE
        self.state.__dict__.update(state, best=[tuple(pair) for pair in state["best"]])
        self.state.regroup(per_step, steps)
        if line := self.state.change_threads(threads):
            yield line

    def _load_generators(self, saved: dict[str, Tensor]) -> None:
        """Restores the random generators of this process; seeds those of a new process."""
        parts = [(name.rpartition("."), value) for name, value in saved.items()]
        own = {kind: value for (rank, _, kind), value in parts if rank == _name(self.group.rank)}
        # First, since the checkpoint of another device lacks this device's generator.
        reseed(self.seed, self.group.rank, self.state.step)
        set_generators(own, self.device)


def _name(rank: int) -> str:
    """The prefix of a process in the names of saved generators; empty for the main process."""
    return str(rank) if rank else ""
