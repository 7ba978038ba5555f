"""The verdict on the posterior of a pair of programs."""

from __future__ import annotations

import math
from dataclasses import replace

from pyrovae.inspection import collapse
from pyrovae.inspection.collapse import Symptoms, Verdict
from pyrovae.inspection.dispersion import dispersion
from pyrovae.inspection.spread_sweep import temperature
from pyrovae.posterior.view import PosteriorView
from pyrovae.utils.errors import InputError

__all__ = ["diagnose"]

#: Largest number of images for the spread of the guide and the noise of the likelihood.
IMAGES = 200
PRIOR_DRAWS = 1000
#: Least number of images for the moments of the aggregate posterior.
FEW = 20
#: Factors of the guide's spread; three are enough for the weight on the rate.
NEAR = (0.95, 1.0, 1.05)


def diagnose(view: PosteriorView, *, wide: bool = False) -> tuple[Verdict, Symptoms]:
    """The verdict on the posterior of a pair of programs, and its measurements.

    Args:
        view: the programs and the images.
        wide: whether the guide was trained with an objective whose optimum is wider than that of
            the ELBO.

    Raises:
        InputError: for fewer than two images.
    """
    programs, encoded, prior = view.programs, view.encoded, view.prior_draws(PRIOR_DRAWS)[0]
    table = collapse.dimension_table(encoded)
    off = collapse.mismatch(encoded, prior.cpu().numpy())[encoded.active]
    some, engine, seed = view.split.spread(IMAGES), view.engine, view.seed
    signs = Symptoms(
        dims=len(table),
        active=int(encoded.active.sum()),
        carriers=collapse.dimensions_for(table),
        rate=float(encoded.rate.mean()),
        dispersion=dispersion(programs, some, engine, seed=seed).value,
        mismatch=float(off.mean()) if len(off) and len(encoded) >= FEW else math.nan,
        wide=wide,
        has_scale=programs.likelihood.has_scale,
    )
    try:
        _, found = temperature(programs, some, engine, seed=seed, factors=NEAR, widest=1)
    except (InputError, NotImplementedError):
        return collapse.judge(signs), signs  # Latents on a sphere have no spread to scale.
    weight, error = found.effective_beta, found.error
    # With a rate near 0 both slopes are noise.
    if signs.active and 2 * error < max(weight, 0.5) and weight > -2 * error:
        signs = replace(signs, weight=weight, weight_error=error)
    return collapse.judge(signs), signs
