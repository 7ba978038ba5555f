"""The ELBO of inspected and training images, and three simpler models."""

from __future__ import annotations

from typing import Any

from pyrovae.data import Split
from pyrovae.evaluation.baselines import log_evidence_of_ppca, log_evidence_without_latent
from pyrovae.evaluation.estimates import Estimate
from pyrovae.inspection.subject import Subject
from pyrovae.posterior import image_terms

__all__ = ["measure"]

#: Images that are scored, and images that the simpler models are fitted to.
IMAGES, FITTED = 500, 1000


def measure(subject: Subject) -> dict[str, Any]:
    """ELBOs with their errors, and log p(x) of simpler models for the same images."""
    some = subject.split.spread(IMAGES)
    own = _elbo(subject, some)
    found = {"elbo": own.value, "elbo_error": own.error or 0.0}
    if subject.train is None or not len(subject.train):
        return found
    train = _elbo(subject, subject.train.spread(IMAGES))
    fitted = subject.train.spread(FITTED).images
    both = subject.programs.likelihood, fitted, some.images
    found |= {"train_elbo": train.value, "train_error": train.error or 0.0}
    found["no_latent"] = float(log_evidence_without_latent(*both, seed=subject.seed).mean())
    most = min(subject.space.size, len(fitted) - 2)
    linear = log_evidence_of_ppca(*both, most, flip=subject.flip, seed=subject.seed)
    return found | {"ppca": float(linear.mean())}


def _elbo(subject: Subject, split: Split) -> Estimate:
    terms = image_terms(subject.programs, split, subject.engine, seed=subject.seed)
    return Estimate.of(-(terms["rate"] + terms["distortion"]))
