"""Opens a run for the explorer, and keeps what its answers share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.commands.explorer.seeing import Images, Seen
from pyrovae.commands.inspect import budget_of, open_subject
from pyrovae.data import SPLITS, ImageData
from pyrovae.data.rows import spread_rows
from pyrovae.inspection.exploring import (
    Cover,
    Evidences,
    Ground,
    NeighbourGround,
    Predictions,
    principal_ground,
)
from pyrovae.inspection.maps import LEAST as LEAST_OF_NEIGHBOURS
from pyrovae.inspection.maps import neighbour_method
from pyrovae.inspection.outliers import reference_images
from pyrovae.inspection.probing import probes
from pyrovae.inspection.subject import Subject, check_name
from pyrovae.inspection.traversals import moved_and_shown, within_support
from pyrovae.runs.directory import RunDirectory
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas

__all__ = ["Explorer"]

#: Least number of encoded images, for a map of them.
LEAST = 3
#: A point within this distance of a posterior mean in every dimension is that mean.
SAME = 1e-5
#: Importance draws per image for log p(x): a CPU decodes these of one image at once.
DRAWS = 50
#: Images that log p(x) is ranked among, at most: p-values reach 2 / 121.
REFERENCE = 120


class Explorer:
    """The programs of a run, the encoded images of a split, and what answers share.

    It is not thread-safe: ask one question at a time.

    Args:
        subject: the programs, and the images that are encoded.
        data: the data set of the run.
        rows: the index of each encoded image in its split; by default they are the whole split.
        notes: sentences on what is shown.

    Raises:
        InputError: for fewer than 3 images.
    """

    def __init__(
        self,
        subject: Subject,
        data: ImageData,
        rows: np.ndarray | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.subject, self.data, self.notes = subject, data, list(notes)
        count = len(subject.split)
        if count < LEAST:
            raise InputError(f"{count} images of {subject.name}: allowed is {LEAST} or more")
        places = np.arange(count) if rows is None else rows
        self.names = [f"{subject.name}:{row}" for row in places]
        self._grounds: dict[str, Ground] = {}

    @classmethod
    def open(
        cls,
        run: str | Path,
        *,
        split: str = "test",
        checkpoint: str = "best",
        num_images: int | None = None,
        **options: Any,
    ) -> Explorer:
        """Opens a run, and encodes the images of a split.

        Args:
            run: the run directory.
            split: the split to encode.
            checkpoint: "best" or "last".
            num_images: the largest number of images to encode; 0 means all, by default 2,000.
            **options: `device`, `seed`, `trust` and `places`, as for `open_subject`.

        Raises:
            InputError: if the run, the checkpoint or the split is missing.
        """
        check_name("split", split, SPLITS)
        budget = budget_of(False, num_images)
        options |= {"split": split, "checkpoint": checkpoint, "budget": budget}
        subject, _ = open_subject(run, **options)
        data = subject.programs.data
        assert data is not None, "programs of a run have a data set"
        whole = data.split(split)
        count = len(whole)
        rows = spread_rows(count, budget.images, whole.groups)  # Those of `Split.spread`.
        notes = [f"Weights: {RunDirectory(run).about_weights(checkpoint)}."]
        if len(rows) < count:
            notes.append(f"{len(rows):,} of {count:,} images of {split} are encoded.")
        _ = subject.encoded
        return cls(subject, data, rows, notes)

    @property
    def size(self) -> int:
        """The number of latent dimensions."""
        return self.subject.space.size

    @cached_property
    def images(self) -> Images:
        """The images that can be asked for by name."""
        return Images(self.subject, self.data, self.names, self.usual)

    def row_at(self, z: np.ndarray) -> int | None:
        """The index of the encoded image whose posterior mean is z; None for another point."""
        apart = np.abs(self.subject.encoded.loc - z).max(1)
        row = int(apart.argmin())
        return row if apart[row] <= SAME else None

    @cached_property
    def cover(self) -> Cover:
        """The cover of the encodings."""
        return Cover.of(self.subject.encoded, self.subject.split.groups)

    @cached_property
    def predictions(self) -> Predictions | str:
        """The predictions of attributes, or the reason why there are none."""
        try:
            return Predictions.of(self.subject)
        except InputError as reason:
            return str(reason)

    @cached_property
    def evidences(self) -> Evidences:
        """Log p(x) of the encoded images."""
        return Evidences(self.subject, DRAWS)

    @cached_property
    def reference(self) -> tuple[Evidences, str]:
        """Log p(x) of the reference images, and their description."""
        images, of = reference_images(self.subject, REFERENCE)
        return Evidences(self.subject.of(images), DRAWS), of

    def prepare(self, seconds: float) -> bool:
        """Scores more reference images for some time; returns whether all are scored.

        A server can do so while nothing is asked.
        """
        try:
            usual, _ = self.reference
        except InputError:
            return True
        usual.work(seconds)
        return usual.done == 1

    def evidence(self, seen: Seen) -> pandas.Series:
        """Log p(x) of an image, the columns of `log_evidence`."""
        if seen.row is not None:
            return self.evidences.of(seen.row)
        return Evidences(self.subject.of(seen.known), DRAWS).of(0)

    @cached_property
    def scores(self) -> pandas.DataFrame:
        """The score of a linear probe per attribute, see `probes`."""
        found = self.predictions
        assert not isinstance(found, str), found
        return probes(found.codes, found.table, seed=self.subject.seed, groups=found.groups)

    @cached_property
    def methods(self) -> list[str]:
        """The maps that can be asked for."""
        several = len(np.unique(self.subject.encoded.loc, axis=0)) >= LEAST_OF_NEIGHBOURS
        return ["PCA", neighbour_method()] if several and self.size > 1 else ["PCA"]

    def ground(self, method: str) -> Ground:
        """A map, which is made when it is asked for first."""
        check_name("method", method, self.methods)
        if method not in self._grounds:
            encoded = self.subject.encoded
            if method == "PCA":
                self._grounds[method] = principal_ground(encoded.loc, encoded.scale)
            else:
                self._grounds[method] = NeighbourGround.of(encoded.loc, self.subject.seed)[0]
        return self._grounds[method]

    def places(self, seen: Seen) -> dict[str, list[float]]:
        """The place of an image on each map that was made."""
        found = {}
        for method, ground in self._grounds.items():
            if seen.row is None:
                place = ground.place(seen.encoded.loc, seen.encoded.scale)[0]
            else:
                place = ground.places[seen.row]
            found[method] = place.tolist()
        return found

    # Attributes that the programs take.

    @cached_property
    def usual(self) -> dict[str, float]:
        """The value of each attribute that the programs take, for images where it is unknown.

        It is the mean of a number. Of classes, and of two values, it is the most frequent one:
        the programs were trained with no value in between.
        """
        split, programs = self.subject.split, self.subject.programs
        found = {}
        for name, place in zip(
            programs.attributes, split.places(programs.attributes), strict=True
        ):
            column = split.attributes[:, place].astype(float)
            values, counts = np.unique(column[np.isfinite(column)], return_counts=True)
            few = programs.classes_of(name) or len(values) == 2
            found[name] = float(values[counts.argmax()] if few else np.nanmean(column))
        return found

    def inputs(self, given: dict[str, float], count: int) -> dict[str, Tensor]:
        """The further inputs of the programs for `count` latents; usual where none is given."""
        values = [given.get(name, usual) for name, usual in self.usual.items()]
        table = torch.tensor([values], dtype=torch.float32).expand(count, -1)
        return self.subject.programs.inputs(table.to(self.subject.engine.device))

    # Latents.

    def tensor(self, z: np.ndarray) -> Tensor:
        """Latents `(M, D)` on the device."""
        return torch.from_numpy(np.ascontiguousarray(z)).to(self._like)

    @cached_property
    def _like(self) -> Tensor:
        """A tensor with the device and the type of observations."""
        return self.subject.observed(self.subject.split.take([0]))[0]

    def decode(self, z: np.ndarray, given: dict[str, float]) -> tuple[np.ndarray, Tensor]:
        """Latents moved into the support of the prior, and their images `(M, C, H, W)`."""
        with self.subject.quietly(6):
            inputs = self.inputs(given, len(z))
            moved, shown = moved_and_shown(self.subject.space, self.tensor(z), **inputs)
        return moved.cpu().double().numpy(), shown

    def within(self, z: np.ndarray) -> np.ndarray:
        """Latents moved into the support of the prior."""
        with self.subject.quietly(6):
            inputs = self.inputs({}, len(z))
            moved = within_support(self.subject.space, self.tensor(z), **inputs)
        return moved.cpu().double().numpy()

    def log_prior(self, z: np.ndarray, given: dict[str, float]) -> np.ndarray:
        """Log p(z) of latents in the support, `(M,)`; NaN if the prior has no density."""
        with self.subject.quietly(6):
            try:
                inputs = self.inputs(given, len(z))
                found = self.subject.space.log_prior(self.tensor(z), **inputs)
            except NotImplementedError:
                return np.full(len(z), np.nan)
        return found.cpu().double().numpy()
