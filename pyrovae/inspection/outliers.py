"""Which images are improbable: log p(x) beside that of training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyrovae.data import Split
from pyrovae.evaluation.evidence import log_evidence
from pyrovae.inspection.subject import Subject
from pyrovae.utils.errors import InputError

if TYPE_CHECKING:
    import pandas

__all__ = ["Outliers", "find_outliers", "rank_among"]

#: Fewer images to compare with leave no small p-values.
LEAST = 20


@dataclass(frozen=True)
class Outliers:
    """How probable images are beside images that the programs were trained on.

    Attributes:
        table: a row an image, the least probable first, as `find_outliers` says.
        reference: log p(x) of the images that they are compared with, in nats.
        of: what those are called.
        split: the images of the table that are not the user's.
        reference_k_hat: k-hat of the images that they are compared with.
        draws: draws an image that log p(x) is estimated with.
    """

    table: pandas.DataFrame
    reference: np.ndarray
    of: str
    split: Split
    draws: int
    reference_k_hat: np.ndarray


def find_outliers(
    subject: Subject, *, images: int | None = None, draws: int | None = None
) -> Outliers:
    r"""Estimates log p(x) of images of the split, of the shown ones, and of training images.

    $$\log p(x) \approx \log \frac{1}{S} \sum_{s=1}^{S} \frac{p(x, z_s)}{q(z_s \mid x)}$$

    The estimate is a lower bound on average, and low where S is small; as it is the same for
    all, ranks are fair whatever S is: under the hypothesis that an image is of the distribution
    of the training images, its p-value is uniform. After much training it need not be, since the
    images that were trained on are more probable than others, or the guide knows them better;
    `Outliers.table` tells that by the ranks of the split. Where k-hat is above 0.7 ranks mix how
    typical an image is with how well the guide knows it.

    An image may also be atypical by being too probable, as smooth ones often are: `rank` near 1.

    Args:
        subject: what is inspected. Where it has fewer than 20 training images, or none, the
            other images of the split take their place.
        images: of the split and of the training images, at most; by default an eighth of those
            that its budget says, at most 200.
        draws: draws an image, S; by default a tenth of the budget's importance draws, or 25.

    Returns:
        A table with a row an image: `image`, `split`, `place` in its split, `log_evidence`,
        `error` and `k_hat` (see `evaluation.log_evidence`; above 0.7 the estimate may be far too
        low), `rank`, the share of the training images that are less probable, and `p_value`.

    Raises:
        InputError: if there are fewer than 20 images to compare with.

    References:
        Do Deep Generative Models Know What They Don't Know? (Nalisnick et al., 2019, section 3),
        https://arxiv.org/abs/1810.09136, for how far such ranks can be trusted
    """
    import pandas

    budget = subject.budget
    most = images or min(200, max(LEAST, (budget.images or 2000) // 8))
    count = draws or max(25, budget.importance_draws // 10)  # For a k-hat.
    looked_at, reference, of = _sides(subject, most)
    if len(reference) < LEAST:
        raise InputError(f"{len(reference)} images to rank others among: allowed is {LEAST}+")
    wanted = [(subject.name, looked_at), ("shown", subject.shown), (of, reference)]
    wanted = [(name, split) for name, split in wanted if len(split)]
    found = [_scored(subject, name, own, count) for name, own in wanted]
    last = found.pop()
    usual, k_hat = last.log_evidence.to_numpy(), last.k_hat.to_numpy()
    table = pandas.concat(found, ignore_index=True)
    table["rank"], table["p_value"] = rank_among(table.log_evidence.to_numpy(), usual)
    table = table.sort_values("log_evidence", kind="stable", ignore_index=True)
    return Outliers(table.drop(columns=["elbo", "ess"]), usual, of, looked_at, count, k_hat)


def _scored(subject: Subject, name: str, split: Split, draws: int) -> pandas.DataFrame:
    """Log p(x) of some images, and which they are."""
    found = log_evidence(
        subject.programs,
        split,
        draws,
        engine=subject.engine,
        seed=subject.seed,
        progress=subject.progress,
    )
    found.insert(0, "image", [str(own) for own in split.names])
    found.insert(1, "split", name)
    found.insert(2, "place", range(len(split)))
    return found


def _sides(subject: Subject, most: int) -> tuple[Split, Split, str]:
    """Images that are looked at, those that they are compared with, and what these are called."""
    if subject.train is not None and len(subject.train) >= LEAST:
        return subject.split.spread(most), subject.train.spread(most), "training images"
    halves = [subject.split.take(range(start, len(subject.split), 2)) for start in (0, 1)]
    return halves[0].spread(most), halves[1].spread(most), f"other images of {subject.name}"


def rank_among(values: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Where values lie among others: the share that is smaller, and the p-value of being so low.

    $$p = \frac{1 + \#\{r \le v\}}{1 + N}$$

    Args:
        values: `(M,)`.
        reference: `(N,)`.

    Example:
        >>> rank, p = rank_among(np.array([0.0, 2.5]), np.array([1.0, 2.0, 3.0, 4.0]))
        >>> rank.tolist(), p.tolist()
        ([0.0, 0.5], [0.2, 0.6])
    """
    ordered = np.sort(reference)
    rank = np.searchsorted(ordered, values, side="left") / len(ordered)
    at_most = np.searchsorted(ordered, values, side="right")
    return rank, (1 + at_most) / (1 + len(ordered))
