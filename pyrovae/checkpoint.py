"""Run directories and checkpoints: written whole or not at all, and read without unpickling."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pyrovae.contents import check_best, checked_state
from pyrovae.data import spread
from pyrovae.data.base import fingerprint
from pyrovae.errors import InputError
from pyrovae.leftovers import sweep, temporary_for

if TYPE_CHECKING:
    from pyrovae.vae import VAE

__all__ = ["RunDirectory", "checksum", "load", "load_checkpoint", "replacing", "save_checkpoint"]

STATE_KEY = "pyrovae"
PICTURES = ("samples", "reconstructions")
# What the readers of a damaged file raise.
_DAMAGED = (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError)
# The names that `temporary_for` gives to what a run writes: nothing else is ever cleared away.
TEMPORARY = re.compile(
    r"\.(config\.yaml|metrics\.csv|warnings\.txt|evaluation\.json|evaluation_images\.csv|"
    r"last\.safetensors|best_epoch_\d+\.safetensors|epoch_\d+\.png)\.\d+(@[\w-]*)?\.tmp"
)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name to write to, which takes the place of `path` in one move.

    Whatever happens in between, `path` holds either the old content or the whole new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    temporary = temporary_for(path)
    try:
        yield temporary
        # Windows refuses to synchronise what is open for reading alone.
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None:  # Pillow's own, which says what is wrong in its text.
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def save_checkpoint(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Writes tensors and a state of plain values into one safetensors file with a checksum."""
    # Copies, since safetensors refuses tensors that share memory, as parts may share modules.
    whole = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }
    text = json.dumps(state, sort_keys=True)
    note = {"state": text, "sha256": checksum(whole, text)}
    data = save(whole, metadata={STATE_KEY: json.dumps(note)})
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save_checkpoint` wrote.

    Raises:
        InputError: if the file is not there, cut off, or not as it was written.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            note = json.loads((file.metadata() or {})[STATE_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        text, expected = str(note["state"]), note["sha256"]
    except _DAMAGED as error:
        reason = "".join(str(error).splitlines()[:1])
        raise InputError(f"{path}: cut off, or not a checkpoint of pyrovae ({reason})") from None
    if checksum(tensors, text) != expected:
        raise InputError(f"{path}: the content was changed after it was written (wrong checksum)")
    try:
        return tensors, checked_state(path, json.loads(text), len(tensors))
    except (json.JSONDecodeError, RecursionError):
        raise InputError(f"{path}: its state is no JSON") from None


def _state(path: Path) -> dict[str, Any]:
    """What a checkpoint holds besides tensors, of which none is read; nothing of a damaged one."""
    try:
        with safe_open(path, framework="pt") as file:
            found = json.loads(json.loads((file.metadata() or {})[STATE_KEY])["state"])
    except _DAMAGED:
        return {}
    return found if isinstance(found, dict) else {}


def checksum(tensors: dict[str, Tensor], text: str = "") -> str:
    """A hash of named tensors and a text."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class RunDirectory:
    """The files of one run.

    `config.yaml` (what runs), `metrics.csv` (a row an epoch), `warnings.txt` (what was wrong with
    the posterior, if anything), `tensorboard/`, `samples/` and
    `reconstructions/` (a picture an epoch), `checkpoints/last.safetensors` (all that resuming
    needs) and `checkpoints/best_epoch_0001.safetensors` (weights of the best epochs).

    Args:
        root: the directory.
        config: the text of `config.yaml`, written when the run begins.
    """

    def __init__(self, root: str | Path, config: str = "") -> None:
        self.root, self.config_text = Path(root), config
        self.config = self.root / "config.yaml"
        self.metrics = self.root / "metrics.csv"
        self.warnings = self.root / "warnings.txt"
        self.tensorboard = self.root / "tensorboard"
        self.last = self.root / "checkpoints" / "last.safetensors"

    def check_free(self) -> None:
        """Raises `InputError` if there is a run already, or something that is no directory.

        A directory without checkpoints is free if its `config.yaml` is empty or of this run: a
        run that was killed early may leave one.
        """
        if self.has_checkpoint():
            raise InputError(
                f"{self.root}: holds a run already; resume it with --resume {self.root}, "
                "or choose another --run_dir"
            )
        if self.config.exists() and self.config.read_text(errors="replace") not in (
            "",
            self.config_text,
        ):
            raise InputError(
                f"{self.root}: holds a run already, of other options and without a checkpoint; "
                "choose another --run_dir"
            )
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"{self.root}: is not a directory")

    def has_checkpoint(self) -> bool:
        """Whether there is a run to go on with; its last checkpoint may turn out to be damaged."""
        return self.config.is_file() and any(self.last.parent.glob("*.safetensors"))

    def check_run(self) -> None:
        """Raises `InputError` unless there is a run."""
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such directory")
        if not self.config.is_file():
            raise InputError(f"{self.root}: holds no run (there is no config.yaml in it)")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the directory, where the system has locks: two processes must not train in it.

        Raises:
            InputError: if another process holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            try:
                held.enter_context(FileLock(self.root / ".lock", timeout=0))
            except Timeout:
                raise InputError(
                    f"{self.root}: another process is training in it; let it end, or choose "
                    "another --run_dir"
                ) from None
            except NotImplementedError:  # Some network file systems know no locks.
                pass
            yield

    def begin(self) -> None:
        """Writes `config.yaml`, which makes the directory a run; never empties one."""
        if self.config.exists() and not self.config_text:
            return
        with replacing(self.config) as temporary:
            temporary.write_text(self.config_text)

    def picture(self, kind: str, epoch: int) -> Path:
        """Where the picture of an epoch goes."""
        return self.root / kind / f"epoch_{epoch:04d}.png"

    def best(self, epoch: int) -> Path:
        """Where the weights of one of the best epochs are."""
        return self.last.with_name(f"best_epoch_{epoch:04d}.safetensors")

    def tidy(self, best_epochs: list[int]) -> None:
        """Removes what a killed process left, and weights that are no longer among the best."""
        keep = {self.best(epoch) for epoch in best_epochs}
        for path in self.last.parent.glob("best_epoch_*.safetensors"):
            if path not in keep:
                path.unlink()
        for place in (self.root, self.last.parent, *map(self._folder, PICTURES)):
            for path in place.glob(".*.tmp"):
                if TEMPORARY.fullmatch(path.name):
                    path.unlink()

    def _folder(self, kind: str) -> Path:
        return self.root / kind

    def weights(self, which: str = "best") -> dict[str, Tensor]:
        """The weights of the best epoch by validation ELBO, or of the last one.

        Args:
            which: "best" or "last"; before the first epoch has ended the best is the last.
        """
        return self.weights_of(which)[0]

    def weights_of(self, which: str) -> tuple[dict[str, Tensor], int]:
        """As `weights`, and how many epochs they had been trained for."""
        if which not in ("best", "last"):
            raise InputError(f"checkpoint: allowed are best and last, got {which}")
        self.check_run()
        tensors, state = load_checkpoint(self.last)
        epoch = int(state.get("epoch", 0))
        if which == "best" and state.get("best"):
            epoch = state["best"][0][1]
            tensors, own = load_checkpoint(self.best(epoch))
            check_best(self.best(epoch), own, state)
        return {
            n[len("weights.") :]: t for n, t in tensors.items() if n.startswith("weights.")
        }, epoch

    def check_images(self, images: np.ndarray) -> None:
        """Warns where training images `(N, C, H, W)` are others than the run was trained on."""
        state = _state(self.last)
        known = (state.get("num_images"), state.get("images"))
        if known[1] and known != (len(images), fingerprint(spread(images, 256))):
            logging.getLogger("pyrovae").warning(
                "%s: was trained on other images than its configuration now names: what is said "
                "of images that it has not seen may be of some that it has",
                self.root,
            )


def load(
    run_dir: str | Path,
    checkpoint: str = "best",
    device: str | torch.device = "cpu",
    trust: bool = False,
) -> VAE:
    """The VAE of a run: its parts with their weights, in evaluation mode.

    `vae.preprocess(image)` prepares a path or a Pillow image as the run's data were prepared.
    Neither the images nor the machine that trained it are needed. A run whose parts are those of
    pyrovae, PyTorch and Pyro is opened safely, whoever wrote it. A part of the user's own must be
    importable by the name that it had, and takes `trust`.

    Args:
        run_dir: the run directory.
        checkpoint: "best" (by validation ELBO) or "last".
        device: where to put it.
        trust: whether the run may name any class, whose code then runs.

    Raises:
        InputError: if there is no run, or its files are cut off, changed, or name parts that
            cannot be imported or that take `trust`.
    """
    # The command line's machinery is slow to import, and nothing else here needs it.
    from pyrovae.cli import load_run

    return load_run(run_dir, checkpoint, device, trust)[0]
