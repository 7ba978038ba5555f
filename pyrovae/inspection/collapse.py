"""Posterior collapse: the rate of each dimension, and its moments."""

from __future__ import annotations

import numpy as np

from pyrovae.posterior.encoding import Encoding
from pyrovae.utils.lazy import pandas
from pyrovae.utils.statistics import error_of_mean

__all__ = ["dimension_table", "dimensions_for"]


def dimension_table(encoded: Encoding, groups: np.ndarray | None = None) -> pandas.DataFrame:
    r"""The rate and the moments of each latent dimension, largest rate first.

    `kl` is $\mathbb{E}_x KL(q(z_d \mid x) \,\|\, p(z_d))$ in nats per image with its standard
    `error`; `share` is its share of the sum over dimensions, `cumulative` the share of this and
    all larger dimensions. `exact` is false if the KL is that of Normals with the same moments.
    `active` and `variance_of_mean` are those of `Encoding`. `scale` is the mean standard
    deviation of the posteriors. `aggregate_mean` and `aggregate_variance` are the moments of the
    aggregate posterior. For programs that take attributes, `variance_of_mean` is that of the
    posterior mean minus the prior mean given the same attributes.

    Args:
        encoded: the posteriors of a split.
        groups: the group of each image, such as a patient, for the standard errors.

    Returns:
        One row per latent dimension.

    Raises:
        InputError: for fewer than two images.
    """
    active, kl = encoded.active, encoded.kl.mean(0)
    table = pandas.DataFrame(
        {
            "kl": kl,
            "error": [error_of_mean(own, groups) for own in encoded.kl.T],
            "share": kl / max(kl.sum(), 1e-12),
            "active": active,
            "variance_of_mean": encoded.variance_of_mean,
            "scale": encoded.scale.mean(0),
            "aggregate_mean": encoded.loc.mean(0),
            "aggregate_variance": encoded.loc.var(0) + np.square(encoded.scale).mean(0),
            "exact": encoded.exact,
        },
        index=pandas.Index(encoded.names, name="dimension"),
    ).sort_values("kl", ascending=False, kind="stable")
    table.insert(3, "cumulative", table["share"].cumsum())
    return table


def dimensions_for(table: pandas.DataFrame, share: float = 0.95) -> int:
    """The least number of dimensions that carry a share of the rate, from a `dimension_table`.

    Example:
        >>> import pandas as pd
        >>> dimensions_for(pd.DataFrame({"cumulative": [0.6, 0.9, 0.99, 1.0]}))
        3
    """
    if table["cumulative"].isna().any():
        return len(table)  # The rates are unknown.
    found = int(np.searchsorted(table["cumulative"].to_numpy(), share - 1e-9) + 1)
    return min(found, len(table))  # All rates may be 0.
