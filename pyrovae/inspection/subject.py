"""What is inspected: programs, images, and how much of everything there is time for."""

from __future__ import annotations

import difflib
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from pyrovae.data import Split
from pyrovae.inspection.collapse import Symptoms, Verdict
from pyrovae.inspection.diagnosis import diagnose
from pyrovae.posterior.view import PosteriorView
from pyrovae.utils.errors import InputError

__all__ = ["FULL", "QUICK", "Budget", "Subject"]


@dataclass(frozen=True)
class Budget:
    """How much of everything an inspection looks at.

    Attributes:
        images: of the split, at most; 0 takes all.
        shown: images looked at one by one.
        draws: latents drawn where draws are compared, and images drawn from the model.
        refined: images whose posteriors are refined, and sampled by MCMC.
        steps: steps of refinement; warm-up and kept draws of MCMC together, for each chain.
        chains: chains of MCMC.
        importance_draws: draws per image for log p(x).
        tree_depth: of MCMC: a draw takes 2^d - 1 gradients at most. Fewer mix badly.
    """

    images: int = 2000
    shown: int = 6
    draws: int = 2000
    refined: int = 8
    steps: int = 400
    chains: int = 2
    importance_draws: int = 1000
    tree_depth: int = 5

    def __post_init__(self) -> None:
        if self.images < 0:
            raise InputError(f"num_images: allowed is 0 or more, got {self.images}")


QUICK = Budget(500, 4, 500, 3, 100, 2, 200, 3)
FULL = Budget()


def check_name(what: str, name: str, known: Iterable[str]) -> None:
    """Raises `InputError` unless a name is known; says which ones are near it."""
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise InputError(
            f"unknown {what} '{name}'{hint}; allowed are {', '.join(names) or 'none'}"
        )


def _distinct(names: Iterable[str]) -> list[str]:
    """Names that are all different: a number is put after those that come again."""
    seen: Counter[str] = Counter()
    found = []
    for name in map(str, names):
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


@dataclass(frozen=True, kw_only=True)
class Subject(PosteriorView):
    """A pair of programs, and the images that its posterior is questioned about.

    Attributes:
        shown: images that are looked at one by one; they need not be of the split.
        given: whether these were named by the user, and need not be of the split.
        name: what the split is called.
        train: the images that the programs were trained on; None where they are not known.
        wide: whether the guide was trained for an objective that wants it wider than the ELBO,
            as one of several particles does.
        factors: names of attributes that images were made from, all of them known.
        budget: how much of everything.
        sites: the latent sites whose dimensions are looked at; all of them by default.
        attributes: the attributes that are looked at; all of them by default.
        progress: whether to show progress bars.
        movable: whether sections may compute on the CPU where that measures faster.
    """

    shown: Split
    name: str = "test"
    train: Split | None = None
    wide: bool = False
    factors: tuple[str, ...] = ()
    given: bool = False
    budget: Budget = FULL
    sites: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    progress: bool = False
    movable: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed: allowed is 0 to 2**63 - 1, got {self.seed}")
        # Tables and figures tell images apart by their names.
        object.__setattr__(self, "shown", replace(self.shown, names=_distinct(self.shown.names)))

    @cached_property
    def columns(self) -> np.ndarray:
        """The places of the dimensions that are looked at.

        Raises:
            InputError: if there is no such site.
        """
        slices = self.space.slices
        for site in self.sites:
            check_name("site", site, slices)
        places = np.arange(self.space.size)
        return np.concatenate([places[slices[site]] for site in self.sites or slices])

    @cached_property
    def known_attributes(self) -> list[str]:
        """The attributes that are looked at.

        Raises:
            InputError: if the split has no such attribute.
        """
        for name in self.attributes:
            check_name("attribute", name, self.split.attribute_names)
        return list(self.attributes or self.split.attribute_names)

    @cached_property
    def verdict(self) -> tuple[Verdict, Symptoms]:
        """What is wrong with the posterior, and the numbers that say so."""
        return diagnose(self, wide=self.wide)

    def bar(self, iterable: Iterable[Any], said: str, total: int | None = None) -> Iterable[Any]:
        """The iterable, behind a progress bar where there is to be one."""
        from tqdm import tqdm

        hidden = None if self.progress else True  # None: where no terminal shows it.
        return tqdm(iterable, desc=said, total=total, disable=hidden, file=sys.stderr)

    def where(self, count: int | None = None) -> str:
        """What figures say of their images, as `n = 500 images of the split test`."""
        return f"n = {count or len(self.split):,} images of the split {self.name}"

    def shown_where(self, first: int | None = None) -> str:
        """What is said of the images that are looked at one by one, or of the first of them.

        As `4 images of the split test`, or `the first 2 of 4 given images`.
        """
        count = len(self.shown)
        plural = "s" * (count != 1)
        where = f"{count} given image{plural}"
        if not self.given:
            where = f"{count} image{plural} of the split {self.name}"
        if first is None or first == count:
            return where
        return f"the first {first} of {where}" if first > 1 else f"the first of {where}"
