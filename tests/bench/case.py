"""A case of the bench: how a run is made, and what is right to say about it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.images import stored
from tests.bench.options import BASE, words
from tests.bench.plants import Plant
from tests.bench.running import trained

__all__ = ["Case"]


@dataclass(frozen=True)
class Case:
    """A short run.

    Attributes:
        name: of the run.
        data: the name of a data set in `DATA`; empty if the options name one.
        options: of `pyrovae train`, beyond `BASE`.
        right: the causes of which one must be found first; none if no fault may be found.
        moves: fields of `Evidence` that must rise (+) or fall (-) if the first piece of advice is
            followed, such as "elbo+ train_gap-".
        plant: what is changed in the weights after training.
        first: options of an earlier run, whose folder "{first}" names in the options.
        remedy: the data set that the first piece of advice asks for, if it names no option.
        claim: fields of `Evidence`, and between which values the planted fault puts them.
        minor: whether the cause is an improvement and no fault.
        quick: whether the case is part of the ordinary test run.
    """

    name: str
    data: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    right: tuple[str, ...] = ()
    moves: str = ""
    plant: Plant | None = None
    first: Mapping[str, Any] | None = None
    remedy: str = ""
    claim: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    minor: bool = False
    quick: bool = False

    def run(self, folder: Path) -> Path:
        """The trained run; made once."""
        given = {**BASE, **self._images(self.data, folder), **self.options}
        if self.first is not None:
            before = {**BASE, **self._images(self.data, folder), **self.first}
            first = str(trained(words(before), folder / "runs", f"{self.name}-first"))
            given = {
                name: value.replace("{first}", first) if isinstance(value, str) else value
                for name, value in given.items()
            }
        return trained(words(given), folder / "runs", self.name, self.plant)

    def remedied(self, folder: Path) -> Path:
        """The run on the images of the remedy."""
        given = {**BASE, **self._images(self.remedy, folder), **self.options}
        return trained(words(given), folder / "runs", f"{self.name}-remedy")

    def _images(self, data: str, folder: Path) -> dict[str, Any]:
        if not data:
            return {}
        path = stored(data, folder / "images")
        return {"data": "ArrayData", "data.path": str(path), "data.key": "x_{}"}

    @property
    def available(self) -> bool:
        """Whether its images are at hand."""
        return not needs_real(self.data) or "PYROVAE_TEST_DATA" in os.environ


def needs_real(data: str) -> bool:
    """Whether a data set is made of real images."""
    return data in ("repeated", "other_faces") or "celebrities" in data
