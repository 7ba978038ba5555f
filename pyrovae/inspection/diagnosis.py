"""The verdict on a pair of programs, and as a warning while they are trained."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from textwrap import shorten

import numpy as np

from pyrovae.data import Split
from pyrovae.engine import Engine
from pyrovae.errors import InputError
from pyrovae.inspection.collapse import (
    Case,
    Signs,
    Verdict,
    dimension_table,
    dimensions_for,
    judge,
    mismatch,
)
from pyrovae.inspection.dispersion import dispersion
from pyrovae.inspection.encoding import Encoded, encode
from pyrovae.inspection.space import draw_prior
from pyrovae.inspection.tempering import temperature
from pyrovae.programs import Programs

__all__ = ["Watch", "diagnose"]

#: Images that the spread of guide and likelihood is judged on.
IMAGES = 200
PRIOR_DRAWS = 1000
#: Images whose posteriors tell where their aggregate is: of fewer, moments are off by chance.
FEW = 20
#: Spreads of the guide that are enough for the weight on the rate.
NEAR = (0.95, 1.0, 1.05)


def diagnose(
    programs: Programs,
    split: Split,
    engine: Engine,
    encoded: Encoded,
    prior: np.ndarray,
    *,
    seed: int = 0,
    wide: bool = False,
) -> tuple[Verdict, Signs]:
    """The verdict on the posterior of a pair of programs, and the numbers that it rests on.

    Args:
        programs: the pair of programs, on the engine's device.
        split: the images.
        engine: where to compute.
        encoded: from `encode`, of the split.
        prior: draws of the prior, `(M, D)`.
        seed: seed of the draws.
        wide: whether the guide was trained for an objective that wants it wider than the ELBO.

    Raises:
        InputError: for fewer than two images.
    """
    table = dimension_table(encoded, prior.var(0))
    active = table["active"].reindex(encoded.names).to_numpy()
    off = mismatch(encoded, prior)[active]
    signs = Signs(
        dims=len(table),
        active=int(table["active"].sum()),
        carriers=dimensions_for(table),
        rate=float(encoded.rate.mean()),
        dispersion=dispersion(programs, split.spread(IMAGES), engine, seed=seed).value,
        mismatch=float(off.mean()) if len(off) and len(encoded) >= FEW else math.nan,
        wide=wide,
        has_scale=programs.likelihood.has_scale,
    )
    try:
        _, found = temperature(
            programs, split.spread(IMAGES), engine, seed=seed, factors=NEAR, widest=1
        )
    except (InputError, NotImplementedError):
        return judge(signs), signs  # On a sphere there is no spread of this kind.
    weight, error = found.effective_beta, found.error
    # Of latents that carry next to nothing both slopes are noise.
    if signs.active and 2 * error < max(weight, 0.5) and weight > -2 * error:
        signs = replace(signs, weight=weight, weight_error=error)
    return judge(signs), signs


class Watch:
    """Says during training what is wrong with the posterior, each thing once.

    Args:
        images: how many images of the validation split it looks at.
        told: lines that were told already, as in an earlier part of the run.
        wide: as for `diagnose`.
    """

    def __init__(self, images: int = 64, told: Iterable[str] = (), wide: bool = False) -> None:
        self.images, self.wide = images, wide
        self.told = list(told)
        self.silent = False

    def __call__(
        self, programs: Programs, split: Split, engine: Engine, *, settled: bool = True
    ) -> list[str]:
        """Lines on what is wrong now and was not before.

        Args:
            programs: the pair of programs, on the engine's device.
            split: the validation split.
            engine: where to compute.
            settled: whether beta has its final value; before, only a collapse is told.
        """
        some = split.spread(self.images)
        if len(some) < 2 or self.silent:
            return []
        try:
            return self._look(programs, some, engine, settled)
        except Exception as error:  # Training goes on, whatever a program of the user's lacks.
            self.silent = True
            reason = shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
            return [f"warning: the posterior cannot be looked at during training ({reason})"]

    def _look(self, programs: Programs, some: Split, engine: Engine, settled: bool) -> list[str]:
        encoded = encode(programs, some, engine)
        _, prior, _ = draw_prior(programs, some, engine, PRIOR_DRAWS)
        draws = prior.cpu().numpy()
        verdict, _ = diagnose(programs, some, engine, encoded, draws, wide=self.wide)
        lines = [
            f"warning: the posterior is {case.word}: {case.reason} {case.advice}"
            for case in verdict.cases
            if case.advice and (settled or "collapsed" in case.word) and not self._knows(case)
        ]
        self.told += lines
        return lines

    def _knows(self, case: Case) -> bool:
        """Whether a case was told before, whatever its numbers were."""
        return any(line.endswith(case.advice) for line in self.told)
