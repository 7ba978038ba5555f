"""The guide with offsets added to the outputs of its networks, for refinement per image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn

from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.errors import InputError

__all__ = ["OffsetGuide"]


@dataclass(frozen=True)
class _Call:
    """One call of a network of the guide.

    Attributes:
        given: the arguments.
        output: the result.
    """

    given: tuple[Any, ...]
    output: Any

    def offset(self, count: int) -> Tensor | None:
        """Zeros like the output if it has one row per image, else None."""
        free = isinstance(self.output, Tensor) and len(self.output) == count
        return torch.zeros_like(self.output) if free else None

    def is_of(self, given: tuple[Any, ...]) -> bool:
        """Whether the arguments are the same objects, so that the result is the same."""
        return len(given) == len(self.given) and all(map(is_, given, self.given))


class OffsetGuide(nn.Module):
    """A guide with free offsets per image added to the outputs of its networks.

    Only these outputs are amortised. So with the best offsets the guide is the best member of
    its family for each image, for any family.

    Args:
        programs: the pair of programs.
        x: the observations `(B, C, H, W)` of the images.
        **inputs: further inputs of the programs.

    Attributes:
        offsets: for each call of a network the tensor that is added to its output, zeros at the
            start; None for outputs that are not one row per image.

    Raises:
        InputError: if `programs.networks()` has no network of the guide.
    """

    def __init__(self, programs: ModelGuidePair, x: Tensor, **inputs: Tensor) -> None:
        super().__init__()
        inside = set(programs.guide.modules())
        self._guide = (programs.guide,)
        self._networks = [network for network in programs.networks() if network in inside]
        self._calls: list[_Call] = []

        def notice(run: Callable[..., Any], *given: Any) -> Any:
            output = run(*given)
            self._calls.append(_Call(given, output))
            return output

        with torch.no_grad(), self._replacing(notice):
            programs.guide(x, **inputs)
        self.offsets = [own.offset(len(x)) for own in self._calls]
        if not self.free:
            raise InputError(
                "the guide's own family cannot be refined: networks() of the programs has no "
                "network of the guide"
            )

    @property
    def free(self) -> list[Tensor]:
        """The offsets that are tensors."""
        return [offset for offset in self.offsets if offset is not None]

    def forward(self, x: Tensor, **inputs: Tensor) -> Any:
        """Runs the guide with the offsets."""
        calls = zip(self._calls, self.offsets, strict=True)

        def add(run: Callable[..., Any], *given: Any) -> Any:
            known, offset = next(calls)
            output = known.output if known.is_of(given) else run(*given)
            return output if offset is None else output + offset

        with self._replacing(add):
            return self._guide[0](x, **inputs)

    def fixed(self) -> OffsetGuide:
        """A copy with detached offsets."""
        return self.at([offset.detach() for offset in self.free])

    def at(self, free: list[Tensor]) -> OffsetGuide:
        """A copy with other free offsets."""
        values, found = iter(free), copy(self)
        found.offsets = [None if offset is None else next(values) for offset in self.offsets]
        return found

    @contextmanager
    def _replacing(self, change: Callable[..., Any]) -> Iterator[None]:
        """Within this context, calls of the networks are calls of `change` instead."""
        own = [vars(network).get("forward") for network in self._networks]
        for network in self._networks:
            network.forward = partial(change, network.forward)
        try:
            yield
        finally:
            for network, before in zip(self._networks, own, strict=True):
                del network.forward
                if before is not None:
                    network.forward = before
