"""What the measurements of `Evidence` are called on pages."""

from __future__ import annotations

__all__ = ["label"]

#: The names of measurements that are more than their field's name.
LABELS = {
    "val_fall": "fall of the validation ELBO",
    "train_fall": "fall of the training ELBO",
    "rise": "expected rise of the validation ELBO",
    "skipped": "skipped steps",
    "elbo": "ELBO",
    "elbo_error": "error of the ELBO",
    "train_elbo": "ELBO of training images",
    "train_error": "error of the ELBO of training images",
    "no_latent": "log p(x) without structure",
    "ppca": "log p(x) of probabilistic PCA",
    "clusters": "log p(x) of clusters",
    "below": "log p(x) of a simpler model minus ELBO",
    "below_error": "error of that difference",
    "dims": "latent dimensions",
    "active": "active dimensions",
    "carriers": "dimensions that carry the rate",
    "weakest": "smallest rate of a dimension",
    "weight": "weight that fits the guide's spread",
    "weight_error": "error of that weight",
    "spread_gain": "gain by another spread",
    "ignored": "rate of ignored dimensions",
    "num_ignored": "ignored dimensions",
    "prior_gain": "gain by another prior",
    "prior_gain_error": "error of the gain by another prior",
    "fixed_scale": "fixed scale of the noise",
    "train_dispersion": "dispersion of training images",
    "noise_factor": "best scale of the noise over the present one",
    "noise_cost": "gain by another scale of the noise",
    "pixel_gain": "gain by a scale per pixel",
    "pixel_gain_error": "error of the gain by a scale per pixel",
    "residual_gain": "gain by more linear latents",
    "amortisation": "amortisation gap",
    "approximation": "approximation gap",
    "gap_error": "error of the gaps",
    "missed_error": "error of the missed mode",
    "shift_p": "p-value of equal distributions",
    "duplicates": "images with a near-duplicate",
    "duplicate_gain": "gain by near-duplicates",
    "constant": "constant images",
    "distinct": "distinct training images",
    "memorised": "distance of samples to training images",
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
