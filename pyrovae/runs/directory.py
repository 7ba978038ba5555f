"""Run directories: the files of one run, its lock, its best weights."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from torch import Tensor

from pyrovae.runs.checkpoint import load_checkpoint, save_checkpoint, state_of
from pyrovae.runs.contents import check_best, checked_state
from pyrovae.runs.own_code import OWN_PARTS, copy_own_code, names_own_classes
from pyrovae.runs.renewing import renewed
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import replace_file
from pyrovae.utils.plain import flat, from_yaml
from pyrovae.utils.text import counted

__all__ = ["OTHERS", "RunDirectory", "distinct_runs"]

PICTURES = ("samples", "reconstructions")
#: The line in the `config.yaml` of a run that cannot be opened before its options in comments.
OTHERS = "# The other options of this run, which a resumed run keeps:"
# The temporary names of a run's files, from `temporary_for`: `tidy` deletes no other files.
TEMPORARY = re.compile(
    r"\.(config\.yaml|index\.html|curve\.png|metrics\.csv|warnings\.txt|evaluation\.json|evaluation_images\.csv|"
    r"last\.safetensors|best_epoch_\d+\.safetensors|epoch_\d+\.png)\.\d+(@[\w-]*)?\.tmp"
)


class RunDirectory:
    """The files of one run.

    `config.yaml` (the options), `metrics.csv` (one row per epoch), `index.html` and `curve.png`
    (a summary of the run), `warnings.txt` (faults of the posterior, if any), `tensorboard/`,
    `samples/` and `reconstructions/` (one picture per epoch), `checkpoints/last.safetensors` (all
    that resuming needs) and `checkpoints/best_epoch_0001.safetensors` (weights of the best
    epochs), `parts/` (copies of the user's own modules that the options name). A shared run has
    `model.safetensors` in place of the checkpoints.

    Args:
        root: the directory.
        config: the text of `config.yaml`, written when the run begins.
    """

    def __init__(self, root: str | Path, config: str = "") -> None:
        self.root, self.config_text, self._began = Path(root), config, False
        self.config = self.root / "config.yaml"
        self.metrics = self.root / "metrics.csv"
        self.warnings = self.root / "warnings.txt"
        self.index, self.curve = self.root / "index.html", self.root / "curve.png"
        self.tensorboard = self.root / "tensorboard"
        self.parts = self.root / OWN_PARTS
        self.shared = self.root / "model.safetensors"
        self.last = self.root / "checkpoints" / "last.safetensors"

    def with_trust(self, command: str) -> str:
        """A command that opens the run; with `--trust` if the run names a class of the user."""
        return f"{command} --trust" if names_own_classes(self.options()) else command

    def check_free(self) -> None:
        """Raises `InputError` if the path holds a run or its best weights, or is not a directory.

        A directory without checkpoints is free if its `config.yaml` is empty or of this run: a
        run that was killed early may leave one.
        """
        if self.has_checkpoint():
            raise InputError(
                f"{self.root}: holds a run already; resume it with --resume {self.root} "
                "(resume=True in Python), or choose another --run_dir (run in Python)"
            )
        if not self.config.exists() and any(self.last.parent.glob("best_epoch_*")):
            raise InputError(
                f"{self.root}: holds the weights of a run without its config.yaml; put that file "
                "back, or choose another --run_dir (run in Python)"
            )
        written = self.config.read_text("utf-8", "replace") if self.config.exists() else ""
        if written not in ("", self.config_text):
            raise InputError(
                f"{self.root}: holds a run already, with other options and without a checkpoint; "
                "choose another --run_dir"
            )
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"{self.root}: is not a directory")

    def has_checkpoint(self) -> bool:
        """Whether there is a run to resume; its last checkpoint may still be damaged."""
        return self.config.is_file() and any(self.last.parent.glob("*.safetensors"))

    def check_run(self) -> None:
        """Raises `InputError` unless the directory holds a run."""
        if self.root.is_file():
            raise InputError(f"{self.root}: is a file; name the directory of the run")
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such directory")
        if not self.config.is_file():
            raise InputError(f"{self.root}: holds no run (there is no config.yaml in it)")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Locks the directory, so that no other process trains in it.

        Raises:
            InputError: if another process holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            try:
                held.enter_context(FileLock(self.root / ".lock", timeout=0))
            except Timeout:
                raise InputError(
                    f"{self.root}: another process is training in this directory; wait for it, or "
                    "choose another --run_dir"
                ) from None
            except NotImplementedError:  # Some network file systems have no locks.
                pass
            yield

    def begin(self) -> None:
        """Writes `config.yaml`, which makes the directory a run; never empties an old one."""
        if self.config.exists() and not self.config_text:
            return
        self._began = self._began or not self.config.exists()
        copy_own_code(self.config_text, self.parts)
        replace_file(self.config, self.config_text)

    def free(self) -> None:
        """Deletes the last checkpoint, and the options if this run wrote them first.

        Another run may then begin in the directory.
        """
        for path in (self.last, *([self.config] if self._began else [])):
            path.unlink(missing_ok=True)

    def share(self, weights: dict[str, Tensor], epoch: int = 0) -> None:
        """Writes `config.yaml` and weights, without what resuming needs.

        Args:
            weights: the state of the programs.
            epoch: the number of epochs that they were trained for; 0 if it is unknown.
        """
        self.begin()
        named = {f"weights.{name}": value for name, value in weights.items()}
        save_checkpoint(self.shared, named, {"epoch": epoch, "num_tensors": len(named)})

    def options(self) -> dict[str, Any]:
        """The content of `config.yaml` as plain values; empty if it cannot be read."""
        try:
            found = from_yaml(self.config.read_text(encoding="utf-8", errors="replace"))
        except (OSError, ValueError, yaml.YAMLError):
            return {}
        return found if isinstance(found, dict) else {}

    def commented_options(self) -> dict[str, Any]:
        """The options in the comments of a `config.yaml` that no run opens with, as plain values.

        A run with a part that cannot be written down, such as a lambda, has its other options
        there, below the line `OTHERS`. Empty if there are none.
        """
        try:
            lines = self.config.read_text(encoding="utf-8", errors="replace").splitlines()
            place = lines.index(OTHERS) + 1
            found = from_yaml("\n".join(line.removeprefix("# ") for line in lines[place:]))
        except (OSError, ValueError, yaml.YAMLError):
            return {}
        return found if isinstance(found, dict) else {}

    def flat_options(self) -> dict[str, Any]:
        """The options by the names of today; those in comments if there are no others."""
        return flat(renewed(self.options() or self.commented_options()))

    def picture(self, kind: str, epoch: int) -> Path:
        """The path of an epoch's picture."""
        return self.root / kind / f"epoch_{epoch:04d}.png"

    def best(self, epoch: int) -> Path:
        """The path of the weights of one of the best epochs."""
        return self.last.with_name(f"best_epoch_{epoch:04d}.safetensors")

    def tidy(self, best_epochs: list[int]) -> None:
        """Removes temporary files of killed processes, and weights no longer among the best."""
        keep = {self.best(epoch) for epoch in best_epochs}
        for path in self.last.parent.glob("best_epoch_*.safetensors"):
            if path not in keep:
                path.unlink()
        for place in (self.root, self.last.parent, *(self.root / kind for kind in PICTURES)):
            for path in place.glob(".*.tmp"):
                if TEMPORARY.fullmatch(path.name):
                    path.unlink()

    def weights(self, which: str = "best") -> dict[str, Tensor]:
        """Returns the weights of the best epoch by validation ELBO, or of the last epoch.

        Args:
            which: "best" or "last"; before the first epoch has ended the best is the last.
        """
        return self.weights_of(which)[0]

    def weights_of(self, which: str) -> tuple[dict[str, Tensor], int]:
        """Returns `weights(which)`, and the number of epochs that they were trained for."""
        if which not in ("best", "last"):
            raise InputError(f"checkpoint: allowed are best and last, got {which}")
        self.check_run()
        if self.shared.is_file():
            tensors, state = load_checkpoint(self.shared)
            return _weights(tensors), int(state.get("epoch", 0))
        if not self.has_checkpoint():
            raise InputError(
                f"{self.root}: has no weights yet (training ended before its first checkpoint)"
            )
        try:
            tensors, state = load_checkpoint(self.last)
        except InputError as error:
            if which == "last":
                raise
            return self._best_without_last(error)
        epoch = int(state.get("epoch", 0))
        if which == "best" and state.get("best"):
            epoch = state["best"][0][1]
            tensors, own = load_checkpoint(self.best(epoch))
            check_best(self.best(epoch), own, state)
        return _weights(tensors), epoch

    def about_weights(self, which: str) -> str:
        """Where `weights(which)` come from, for notes."""
        _, epoch = self.weights_of(which)
        if self.shared.is_file() and not epoch:
            return "as they were saved"
        done = self.unfinished() and f"; trained for {self.unfinished()}"
        return f"epoch {epoch} (the {which} checkpoint){done}"

    def unfinished(self) -> str:
        """How far training is, such as "3 of 12 epochs"; "" at its end, or if it is unknown.

        A run that `trainer.patience` stops early is at its end.
        """
        state = state_of(self.last)
        try:
            checked_state(self.last, state, state.get("num_tensors", 0))
        except InputError:  # Damaged: the weights are those of a best epoch.
            return ""
        done, planned, best = state.get("epoch", 0), state.get("epochs", 0), state.get("best")
        patience = self.flat_options().get("trainer.patience")
        waited = patience and best and done - best[0][1] >= patience
        return "" if done >= planned or waited else f"{done} of {counted(planned, 'epoch')}"

    def _best_without_last(self, damage: InputError) -> tuple[dict[str, Tensor], int]:
        """Returns the best weights of a run whose last checkpoint cannot be read.

        Raises:
            InputError: the given one if there are no weights of a best epoch.
        """
        found = {path: state_of(path) for path in self.last.parent.glob("best_epoch_*")}
        if not found:
            raise damage
        # The file name orders the files of older versions, which hold no ELBO.
        best = max(found, key=lambda path: (found[path].get("val_elbo", -math.inf), path.name))
        tensors, state = load_checkpoint(best)
        _warn_once(f"{damage}; uses {best.name} in the same folder instead, which is intact")
        return _weights(tensors), int(state.get("epoch", best.stem.split("_")[-1]))

    def check_images(self, num_images: int, fingerprint: str) -> None:
        """Warns if the training images differ from those the run was trained on.

        Args:
            num_images: the number of training images.
            fingerprint: of some of them, as `TrainingState.images` holds it.
        """
        state = state_of(self.last)
        known = (state.get("num_images"), state.get("images"))
        if known[1] and known != (num_images, fingerprint):
            logging.getLogger("pyrovae").warning(
                "%s: the training images have changed since the run was trained; images of the "
                "validation and test splits may have been training images",
                self.root,
            )


def distinct_runs(runs: Sequence[str | Path]) -> list[str | Path]:
    """The runs to compare: each once, in the order in which they are given.

    Args:
        runs: the run directories.

    Raises:
        InputError: if there are fewer than two.
    """
    paths: dict[Path, str | Path] = {}
    for run in runs:
        paths.setdefault(Path(run).resolve(), run)
    if len(paths) < 2:
        given = f"{next(iter(paths.values()))} only" if paths else "none"
        raise InputError(f"a comparison needs two or more different runs, got {given}")
    return [*paths.values()]


def _weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the programs in a checkpoint."""
    return {n[len("weights.") :]: t for n, t in tensors.items() if n.startswith("weights.")}


@cache
def _warn_once(line: str) -> None:
    logging.getLogger("pyrovae").warning("%s", line)
