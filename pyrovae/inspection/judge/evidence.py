"""The evidence on a run: what the training history, the scores and the sections measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pyrovae.evaluation.estimates import Estimate
from pyrovae.inspection.judge.advice import Options
from pyrovae.inspection.judge.limits import FAULT, LEAST, NOTICED, SURE
from pyrovae.utils.lazy import pandas

__all__ = ["Evidence"]

NAN = math.nan


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All measurements that the judge uses. NaN means unknown: no cause follows from it.

    Scores are in nats per image, over images of the inspected split unless stated otherwise.

    Attributes:
        options: the options of the run; empty if unknown.
        finished: whether training has ended; false while it still runs.
        failed: the reasons why measurements could not be made, by the names of their modules.

        train_images: the number of training images.
        epochs: the epochs of the run.
        steps: the steps of the run.
        val_fall: the best validation ELBO minus that of the last epoch.
        train_fall: the best training ELBO minus that of the last epoch.
        rise: the expected gain of the validation ELBO if training lasted twice as long.
        skipped: the share of steps that were skipped because a gradient was not finite.

        groups: the number of groups of the images, such as patients; NaN without groups.
        elbo: the ELBO.
        elbo_error: the standard error of the ELBO.
        train_elbo: the ELBO of training images.
        train_error: the standard error of the ELBO of training images.
        held_elbo: the ELBO of held-out images, such as the validation split.
        held_error: the standard error of the ELBO of held-out images.
        no_latent: log p(x) of a model of one latent and one scale, or of no latents and a scale
            per pixel.
        ppca: log p(x) of probabilistic PCA with as many latents, or fewer for few images.
        clusters: log p(x) of a mixture of independent distributions per pixel.
        below: log p(x) of the simpler model that training names, minus the ELBO.
        below_error: the standard error of that difference, from the differences per image.
        simpler: the name of that model.

        dims: the number of latent dimensions.
        active: the number of active dimensions.
        silent: the number of dimensions of latent sites that carry almost nothing, if there are
            several sites.
        carriers: the least number of dimensions that carry 95% of the rate.
        rate: the rate.
        weakest: the smallest rate of a dimension.
        weight: the weight on the rate for which the guide's spread is optimal.
        weight_error: the standard error of that weight.
        spread_gain: the gain of the ELBO by the best common factor on the guide's standard
            deviations.
        wide: whether the objective prefers a wider guide than the ELBO does.
        maximises_elbo: whether the objective follows the ELBO at beta 1.
        ignored: the rate of the dimensions that the decoder ignores.
        num_ignored: the number of dimensions that the decoder ignores.
        prior_gain: the gain of the ELBO if a mixture fitted to the encodings were the prior.
        prior_gain_error: the standard error of that gain.

        has_scale: whether the likelihood's noise has a scale.
        fixed_scale: the scale of a likelihood whose scale is not learned.
        dispersion: squared residuals over the variance that the likelihood expects.
        train_dispersion: squared residuals over expected variance, of training images.
        noise_factor: the best scale of the noise over the present one.
        noise_cost: nats that noise of that scale would gain.
        pixel_gain: nats that Normal noise with one scale per pixel position would gain.
        pixel_gain_error: the standard error of that gain.
        residual_gain: nats that a few more linear latents, fitted to residuals, would gain.

        amortisation: the amortisation gap.
        approximation: the approximation gap.
        gap_error: the standard error of the larger of both.
        missed_mode: log p(x) with modes that a search from the prior finds, minus that without.
        missed_error: the standard error of that difference.

        shift_p: p-value of the test that inspected and training images have one distribution.
        duplicates: the share of inspected images that have a near-duplicate in the training split.
        duplicate_gain: the ELBO of images with a near-duplicate minus the ELBO of the others.
        constant: the share of images whose pixels are all equal.
        distinct: the share of training images that are distinct.
        memorised: median distance of samples to the nearest training image, divided by that to the
            nearest of as many other images; far below 1 if samples repeat training images.

        tarp_p: p-value of the joint test that the guide is exact for images drawn from the model.
        coverage_90: the share of true latents in the guide's 90% intervals, for such images;
            the mean over dimensions.
        holes: the share of the prior's draws that are less covered by posteriors than held-out
            encodings are, minus the share that is so by chance; 0 if no test finds a difference.
    """

    options: Options = field(default_factory=Options)
    finished: bool = True
    failed: Mapping[str, str] = field(default_factory=dict)

    train_images: float = NAN
    epochs: float = NAN
    steps: float = NAN
    val_fall: float = NAN
    train_fall: float = NAN
    rise: float = NAN
    skipped: float = NAN

    groups: float = NAN
    elbo: float = NAN
    elbo_error: float = NAN
    train_elbo: float = NAN
    train_error: float = NAN
    held_elbo: float = NAN
    held_error: float = NAN
    no_latent: float = NAN
    ppca: float = NAN
    clusters: float = NAN
    below: float = NAN
    below_error: float = NAN
    simpler: str = ""

    dims: int = 0
    active: int = 0
    silent: float = NAN
    carriers: int = 0
    rate: float = NAN
    weakest: float = NAN
    weight: float = NAN
    weight_error: float = NAN
    spread_gain: float = NAN
    wide: bool = False
    maximises_elbo: bool = True
    ignored: float = NAN
    num_ignored: int = 0
    prior_gain: float = NAN
    prior_gain_error: float = NAN

    has_scale: bool = True
    fixed_scale: float = NAN
    dispersion: float = NAN
    train_dispersion: float = NAN
    noise_factor: float = NAN
    noise_cost: float = NAN
    pixel_gain: float = NAN
    pixel_gain_error: float = NAN
    residual_gain: float = NAN

    amortisation: float = NAN
    approximation: float = NAN
    gap_error: float = NAN
    missed_mode: float = NAN
    missed_error: float = NAN

    shift_p: float = NAN
    duplicates: float = NAN
    duplicate_gain: float = NAN
    constant: float = NAN
    distinct: float = NAN
    memorised: float = NAN
    holes: float = NAN

    tarp_p: float = NAN
    coverage_90: float = NAN

    @property
    def gain(self) -> float:
        """The nats per image that the latents gain over a model without latents; at least 0."""
        return max(0.0, self.elbo - self.no_latent)

    @property
    def structure(self) -> float:
        """The nats per image that simple models with latents gain over one without."""
        best = max((s for s in (self.ppca, self.clusters) if s == s), default=NAN)
        return best - self.no_latent

    @property
    def missing(self) -> float:
        """The log p(x) of the best simple model minus the ELBO."""
        return self.structure - (self.elbo - self.no_latent)

    @property
    def best_simple(self) -> str:
        """What the simple model with the highest known log p(x) is called in reasons."""
        models = {"probabilistic PCA": self.ppca, "clusters of images": self.clusters}
        known = {name: own for name, own in models.items() if own >= self.no_latent}
        return max(known, key=lambda name: known[name], default="without structure")

    @property
    def mostly_inactive(self) -> bool:
        """Whether more than half of the dimensions are not active.

        Few of the many dimensions of a layer of maps are active, so with several sites those of
        empty sites count.
        """
        inactive = self.dims - self.active if math.isnan(self.silent) else self.silent
        return 2 * inactive > self.dims

    @property
    def is_below(self) -> bool:
        """Whether the ELBO is surely below log p(x) of a simpler model."""
        return self.below > LEAST and self.below > self.certain * self.below_error

    @property
    def certain(self) -> float:
        """The standard errors of a sure difference: `SURE`, more for few groups of images.

        Student's t has the same probability of a false alarm beyond it.
        """
        from scipy.stats import norm, t

        freedom = max(1.0, self.groups - 1)
        return SURE if math.isnan(self.groups) else float(t.isf(norm.sf(SURE), freedom))

    @property
    def train_gap(self) -> float:
        """The ELBO of training images minus that of the inspected images."""
        return self.train_elbo - self.elbo

    @property
    def has_held_out(self) -> bool:
        """Whether the ELBO of held-out images of the source of the training images is known."""
        return not math.isnan(self.held_elbo)

    @property
    def overfit(self) -> Estimate:
        """The ELBO of training images minus that of held-out, else of the inspected, images."""
        train = Estimate(self.train_elbo, self.train_error)
        return _difference(train, self._held if self.has_held_out else self._own)

    @property
    def shift(self) -> Estimate:
        """The ELBO of held-out, else of training, images minus that of the inspected images."""
        train = Estimate(self.train_elbo, self.train_error)
        return _difference(self._held if self.has_held_out else train, self._own)

    @property
    def _held(self) -> Estimate:
        return Estimate(self.held_elbo, self.held_error)

    @property
    def _own(self) -> Estimate:
        return Estimate(self.elbo, self.elbo_error)

    def beyond_chance(self, found: Estimate) -> bool:
        """Whether a difference is more than `certain` standard errors away from 0."""
        return abs(found.value) > self.certain * (found.error or 0.0)

    @property
    def least(self) -> float:
        """The least cost, in nats, of a reported finding."""
        return max(LEAST, NOTICED * self.scale)

    @property
    def fault(self) -> float:
        """The least cost, in nats, of a fault."""
        return max(LEAST, FAULT * self.scale)

    @property
    def scale(self) -> float:
        """The nats per image that latents gain or could gain, which costs are compared with."""
        return max(own for own in (0.0, self.gain, self.structure) if own == own)

    def with_symptoms(self, symptoms: dict[str, Any]) -> Evidence:
        """A copy with further measurements, such as those of sections."""
        return replace(self, **symptoms)

    def table(self) -> pandas.DataFrame:
        """One row per known measurement, by the name of its field."""
        rows = [
            (name, float(value))
            for name, value in vars(self).items()
            if isinstance(value, int | float) and not isinstance(value, bool) and value == value
        ]
        return pandas.DataFrame(rows, columns=["measurement", "value"])


def _difference(first: Estimate, second: Estimate) -> Estimate:
    """The difference of two independent estimates."""
    error = math.hypot(first.error or 0.0, second.error or 0.0)
    return Estimate(first.value - second.value, error)
