"""The thresholds of the judge. Each is stated once, here, with its reason."""

from __future__ import annotations

#: Costs below this many nats per image are not reported: one nat is below the noise of a test
#: split of some hundred images, and nobody sees it in a sample.
LEAST = 2.0
#: A finding is a fault from this share of the gain by the latents (the ELBO minus the log
#: probability of a model without latents) on; below it is a possible improvement. Runs with other
#: seeds differ by 1 to 2 % of the gain.
FAULT = 0.05
#: Standard errors that a measurement must be away from its healthy value: one false alarm in a
#: thousand for each measurement.
SURE = 3.3
#: The guide is too narrow or too wide if the weight on the rate that fits its spread is outside.
#: Trained runs have 0.8 to 1.3.
LIGHT, HEAVY = 0.6, 1.6
#: The likelihood's noise is wrong if squared residuals over their expected variance are outside.
#: A factor of 2 in the variance costs 15 % of a nat per pixel.
COARSE, FINE = 0.5, 2.0
#: Tests that say "p" reject below this.
LEVEL = 1e-3
#: A latent dimension that carries less than this many nats could be left out. If the weakest
#: dimension carries more, further dimensions would be used too.
WEAK = 0.5
#: The share of images with a near-duplicate in the training split from which on test scores are
#: biased.
DUPLICATES = 0.01
#: A learning rate above this may prevent learning; published recipes of Adam use 1e-4 to 2e-3.
HIGH_LR = 3e-3
