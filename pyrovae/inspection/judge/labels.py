"""The names of the measurements of `Evidence` on pages."""

from __future__ import annotations

__all__ = ["label"]

#: The names of measurements that differ from the name of their field.
LABELS = {
    "val_fall": "fall of the validation ELBO",
    "train_fall": "fall of the training ELBO",
    "rise": "expected rise of the validation ELBO",
    "skipped": "share of skipped steps",
    "groups": "groups of images",
    "elbo": "ELBO",
    "elbo_error": "standard error of the ELBO",
    "train_elbo": "ELBO of training images",
    "train_error": "standard error of the ELBO of training images",
    "held_elbo": "ELBO of held-out images",
    "held_error": "standard error of the ELBO of held-out images",
    "no_latent": "log p(x) without structure",
    "ppca": "log p(x) of probabilistic PCA",
    "clusters": "log p(x) of clusters",
    "below": "log p(x) of a simpler model minus ELBO",
    "below_error": "standard error of that difference",
    "dims": "latent dimensions",
    "active": "active dimensions",
    "silent": "dimensions of collapsed latent sites",
    "carriers": "dimensions that carry 95% of the rate",
    "weakest": "smallest rate of a dimension",
    "weight": "weight on the rate that fits the guide's spread",
    "weight_error": "standard error of that weight",
    "spread_gain": "gain by rescaling the guide's spread",
    "ignored": "rate of ignored dimensions",
    "num_ignored": "number of ignored dimensions",
    "prior_gain": "gain by a mixture as the prior",
    "prior_gain_error": "standard error of the gain by a mixture as the prior",
    "fixed_scale": "fixed scale of the noise",
    "train_dispersion": "dispersion of training images",
    "noise_factor": "best scale of the noise divided by the present one",
    "noise_cost": "gain by another scale of the noise",
    "pixel_gain": "gain by a scale per pixel",
    "pixel_gain_error": "standard error of the gain by a scale per pixel",
    "residual_gain": "gain by more linear latents",
    "amortisation": "amortisation gap",
    "approximation": "approximation gap",
    "gap_error": "standard error of the larger gap",
    "missed_error": "standard error of the missed mode",
    "shift_p": "p-value of equal distributions of images",
    "duplicates": "share of images with a near-duplicate",
    "duplicate_gain": "higher ELBO of near-duplicates",
    "constant": "share of constant images",
    "distinct": "share of distinct training images",
    "memorised": "relative distance of samples to training images",
    "holes": "uncovered share of the prior",
    "tarp_p": "p-value of an exact guide",
    "coverage_90": "coverage of 90% intervals",
}


def label(name: str) -> str:
    """The name of a field of `Evidence` in words.

    Example:
        >>> label("val_fall"), label("missed_mode")
        ('fall of the validation ELBO', 'missed mode')
    """
    return LABELS.get(name, name.replace("_", " "))
