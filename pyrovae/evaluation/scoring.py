"""All scores of a VAE on a split, by section; finished parts are cached."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import ImageData
from pyrovae.data.base import fingerprint
from pyrovae.data.rows import spread_rows
from pyrovae.engine import Engine
from pyrovae.evaluation.baselines import (
    UnequalPixels,
    log_evidence_of_ppca,
    log_evidence_without_latent,
    most_dimensions,
)
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.evidence import UNRELIABLE, summary, weights_of_images
from pyrovae.evaluation.factors import factor_scores, known_rows
from pyrovae.evaluation.features import identity, named_features
from pyrovae.evaluation.latents import aggregate
from pyrovae.evaluation.reconstruction import reconstructions
from pyrovae.evaluation.result_cache import ResultCache
from pyrovae.evaluation.samples import sample_quality
from pyrovae.likelihoods import Likelihood
from pyrovae.posterior.classification import classify
from pyrovae.posterior.elbo import image_terms
from pyrovae.posterior.passes import GROUP
from pyrovae.posterior.view import PosteriorView
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas as pd
from pyrovae.utils.progress import hides_bar

__all__ = ["SECTIONS", "Options", "Scorer"]

#: Pixels of the draws of one cached part of log p(x): some seconds of one core.
BLOCK = 2**26
FACTOR_IMAGES = 2000
#: Images for the latents of programs with several sites: networks run a hundred times for each.
LAYERED_IMAGES = 1000


@dataclass(frozen=True)
class Options:
    """The images, draws and features of an evaluation.

    Attributes:
        split: "train", "val" or "test".
        num_samples: draws per image for log p(x).
        num_images: how many images, spread evenly over the split; 0 means all.
        features: the feature space of samples, see `named_features`.
        seed: seed of all draws.
        evidence_images: how many of the images get draws for log p(x), spread evenly; 0 means
            all. With fewer, log p(x) is the mean ELBO of all images plus the mean gap of these.
    """

    split: str = "test"
    num_samples: int = 5000
    num_images: int = 0
    features: str = "RandomConvolutions"
    seed: int = 0
    evidence_images: int = 0

    def __post_init__(self) -> None:
        least_of = {"num_samples": 1, "num_images": 0, "evidence_images": 0, "seed": 0}
        for name, least in least_of.items():
            if not least <= getattr(self, name) < 2**63:
                raise InputError(f"{name}: allowed is {least} or more, got {getattr(self, name)}")


class Scorer:
    """Scores a pair of programs on a split of a data set.

    Args:
        programs: the pair of programs, on the engine's device.
        data: the data set; baselines are fitted to its training split.
        options: the images, draws and features.
        engine: where to compute.
        journal: cache of finished parts; by default nothing is cached.
        progress: whether to show progress bars.

    Raises:
        InputError: if the split has no images.
    """

    def __init__(
        self,
        programs: ModelGuidePair,
        data: ImageData,
        options: Options,
        engine: Engine,
        journal: ResultCache | None = None,
        progress: bool = False,
    ) -> None:
        self.data, self.options, self.progress = data, options, progress
        self.journal = journal or ResultCache(None, {})
        self.split = data.split(options.split).spread(options.num_images)
        if not len(self.split):
            raise InputError(f"the split {options.split} has no images")
        self.view = PosteriorView(programs, self.split, engine, options.seed)
        self.programs, self.engine = programs, engine
        #: The indices of the images that have draws for log p(x).
        self.drawn = spread_rows(len(self.split), options.evidence_images)
        self.size = math.prod(data.image_shape)

    def section(self, name: str) -> dict[str, Estimate]:
        """The scores of one of `SECTIONS`, by name."""
        try:
            with self.engine.arithmetic():
                table = self.journal.get(
                    name, lambda: _as_table(SECTIONS[name](self)), **self._decides(name)
                )
        except InputError as error:
            raise InputError(f"{name}: {error} (name other sections to leave it out)") from None
        rows = zip(table["score"], table["value"], table["error"], strict=True)
        return {score: Estimate(v, None if math.isnan(e) else e) for score, v, e in rows}

    def _decides(self, name: str) -> dict[str, object]:
        """The values that a section's cached scores depend on, besides those of all sections."""
        options = self.options
        if name in ("ppca", "without_latent"):
            train = self.data.split("train").images
            return {"train": fingerprint(train), "flip": self.data.flip}
        if name == "factors":
            # Of an earlier version, scores of all images of a group are kept.
            return {} if self.split.groups is None else {"independent": True}
        if name == "samples":
            own = identity(options.features, self.split.images[:8], self.engine.device)
            # Of an earlier version, scores of whole samples against images with holes are kept.
            holes = {"holes": True} if self.programs.likelihood.leaves_out else {}
            return {"features": options.features, "identity": own, **holes}
        some = {} if len(self.drawn) == len(self.split) else {"images": len(self.drawn)}
        return {"num_samples": options.num_samples, **some} if name == "evidence" else {}

    @cached_property
    def terms(self) -> pd.DataFrame:
        """Rate and distortion of each image, and its name."""
        return self.journal.get("each_bound", self._terms)

    @property
    def elbo(self) -> np.ndarray:
        """The ELBO of each image of the split."""
        return -(self.terms["rate"] + self.terms["distortion"]).to_numpy()

    def _terms(self) -> pd.DataFrame:
        found = image_terms(self.programs, self.split, self.engine, seed=self.options.seed)
        arrays = {name: values.numpy() for name, values in found.items()}
        return pd.DataFrame({**arrays, "name": list(self.split.names)})

    @cached_property
    def evidence(self) -> pd.DataFrame:
        """One row per image that has draws, see `log_evidence`; computed and cached in blocks."""
        own = self._decides("evidence")
        found = self.journal.get("each_image", lambda: self._evidence(own), **own)
        return found.set_axis(self.drawn)

    def _evidence(self, own: dict[str, object]) -> pd.DataFrame:
        from tqdm import tqdm

        each = GROUP * max(1, BLOCK // (GROUP * self.size * self.options.num_samples))
        total = len(self.drawn)
        starts = range(0, total, each)
        names = [f"images_{start:07d}" for start in starts]
        found: list[pd.DataFrame] = []
        hidden = hides_bar(self.progress)
        with tqdm(total=total, desc="log p(x)", unit="image", disable=hidden) as bar:
            for name, start in zip(names, starts, strict=True):
                rows = range(start, min(start + each, total))
                found.append(self.journal.get(name, partial(self._block, rows, own), **own))
                for part in self._parts(rows):
                    self.journal.drop(part, **own)
                bar.update(len(rows))
                bar.set_postfix_str(f"mean {pd.concat(found)['log_evidence'].mean():,.2f}")
        for name in names:
            self.journal.drop(name, **own)
        return pd.concat(found, ignore_index=True)

    def _block(self, rows: range, own: dict[str, object]) -> pd.DataFrame:
        """The rows of some images; their draws are cached in parts if there are many."""
        parts = self._parts(rows)
        journal = self.journal if len(parts) > 1 else ResultCache(None, {})
        drawn = [
            journal.get(name, partial(self._draws, rows, count, part), **own)
            for part, (name, count) in enumerate(parts.items())
        ]
        weights = torch.from_numpy(pd.concat(drawn).to_numpy(float, copy=True))
        return summary(weights).assign(name=list(self.split.take(self.drawn[rows]).names))

    def _parts(self, rows: range) -> dict[str, int]:
        """The number of draws of each part of the draws of some images, by the part's name."""
        most, total = max(1, BLOCK // (len(rows) * self.size)), self.options.num_samples
        starts = range(0, total, most)
        return {f"draws_{rows.start:07d}_{n:07d}": min(most, total - n) for n in starts}

    def _draws(self, rows: range, count: int, part: int) -> pd.DataFrame:
        """Log weights: one row per draw, one column per image."""
        seed, own = self.options.seed, (self.programs, self.split, count)
        which: dict[str, Any] = {"first": rows.start, "part": part, "rows": self.drawn[rows]}
        found = weights_of_images(*own, engine=self.engine, seed=seed, **which)
        return pd.DataFrame(torch.cat(list(found), 1).numpy())

    def mean(self, values: pd.Series | np.ndarray, rows: Any = slice(None)) -> Estimate:
        """The mean over images of the split, with a standard error that respects its groups.

        Args:
            values: one per image.
            rows: the indices of the images in the split.
        """
        groups = self.split.groups
        return Estimate.of(np.asarray(values), None if groups is None else groups[rows])

    @property
    def num_scored(self) -> int:
        """The dimensions per image that the likelihood scores."""
        return self.programs.likelihood.num_scored(self.size)

    @property
    def baseline(self) -> tuple[Likelihood, np.ndarray, np.ndarray]:
        """What a baseline is fitted and scored with: likelihood, training images, and images."""
        return self.programs.likelihood, self.data.split("train").images, self.split.images

    def bits(self, found: Estimate) -> dict[str, Estimate]:
        """Bits per dimension of a mean of log p(x) or of a bound; empty if undefined."""
        value = self.programs.likelihood.bits_per_dim(found.value, self.size)
        if value is None or found.error is None:
            return {}
        return {"bits_per_dim": Estimate(value, found.error / self.num_scored / math.log(2))}


def _as_table(found: dict[str, Estimate]) -> pd.DataFrame:
    numbers = [(own.value, own.error) for own in found.values()]
    table = pd.DataFrame(numbers, columns=["value", "error"], dtype=float)
    table.insert(0, "score", list(found))
    return table


def _elbo(scorer: Scorer) -> dict[str, Estimate]:
    found = {name: own.to_numpy() for name, own in scorer.terms.drop(columns="name").items()}
    elbo = scorer.mean(scorer.elbo)
    terms = {name: scorer.mean(values) for name, values in found.items()}
    return {"elbo": elbo, **terms, **scorer.bits(elbo)}


def _evidence(scorer: Scorer) -> dict[str, Estimate]:
    table = scorer.evidence
    gap = table["log_evidence"] - table["elbo"]
    found = scorer.mean(table["log_evidence"], table.index)
    if len(table) < len(scorer.split):
        found = Estimate.of_sum(scorer.elbo, gap.to_numpy(), scorer.drawn, scorer.split.groups)
    scores = _with_bits(scorer, found) | {"gap": scorer.mean(gap, gap.index)}
    scores["ess"] = Estimate(float(table["ess"].median()))
    shapes = table["k_hat"].dropna()  # NaN with too few draws.
    if len(shapes) > 1:
        scores["k_hat"] = Estimate(float(shapes.median()))
        scores["k_hat_above_0.7"] = scorer.mean(shapes > UNRELIABLE, shapes.index)
    return scores


def _with_bits(scorer: Scorer, found: Estimate) -> dict[str, Estimate]:
    bits = {f"evidence_{name}": own for name, own in scorer.bits(found).items()}
    return {"log_evidence": found, **bits}


def _latents(scorer: Scorer) -> dict[str, Estimate]:
    view = scorer.view
    if len(view.space.shapes) > 1:
        view = view.of(view.split.spread(LAYERED_IMAGES))
    units = view.encoded.continuous()
    counts = {"active_units": units.active.sum(), "latent_dims": len(units.names)}
    both = aggregate(view, progress=scorer.progress)
    return {name: Estimate(float(count)) for name, count in counts.items()} | both


def _reconstruction(scorer: Scorer) -> dict[str, Estimate]:
    table = reconstructions(scorer.programs, scorer.split, scorer.engine, seed=scorer.options.seed)
    return {name: scorer.mean(own) for name, own in table.items()}


def _samples(scorer: Scorer) -> dict[str, Estimate]:
    features, count = named_features(scorer.options.features), len(scorer.split)
    own = (scorer.programs, scorer.split, features, scorer.engine)
    return sample_quality(*own, num_samples=count, seed=scorer.options.seed)


def _classes(scorer: Scorer) -> dict[str, Estimate]:
    seed = scorer.options.seed
    found = classify(scorer.programs, scorer.split, scorer.engine, seed=seed)
    if found is None:
        return {}
    apart = found.independent()  # Calibration is compared with the noise of independent images.
    numbers = {name: Estimate(value) for name, value in apart.numbers().items()}
    means = {"accuracy": found.correct, "log_loss": found.log_loss}
    numbers |= {name: scorer.mean(values, found.rows) for name, values in means.items()}
    return numbers | {
        "calibration_noise": Estimate(float(apart.noise(seed).mean())),
        "chance": Estimate(found.chance),
    }


def _factors(scorer: Scorer) -> dict[str, Estimate]:
    known = list(scorer.data.factors)
    if not known:
        return {}
    split = scorer.split.independent()
    # Forests are slow to fit; more images would not change the digits that are reported.
    some = split.take(known_rows(split, known)).spread(FACTOR_IMAGES)
    factors = some.attributes[:, some.places(known)]
    means = scorer.view.of(some).encoded.loc
    return factor_scores(means, factors, known, seed=scorer.options.seed)


def _ppca(scorer: Scorer) -> dict[str, Estimate]:
    dim = max(1, most_dimensions(scorer.view.space.continuous_size, scorer.baseline[1]))
    flip, seed = scorer.data.flip, scorer.options.seed
    try:
        found = log_evidence_of_ppca(*scorer.baseline, dim, flip=flip, seed=seed)
    except UnequalPixels:
        return {}
    return {**_of_baseline(scorer, found), "latent_dims": Estimate(float(dim))}


def _without_latent(scorer: Scorer) -> dict[str, Estimate]:
    found = log_evidence_without_latent(*scorer.baseline, seed=scorer.options.seed)
    return _of_baseline(scorer, found)


def _of_baseline(scorer: Scorer, found: Tensor) -> dict[str, Estimate]:
    """The scores of a baseline, and the paired difference to the ELBO of the VAE."""
    more = scorer.mean(found.numpy() - scorer.elbo)
    return {**_with_bits(scorer, scorer.mean(found)), "more_than_elbo": more}


#: The functions that compute the sections, by name, in the order of the result.
SECTIONS: dict[str, Callable[[Scorer], dict[str, Estimate]]] = {
    "elbo": _elbo,
    "latents": _latents,
    "reconstruction": _reconstruction,
    "samples": _samples,
    "factors": _factors,
    "classes": _classes,
    "ppca": _ppca,
    "without_latent": _without_latent,
    "evidence": _evidence,
}
