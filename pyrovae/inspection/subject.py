"""The subject of an inspection: programs, images and a budget."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from pyrovae.data import Split
from pyrovae.inspection.judge.advice import Options
from pyrovae.inspection.spread_sweep import Spread, sweep_spread
from pyrovae.posterior.view import PosteriorView
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas
from pyrovae.utils.progress import hides_bar
from pyrovae.utils.text import closest

__all__ = ["Budget", "FULL", "QUICK", "Subject"]


@dataclass(frozen=True)
class Budget:
    """The numbers of images, draws and steps of an inspection.

    Attributes:
        images: the largest number of images of the split; 0 means all.
        shown: images that are shown one by one.
        draws: draws of the prior, and images drawn from the model.
        refined: images for refined posteriors and for MCMC.
        steps: of four rounds of refinement; warm-up steps plus kept draws of each MCMC chain.
        chains: MCMC chains per image; with 0 the section `mcmc` is not made.
        importance_draws: draws per image for log p(x).
        tree_depth: d of MCMC: a draw takes at most 2^d - 1 gradients. Small values mix badly.
        starts: draws of the prior per image from which modes that the guide misses are searched.
        num_splits: random halves of the images for the scores of factors.
        rank_draws: draws per image for calibration, if the guide has several latent sites. Its
            networks run per draw; a guide of one site has 99 draws.
    """

    images: int = 2000
    shown: int = 6
    draws: int = 2000
    refined: int = 8
    steps: int = 400
    chains: int = 2
    importance_draws: int = 1000
    tree_depth: int = 5
    starts: int = 16
    num_splits: int = 5
    rank_draws: int = 99

    def __post_init__(self) -> None:
        if self.images < 0:
            raise InputError(f"num_images: allowed is 0 or more, got {self.images}")


#: Largest number of images for the sweep of the guide's spread.
SWEPT = 200
#: Least number of images of a second data set.
COMPARED = 20

QUICK = Budget(400, 3, 400, 2, 50, 0, 200, starts=4, num_splits=2, rank_draws=19)
FULL = Budget()


def check_name(what: str, name: str, known: Iterable[str]) -> None:
    """Raises `InputError` with the closest known name unless a name is known."""
    names = list(known)
    if name not in names:
        allowed = ", ".join(names) or "none"
        raise InputError(f"unknown {what} '{name}'{closest(name, names)}; allowed are {allowed}")


def _check_against(against: Split, split: Split) -> None:
    shapes = [tuple(own.images.shape[1:]) for own in (against, split)]
    if shapes[0] != shapes[1]:
        raise InputError(f"against: images of shape {shapes[0]}, allowed is {shapes[1]}")
    if len(against) < COMPARED:
        raise InputError(f"against: {len(against)} images, allowed is {COMPARED} or more")


def _distinct(names: Iterable[str]) -> list[str]:
    """Distinct names: repeated ones get a number."""
    seen: Counter[str] = Counter()
    found = []
    for name in map(str, names):
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


@dataclass(frozen=True, kw_only=True, repr=False)
class Subject(PosteriorView):
    """A pair of programs, and the images for which its posterior is inspected.

    Attributes:
        shown: images that are shown one by one; they need not be of the split.
        name: the name of the split.
        train: the images that the programs were trained on; None if unknown.
        held_out: images that were neither trained on nor are of the split, such as the validation
            split: improbable images are ranked among them. None if there are none.
        wide: whether the guide was trained with an objective whose optimum is wider than that of
            the ELBO, such as one of several particles.
        maximises_elbo: whether the objective of training follows the ELBO at beta 1.
        factors: names of the attributes that the images were generated from.
        given: whether the user named the shown images.
        budget: the numbers of images, draws and steps.
        sites: the latent sites whose dimensions are inspected; by default all that are not
            discrete.
        attributes: the attributes that are inspected; by default all.
        progress: whether to show progress bars.
        movable: whether sections may compute on the CPU if that is faster.
        run: the run directory; empty for programs from Python.
        options: the options of the run; empty if unknown.
        history: the rows of `metrics.csv`; None if unknown.
        flip: whether training mirrors images.
        against: images of another kind, whose scores are compared with those of the split.
        against_name: their name in texts.
    """

    shown: Split
    name: str = "test"
    train: Split | None = None
    held_out: Split | None = None
    wide: bool = False
    maximises_elbo: bool = True
    factors: tuple[str, ...] = ()
    given: bool = False
    budget: Budget = FULL
    sites: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    progress: bool = False
    movable: bool = False
    run: str = ""
    options: Options = field(default_factory=Options)
    history: pandas.DataFrame | None = None
    flip: bool = False
    against: Split | None = None
    against_name: str = "the second data set"

    def __post_init__(self) -> None:
        if self.against is not None:
            _check_against(self.against, self.split)
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed: allowed is 0 to 2**63 - 1, got {self.seed}")
        # Tables and figures identify images by their names.
        object.__setattr__(self, "shown", replace(self.shown, names=_distinct(self.shown.names)))

    @cached_property
    def columns(self) -> np.ndarray:
        """The indices of the inspected dimensions: by default those of all continuous sites.

        Raises:
            InputError: if a site is unknown.
        """
        slices = self.space.slices
        for site in self.sites:
            check_name("site", site, slices)
        places = np.arange(self.space.size)
        real = [site for site in slices if site not in self.space.discrete]
        return np.concatenate([places[slices[site]] for site in self.sites or real or slices])

    @cached_property
    def swept(self) -> tuple[pandas.DataFrame, Spread]:
        """The ELBO of wider and narrower guides, see `sweep_spread`; raises as that function."""
        some = self.split.spread(SWEPT)
        return sweep_spread(self.programs, some, self.engine, seed=self.seed)

    @cached_property
    def known_attributes(self) -> list[str]:
        """The names of the inspected attributes.

        Raises:
            InputError: if an attribute is unknown.
        """
        for name in self.attributes:
            check_name("attribute", name, self.split.attribute_names)
        return list(self.attributes or self.split.attribute_names)

    def informed(self) -> Subject:
        """The subject without the images that have an unknown inspected attribute.

        Attributes that are unknown for half of the images do not count.
        """
        rows = self.informed_rows()
        return self if len(rows) == len(self.split) else replace(self, split=self.split.take(rows))

    @cached_property
    def independent(self) -> Subject:
        """The subject with one image per group, for tests that need independent images."""
        some = self.split.independent()
        return self if len(some) == len(self.split) else replace(self, split=some)

    def informed_rows(self) -> np.ndarray:
        """The indices of the images of `informed`."""
        places = self.split.places(self.known_attributes)
        finite = np.isfinite(self.split.attributes[:, places])
        rows = np.flatnonzero(finite[:, finite.mean(0) >= 0.5].all(1))
        return rows if len(rows) else np.arange(len(self.split))

    def bar(self, iterable: Iterable[Any], title: str, total: int | None = None) -> Iterable[Any]:
        """The iterable, with a progress bar if `progress` is true."""
        from tqdm import tqdm

        hidden = hides_bar(self.progress)
        return tqdm(iterable, desc=title, total=total, disable=hidden, file=sys.stderr)

    def thinned_said(self, whole: Subject) -> list[str]:
        """A sentence on the images of this subject if it has one per group of a whole one."""
        if len(self.split) == len(whole.split):
            return []
        return [
            f"One image per group is used, since the tests need independent images: "
            f"{len(self.split):,} of {len(whole.split):,}."
        ]

    def where(self, count: int | None = None) -> str:
        """The images of a figure in words, such as `n = 500 images of the split test`."""
        return f"n = {count or len(self.split):,} images of the split {self.name}"

    def shown_where(self, first: int | None = None) -> str:
        """The shown images, or the first of them, in words.

        Such as `4 images of the split test`, or `the first 2 of 4 given images`.
        """
        count = len(self.shown)
        plural = "s" * (count != 1)
        where = f"{count} given image{plural}"
        if not self.given:
            where = f"{count} image{plural} of the split {self.name}"
        if first is None or first == count:
            return where
        return f"the first {first} of {where}" if first > 1 else f"the first of {where}"
