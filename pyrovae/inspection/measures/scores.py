"""The ELBO of inspected and training images, and simpler models."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Split
from pyrovae.evaluation.baselines import (
    WITHOUT_LATENT,
    log_evidence_without_latent,
    shortfall,
    simpler_models,
    structureless,
    without_structure,
)
from pyrovae.evaluation.estimates import Estimate
from pyrovae.inspection.subject import Subject
from pyrovae.posterior import image_terms

__all__ = ["measure"]

#: Images that are scored, and images that clusters are fitted to.
IMAGES, FITTED = 400, 800
#: Images that the distribution of pixels is fitted to, which has no latents.
MANY = 10_000
#: Clusters of training images.
CLUSTERS = 10
#: Least number of held-out images, or of their groups.
LEAST_HELD_OUT = 20
#: Images that the models without structure are fitted to.
FEW = 200


def measure(subject: Subject) -> dict[str, Any]:
    """ELBOs with their errors, and log p(x) of simpler models for the same images."""
    some = subject.split.spread(IMAGES)
    each = _elbo(subject, some)
    own = Estimate.of(each, some.groups)
    found: dict[str, Any] = {"elbo": own.value, "elbo_error": own.error or 0.0}
    if some.groups is not None:
        found["groups"] = float(len(np.unique(some.groups)))
    if subject.train is None or not len(subject.train):
        return found
    seen = subject.train.spread(IMAGES)
    train = Estimate.of(_elbo(subject, seen), seen.groups)
    fitted = subject.train.spread(FITTED).images
    found |= {"train_elbo": train.value, "train_error": train.error or 0.0}
    if subject.name != "train" and subject.held_out is not None:
        found |= _held_out(subject, subject.held_out.spread(IMAGES), found)
    few = fitted[:: max(1, len(fitted) // FEW)]  # Without structure, few images are enough.
    both = subject.programs.likelihood, few, some.images
    found["no_latent"] = without_structure(structureless(*both, seed=subject.seed), own.value)
    found |= _simpler(subject, each, some)
    if subject.programs.likelihood.grey_levels is None:  # PCA is a loose bound of binary pixels.
        found["clusters"] = _clusters(subject, fitted, some.images)
    return found


def _held_out(subject: Subject, others: Split, found: dict[str, Any]) -> dict[str, Any]:
    """The ELBO of held-out images; nothing if their number is too small for a standard error."""
    count = len(others) if others.groups is None else len(np.unique(others.groups))
    if count < LEAST_HELD_OUT:
        return {}
    held = Estimate.of(_elbo(subject, others), others.groups)
    fewest = {} if others.groups is None else {"groups": min(found.get("groups", count), count)}
    return {"held_elbo": held.value, "held_error": held.error or 0.0, **fewest}


def _simpler(subject: Subject, elbo: Tensor, scored: Split) -> dict[str, Any]:
    """The models that training compares the ELBO with, fitted to the same images."""
    assert subject.train is not None
    both = subject.programs.likelihood, subject.train.images
    dim, flip, seed = subject.space.continuous_size, subject.flip, subject.seed
    models = simpler_models(*both, scored.images, dim, flip=flip, most=MANY, seed=seed)
    name, below = shortfall(elbo, models, scored.groups)
    linear = next((own for model, own in models.items() if model != WITHOUT_LATENT), None)
    found = {"simpler": name, "below": below.value, "below_error": below.error or 0.0}
    return found if linear is None else {**found, "ppca": float(linear.mean())}


def _clusters(subject: Subject, fitted: np.ndarray, scored: np.ndarray) -> float:
    """Log p(x) of a mixture of distributions of independent pixels, one per cluster of images.

    It is on the scale of any likelihood, also of binary pixels, and needs no training.
    """
    from sklearn.cluster import KMeans

    count = min(CLUSTERS, len(fitted) // 10)
    if count < 2:
        return math.nan
    flat = np.asarray(fitted).reshape(len(fitted), -1).astype(np.float32)
    labels = KMeans(count, n_init=1, random_state=subject.seed % 2**31).fit_predict(flat)
    parts = []
    for label in range(count):
        own = np.asarray(fitted)[labels == label]
        if len(own) < 2:
            continue
        # Shrunk to all images, since a small cluster has pixels that never vary.
        some = np.concatenate([own, fitted[:: max(1, len(fitted) // max(1, len(own) // 10))]])
        likelihood, seed = subject.programs.likelihood, subject.seed
        score = log_evidence_without_latent(likelihood, some, scored, seed=seed)
        parts.append(score + math.log(len(own) / len(fitted)))
    return float(torch.stack(parts).logsumexp(0).mean())


def _elbo(subject: Subject, split: Split) -> Tensor:
    terms = image_terms(subject.programs, split, subject.engine, seed=subject.seed)
    return -(terms["rate"] + terms["distortion"])
