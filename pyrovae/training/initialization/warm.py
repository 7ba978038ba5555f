"""Initialisation from the weights of another run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyrovae.networks.base import add_gains
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.runs import RunDirectory
from pyrovae.training.initialization.base import Start
from pyrovae.utils.errors import InputError
from pyrovae.utils.text import listed

__all__ = ["WarmStart"]


class WarmStart(Start):
    """Starts from the weights of another run, tensor by tensor.

    A tensor is copied if the run has a tensor of the same name and shape. So convolutions can be
    copied to networks for other image sizes, and the layers whose shapes depend on the size keep
    their random weights. The code of the other run is not needed, and does not run.

    Use it to continue from a trained model with other data, sizes or parts; `--init_from RUN` is
    the short form.

    Args:
        run: the directory of the other run.
        parts: the names of the parts to copy, such as `encoder`; null copies all.
        checkpoint: "best" (by validation ELBO) or "last".
        whole: the names of parts that must be copied completely; in other parts, tensors that do
            not fit stay random.
    """

    def __init__(
        self,
        run: str,
        parts: Sequence[str] | None = None,
        checkpoint: str = "best",
        whole: Sequence[str] = (),
    ) -> None:
        self.run, self.parts, self.checkpoint = Path(run), parts, checkpoint
        self.whole = tuple(whole)

    @torch.no_grad()
    def __call__(self, vae: ModelGuidePair, images: np.ndarray, flip: bool) -> str:
        """Copies the weights that fit; returns a line on these, and one on the others."""
        theirs, epoch = RunDirectory(self.run).weights_of(self.checkpoint)
        add_gains(theirs, vae.state_dict())
        own = {name: value for name, value in vae.state_dict().items() if self._wants(name)}
        if unknown := set(self.parts or ()) - set(map(_part, vae.state_dict())):
            known = listed(dict.fromkeys(map(_part, vae.state_dict())))
            raise InputError(f"start.parts: no weights in {listed(unknown)}; parts are {known}")
        fits = [n for n, value in own.items() if n in theirs and theirs[n].shape == value.shape]
        left = list(self._left(own, theirs, fits))
        weights = dict(vae.named_parameters())
        if weights.keys().isdisjoint(fits):
            raise InputError(f"{self.run}: none of its weights fit: {listed(left, 6)}")
        if broken := {_part(n) for n in own if n not in fits} & {*self.whole}:
            named = listed(word for word in left if _part(f".{word}") in broken)
            whole = listed(sorted(broken))
            raise InputError(
                f"{self.run}: {whole} must be copied completely; does not fit: {named}"
            )
        for name in fits:
            own[name].copy_(theirs[name])
        parts = listed(dict.fromkeys(map(_part, fits)))
        copied = f"starts from {self.run} (epoch {epoch}): copies {len(fits)} tensors of {parts}"
        lines = [copied, f"does not copy {listed(left, 6)}"] if left else [copied]
        random = [n for n, p in weights.items() if not p.requires_grad and n not in fits]
        if random:
            lines.append(f"frozen, but not copied, so random: {listed(map(_short, random), 6)}")
        return "\n".join(lines)

    def _wants(self, name: str) -> bool:
        return self.parts is None or _part(name) in self.parts

    def _left(
        self, own: dict[str, Tensor], theirs: dict[str, Tensor], fits: Sequence[str]
    ) -> Iterable[str]:
        """Describes each tensor that is not copied."""
        for name in [n for n in own if n not in fits]:
            if name in theirs:
                yield f"{_short(name)} ({_size(theirs[name])} in the run, {_size(own[name])} here)"
            else:
                yield f"{_short(name)} (not in the run)"
        for name in filter(self._wants, theirs):
            if name not in own:
                yield f"{_short(name)} (in the run only)"


def _part(name: str) -> str:
    """The part of a tensor, such as `encoder` of `guide.encoder.layers.0.weight`."""
    return _short(name).partition(".")[0]


def _short(name: str) -> str:
    return name.partition(".")[2]


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "number"
