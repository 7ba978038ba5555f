"""Improbable images: scores compared with those of held-out images and of a second data set."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pyrovae.data import SPLITS, Split
from pyrovae.data.rows import spread_rows
from pyrovae.evaluation.evidence import log_evidence
from pyrovae.inspection.anomalies import SCORES, auroc, compressed_nats, likelihood_regret
from pyrovae.inspection.residuals import RelativeResiduals
from pyrovae.inspection.subject import Subject
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas

__all__ = ["find_outliers"]

#: Least number of reference images: with fewer, p-values cannot be small.
LEAST = 20
#: The name of training images as the reference.
TRAINING = "training images"
#: The second data set in the column `split`.
AGAINST = "against"
#: The columns of the largest residual in the table, by those of `RelativeResiduals.largest`.
RESIDUAL = {"residual": "residual", "row": "residual_row", "column": "residual_column"}
#: Images per set whose regret is compared, per image that the budget allows to refine.
PER_REFINED = 12


@dataclass(frozen=True)
class Outliers:
    """Log p(x) of images, ranked among reference images.

    Attributes:
        table: one row per image, the least probable first; see `find_outliers`. The column
            `split` is the name of the split, "shown", or "against" for the second data set.
        reference: log p(x) of the reference images, in nats.
        of: the name of the reference images in texts.
        split: the images of the table that come from the split.
        draws: draws per image for log p(x).
        reference_k_hat: k-hat of the reference images.
        reference_groups: their groups, such as patients.
        residuals: residuals relative to those of the reference images.
    """

    table: pandas.DataFrame
    reference: np.ndarray
    of: str
    split: Split
    draws: int
    reference_k_hat: np.ndarray
    reference_groups: np.ndarray
    residuals: RelativeResiduals

    @property
    def own(self) -> pandas.DataFrame:
        """The images of the split."""
        return self.table[~self.table.split.isin(("shown", AGAINST))]

    @property
    def shown(self) -> pandas.DataFrame:
        """The shown images."""
        return self.table[self.table.split == "shown"]

    @property
    def against(self) -> pandas.DataFrame:
        """The images of the second data set."""
        return self.table[self.table.split == AGAINST]

    def drift(self) -> dict[str, float]:
        """The p-values that the shown images have the scores of the reference images.

        Returns:
            Those of two-sample Kolmogorov-Smirnov tests of `log_evidence` and of `residual`, by
            name, with one image per group.
        """
        from scipy.stats import ks_2samp

        shown = self.shown.sort_values("row").drop_duplicates("group")  # Not the least probable.
        _, kept = np.unique(self.reference_groups, return_index=True)
        usual = {"log_evidence": self.reference, "residual": self.residuals.of_reference()}
        return {
            name: float(ks_2samp(shown[name].to_numpy(), values[kept]).pvalue)
            for name, values in usual.items()
        }

    def aurocs(self) -> pandas.DataFrame:
        """How well each score separates the second data set from the split, one row per score.

        Returns:
            `auroc`, the probability that an image of the second set is the more anomalous one of
            a pair, and its standard `error`; the mean `score` of the split and that of the
            `against` images; `larger`, whether larger scores are more anomalous.
        """
        rows = {}
        for name, (_, sign, _) in SCORES.items():
            both = (each[[name, "group"]].dropna() for each in (self.own, self.against))
            (own, first), (others, second) = (each.to_numpy(float).T for each in both)
            if len(own) > 1 and len(others) > 1:
                found = auroc(sign * own, sign * others, first, second)
                rows[name] = (found.value, found.error, own.mean(), others.mean(), sign > 0)
        names = ["auroc", "error", "score", "against", "larger"]
        table = pandas.DataFrame.from_dict(rows, orient="index", columns=names)
        return table.rename_axis("name")


def find_outliers(
    subject: Subject, *, images: int | None = None, draws: int | None = None
) -> Outliers:
    r"""Estimates log p(x) of images of the split and of the shown ones; ranks them.

    $$\log p(x) \approx \log \frac{1}{S} \sum_{s=1}^{S} \frac{p(x, z_s)}{q(z_s \mid x)}$$

    The estimate is a lower bound on average, and too low for small S. The estimator is the same
    for all images, so ranks are valid for any S: for an image from the distribution of the
    reference images the p-value is uniform. Training images are the reference only where there
    are no others: they are more probable than new ones, so p-values are then too small. Where
    k-hat is above 0.7, ranks depend both on how typical an image is and on how well the guide
    fits it.

    An image may also be atypical because it is too probable, as smooth images often are; its
    `rank` is then near 1.

    Args:
        subject: what is inspected. Its held-out images are the reference; if there are fewer than
            20, and for the training split, every second image of the split; if there are fewer
            than 20 of these too, the training images.
        images: the largest number of images of the split, and of reference images; by default an
            eighth of the budget's images, at most 200.
        draws: draws per image, S; by default a tenth of the budget's importance draws, or 25.

    Returns:
        A table with one row per image: `image`, `split`, `place` (the index in the split of the
        data set), `log_evidence`, `error` and `k_hat` (see `evaluation.log_evidence`; above 0.7
        the estimate may be far too low), `elbo`, `rank`, the share of reference images that are
        less probable, and `p_value`; `typicality`, the distance of log p(x) from the mean of the
        reference images; `regret`, see `likelihood_regret`, NaN where it was not computed;
        `complexity`, log p(x) of the 8-bit image plus its compressed length. All in nats. `row`
        and `group` are the index and the group among the scored images. `residual` is the largest
        of the residuals around a pixel, relative to those of the reference images, see
        `RelativeResiduals`; `residual_row` and `residual_column` are its place, and
        `residual_p_value` is the p-value of so large a one.

    Raises:
        InputError: if there are fewer than 20 reference images.

    References:
        Do Deep Generative Models Know What They Don't Know? (Nalisnick et al., 2019, section 3),
        https://arxiv.org/abs/1810.09136, on the limits of such ranks; typicality as in Detecting
        Out-of-Distribution Inputs to Deep Generative Models Using Typicality (Nalisnick et al.,
        2019, section 3), https://arxiv.org/abs/1906.02994; complexity as in Input Complexity and
        Out-of-distribution Detection with Likelihood-based Generative Models (Serrà et al., 2020,
        section 3), https://arxiv.org/abs/1909.11480
    """
    budget = subject.budget
    most = images or min(200, max(LEAST, (budget.images or 2000) // 8))
    count = draws or max(25, budget.importance_draws // 10)  # For a k-hat.
    looked_at, reference, of = _sides(subject, most)
    wanted = {subject.name: looked_at, "shown": subject.shown}
    if subject.against is not None:
        wanted[AGAINST] = subject.against.spread(most)
    wanted = {name: own for name, own in wanted.items() if len(own)}
    found = [_scored(subject, name, own, count) for name, own in wanted.items()]
    last = _scored(subject, of, reference, count)
    usual, k_hat = last.log_evidence.to_numpy(), last.k_hat.to_numpy()
    table = pandas.concat(found, ignore_index=True)
    table["rank"], table["p_value"] = rank_among(table.log_evidence.to_numpy(), usual)
    table["typicality"] = (table.log_evidence - usual.mean()).abs()
    table["regret"] = _regrets(subject, wanted)
    residuals = RelativeResiduals(subject, reference)
    table[[*RESIDUAL.values()]] = _largest_residuals(residuals, wanted)
    others = residuals.of_reference()
    table["residual_p_value"] = rank_among(-table.residual.to_numpy(), -others)[1]
    table = table.sort_values("log_evidence", kind="stable", ignore_index=True)
    groups = last.group.to_numpy()
    whole = table.drop(columns="ess"), usual, of, looked_at, count, k_hat, groups
    return Outliers(*whole, residuals)


def reference_images(subject: Subject, most: int = 200) -> tuple[Split, str]:
    """The images that others are ranked among in `find_outliers`, and their name in texts.

    Args:
        subject: what is inspected.
        most: the largest number of images.

    Raises:
        InputError: if there are fewer than 20.
    """
    return _sides(subject, most)[1:]


def _scored(subject: Subject, name: str, split: Split, draws: int) -> pandas.DataFrame:
    """Log p(x) of some images, with their names, split and indices."""
    how: dict[str, Any] = {"engine": subject.engine, "seed": subject.seed}
    found = log_evidence(subject.programs, split, draws, progress=subject.progress, **how)
    found.insert(0, "image", [str(own) for own in split.names])
    found.insert(1, "split", name)
    found.insert(2, "place", _places(subject, name, split))
    groups = np.arange(len(split)) if split.groups is None else split.groups
    found["row"], found["group"] = range(len(split)), np.unique(groups, return_inverse=True)[1]
    likelihood, images = subject.programs.likelihood, np.array(split.images)
    pixels = likelihood.num_scored(images[0].size)
    if pixels < images[0].size:  # Pixels that are not scored are not compressed either.
        images[subject.programs.observe(torch.from_numpy(images)).isnan().cpu().numpy()] = 0
    scale = pixels * math.log(likelihood.grey_levels or 1)
    found["complexity"] = found.log_evidence - scale + compressed_nats(images)
    return found


def _regrets(subject: Subject, splits: dict[str, Split]) -> np.ndarray:
    """The likelihood regret of the images of some splits; NaN where it is not computed.

    It is computed for shown images, and for others if there are two sets to compare.
    """
    refined, found = subject.budget.refined, []
    for name, split in splits.items():
        most = refined if name == "shown" else PER_REFINED * refined
        wanted = name == "shown" or subject.against is not None
        rows = spread_rows(len(split), most)[: len(split) if wanted else 0]
        values = np.full(len(split), np.nan)
        if len(rows):
            with suppress(InputError, NotImplementedError):  # Not every guide can be refined.
                values[rows] = likelihood_regret(subject, split.take(rows))
        found.append(values)
    return np.concatenate(found)


def _largest_residuals(residuals: RelativeResiduals, splits: dict[str, Split]) -> pandas.DataFrame:
    """The largest residual of each image of some splits, and its place."""
    found = [residuals.largest(own).rename(columns=RESIDUAL) for own in splits.values()]
    return pandas.concat(found, ignore_index=True)


def _places(subject: Subject, name: str, split: Split) -> list[int]:
    """The indices of images in the split of that name of the data set; else in the given one."""
    data, whole = subject.programs.data, {}
    if data is not None and name in SPLITS:
        with suppress(InputError):  # The images may be gone.
            whole = {own: place for place, own in enumerate(data.split(name).names)}
    return [whole.get(own, place) for place, own in enumerate(split.names)]


def _sides(subject: Subject, most: int) -> tuple[Split, Split, str]:
    """The images to rank, the reference images, and the name of the reference in texts."""
    # Training images are ranked among each other: they are more probable than all others.
    known = [] if subject.name == "train" else [subject.train, subject.held_out]
    enough = [own if own is not None and len(own) >= LEAST else None for own in known]
    train, held_out = enough or (None, None)
    if held_out is not None:
        sides, of = [subject.split, held_out], "held-out images"
    elif train is not None and len(subject.split) < 2 * LEAST:
        sides, of = [subject.split, train], TRAINING
    else:
        sides = [subject.split.take(range(start, len(subject.split), 2)) for start in (0, 1)]
        of = f"other images of {subject.name}"
    own, reference = (side.spread(most) for side in sides)
    if len(reference) < LEAST:
        raise InputError(f"{len(reference)} reference images: allowed is {LEAST} or more")
    return own, reference, of


def rank_among(values: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""The rank of each value in a reference, as a share, and the p-value of so low a value.

    $$p = \frac{1 + \#\{r \le v\}}{1 + N}$$

    Args:
        values: `(M,)`.
        reference: `(N,)`.

    Returns:
        The shares of reference values that are smaller, and the p-values, `(M,)` each.

    Example:
        >>> rank, p = rank_among(np.array([0.0, 2.5]), np.array([1.0, 2.0, 3.0, 4.0]))
        >>> rank.tolist(), p.tolist()
        ([0.0, 0.5], [0.2, 0.6])
    """
    ordered = np.sort(reference)
    rank = np.searchsorted(ordered, values, side="left") / len(ordered)
    at_most = np.searchsorted(ordered, values, side="right")
    return rank, (1 + at_most) / (1 + len(ordered))
