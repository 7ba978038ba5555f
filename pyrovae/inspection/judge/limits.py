"""The thresholds of the judge. Each is stated once, here, with its reason."""

from __future__ import annotations

from pyrovae.evaluation.estimates import LEAST as LEAST
from pyrovae.evaluation.estimates import SURE as SURE

#: A finding is reported if it costs at least this share of the gain by the latents; see `FAULT`.
NOTICED = 0.01
#: A finding is a fault if it costs at least this share of the gain by the latents, which is the
#: ELBO minus the log probability of a model without latents; otherwise it is a possible
#: improvement. Runs with other seeds differ by 1 to 2% of the gain.
FAULT = 0.05
#: The guide is too narrow or too wide if the weight on the rate that fits its spread is outside
#: this range. Trained runs have 0.8 to 1.3.
LIGHT, HEAVY = 0.6, 1.6
#: The likelihood's noise is wrong if squared residuals over their expected variance are outside
#: this range. A factor of 2 in the variance costs 15% of a nat per pixel.
COARSE, FINE = 0.5, 2.0
#: The same for a trained scale: with heavy tails it fits most residuals, but not their variance.
TRAINED_COARSE, TRAINED_FINE = 1 / 3, 3.0
#: Tests that say "p" reject below this.
LEVEL = 1e-3
#: The decoder may ignore dimensions that carry less than this many nats: they cost little.
WEAK = 0.5
#: If even the weakest dimension carries more nats than this, further dimensions would be used
#: too: rates of the dimensions fall steadily, as the eigenvalues of images do.
FULL = 1.0
#: A mode of equal weight that the guide misses costs log 2; the least cost that is reported.
MODE = 0.3
#: Training is unstable from this share of steps with non-finite gradients.
SKIPPED = 0.01
#: The share of constant images that is reported, and the least share of distinct images.
CONSTANT, DISTINCT = 0.05, 0.5
#: Test scores are biased from this share of images with a near-duplicate in the training split.
DUPLICATES = 0.02
#: A learning rate above this may prevent learning; published recipes of Adam use 1e-4 to 2e-3.
HIGH_LR = 3e-3
#: Far above these recipes: a run that uses its latents but is below a linear model has diverged.
FAR_TOO_HIGH_LR = 10 * HIGH_LR
#: With Adam, a run at a learning rate below this that still rises needs larger steps, not more.
LOW_LR = 1e-4
#: Samples repeat training images if their distance to the nearest training image is below this
#: share of the distance to the nearest of as many other images.
REPEATS = 0.7
#: Every run gains a little if it lasts longer: this is a fault only at twice the cost of others.
WORTH_DOUBLING = 2.0
#: A run of fewer steps that is below simpler models stopped too early, even if it rose slowly.
FEW_STEPS = 250
#: The share of the gain by the latents that a training ELBO may fall by: noise of single epochs.
FELL = 0.2
#: Images always gain a little by further latents: a fault only at four times the cost of others.
WORTH_MORE = 4.0
#: Further images always help a little: a gap to training images without a fall of the validation
#: ELBO is a fault only at twice the cost of other faults.
WORTH_IMAGES = 2.0
#: The guide's widths mislead if its 90% intervals contain the true latents less often than this.
COVERED = 0.8
#: A latent site with a smaller rate, in nats per image, is collapsed: it says nothing of an image.
EMPTY = 0.1
