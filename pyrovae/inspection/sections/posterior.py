"""The posteriors q(z | x) of single images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.inspection.maps import prior_quantiles
from pyrovae.inspection.plotting import heat_map, picture, shorten
from pyrovae.inspection.posterior import Predictive, correlation_table, correlations, predictive
from pyrovae.inspection.scales import scale_of
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject
from pyrovae.posterior.encoding import Encoding
from pyrovae.utils.lazy import Figure, pandas
from pyrovae.utils.palette import DIVERGING, GUIDE, HEAT, PRIOR, SEQUENTIAL
from pyrovae.utils.plotting import LABEL, SMALL, TITLE, WIDTH, canvas, panel

__all__ = ["section"]

PLACE = 30

#: Dimensions that a figure has room for.
SHOWN = 24
DRAWS = 100
#: Draws of the prior for its quantiles, and their probabilities.
PRIOR_DRAWS, BAND = 2000, (0.025, 0.975)
#: The probability that correlations are found between independent dimensions.
RISK = 0.001
CAPTIONS = {
    "posteriors": "Location, scale and rate per image and dimension",
    "predictive": "Standard deviation of a pixel per image, in grey levels (of 256)",
    "correlations": "Most correlated pairs of dimensions per image",
}


def section(subject: Subject) -> Section:
    """Locations, scales, correlations and KL of the posteriors, and decoded draws."""
    names = list(subject.shown.names)
    found = subject.of(subject.shown).encoded.only(subject.columns)
    seen, draws = _drawn(subject)
    matrices = correlations(draws)
    pairs = correlation_table(matrices, names, found.names)
    limit = _limit(len(draws), len(matrices) * math.comb(len(found.names), 2))
    dependent = len(pairs) > 0 and pairs["correlation"].abs().max() >= limit
    tables = {"posteriors": found.table(names), "predictive": seen.table(names)}
    figures = {
        "predictive": _predictive(subject, seen, names),
        "intervals": _intervals(subject, tables["posteriors"], found),
    }
    if dependent:
        tables["correlations"] = pairs
        figures["correlations"] = _correlations(subject, matrices, found, pairs["image"])
    return Section(
        "What are the posteriors of single images?",
        [_spreads(tables["predictive"]), _dependence(pairs, len(draws), dependent, limit)],
        tables=tables,
        figures=figures,
        captions=CAPTIONS,
    )


def _drawn(subject: Subject) -> tuple[Predictive, Tensor]:
    """Decoded draws of the posteriors of the shown images, and draws `(S, B, columns)`."""
    x, inputs = subject.observed(subject.shown)
    with subject.quietly(1):
        scale = scale_of(subject.programs.likelihood, subject.split.images, seed=subject.seed)
        seen = predictive(subject.space, x, inputs, DRAWS, scale=scale)
        draws = subject.space.guide_draws(max(3, subject.budget.draws), x, **inputs)
    return seen, draws[..., torch.from_numpy(subject.columns).to(draws.device)]


def _limit(draws: int, pairs: int) -> float:
    """A bound on the largest of `pairs` correlations of independent dimensions.

    It is the value that the largest exceeds with probability 0.001.
    """
    from scipy.stats import t

    found = t.isf(RISK / 2 / max(1, pairs), max(1, draws - 2))
    return float(found / math.sqrt(max(1, draws - 2) + found**2))


def _predictive(subject: Subject, seen: Predictive, names: list[str]) -> Drawing:
    images = torch.from_numpy(np.array(subject.shown.images)).float() / 255
    return Drawing(
        _draw_predictive(images, seen, names),
        f"Posterior predictive, {subject.shown_where()}. From left to right: the image; the mean "
        f"of {DRAWS} decoded draws of z; the standard deviation of each pixel over these "
        f"draws{_noise_said(seen)}, from 0 (dark) to the number above, in grey levels (of 256); "
        "four of the draws; one draw with the likelihood's noise.",
    )


def _noise_said(seen: Predictive) -> str:
    """What the caption says of the pixels' standard deviation with the likelihood's noise."""
    if _noise_varies(seen):
        return ", and with the likelihood's noise"
    return (
        f" (with the likelihood's noise it is about {255 * float(seen.spread.mean()):.0f} for all)"
    )


def _noise_varies(seen: Predictive) -> bool:
    """Whether the spread with noise differs between pixels by more than draws do by chance."""
    spread = seen.spread.mean(1)
    return float(spread.std() / spread.mean().clamp(min=1e-9)) > 2 / (2 * DRAWS) ** 0.5


def _largest(found: Encoding) -> tuple[np.ndarray, list[str]]:
    """The dimensions with the largest rate, and their names."""
    top = np.argsort(-found.kl.mean(0), kind="stable")[:SHOWN]
    return top, [found.names[column] for column in top]


def _prior_band(subject: Subject, columns: np.ndarray) -> np.ndarray:
    """The quantiles of the prior between which 95% of its mass is, `(2, columns)`."""
    drawn, inputs = subject.prior_draws(PRIOR_DRAWS)
    with subject.quietly(1):
        found = prior_quantiles(subject.space, torch.tensor(BAND), drawn, **inputs)
    return found.cpu().numpy()[:, columns]


def _intervals(subject: Subject, table: pandas.DataFrame, found: Encoding) -> Drawing:
    top, dims = _largest(found)
    return Drawing(
        _draw_intervals(table, dims, _prior_band(subject, subject.columns[top])),
        f"Posterior per dimension, {subject.shown_where()}, in the {len(dims)} dimensions with "
        "the largest rate. Left: dots show the location, coloured by the rate in nats; bars show "
        "± 2 scales, where they are longer than a dot. The band is between the 2.5% and the 97.5% "
        "quantile of the prior. Right: the scale. Titles: the rate over all dimensions.",
    )


def _correlations(
    subject: Subject, matrices: np.ndarray, found: Encoding, images: pandas.Series
) -> Drawing:
    """The correlations of the image that has the largest one."""
    top, dims = _largest(found)
    row = int(np.abs(matrices - np.eye(matrices.shape[1])).max((1, 2)).argmax())
    name = list(images.unique())[row]
    table = pandas.DataFrame(matrices[row][np.ix_(top, top)], index=dims, columns=dims)
    figure, axes = panel(4.6, width=5.4)
    heat_map(axes, table, "correlation", vmin=-1, vmax=1, cmap=DIVERGING)
    axes.set_title(name, fontsize=TITLE)
    return Drawing(
        figure,
        f"Correlations of the dimensions of one posterior, that of {name}, which has the "
        f"largest correlation of {subject.shown_where()}: the {len(dims)} dimensions with the "
        f"largest rate, from {max(3, subject.budget.draws):,} draws.",
    )


def _spreads(table: pandas.DataFrame) -> str:
    latent, whole = np.sqrt(np.square(table[["latent_spread", "spread"]]).mean())
    return (
        f"The uncertainty of z gives pixels a standard deviation of {latent:.1f} of 256 grey "
        f"levels; with the likelihood's noise it is {whole:.1f}. So z contributes "
        f"{100 * (latent / max(whole, 1e-9)) ** 2:.2g}% of the predictive variance of pixels."
    )


def _dependence(pairs: pandas.DataFrame, draws: int, dependent: bool, limit: float) -> str:
    if not len(pairs):
        return "The latent has one dimension, so there are no correlations."
    row = pairs.loc[pairs["correlation"].abs().idxmax()]
    if not dependent:
        return (
            f"No correlation of two dimensions of a posterior was found: the largest of {draws} "
            f"draws is {row['correlation']:.2f}, and that of independent dimensions is above "
            f"{limit:.2f} with a probability of {RISK}."
        )
    return (
        f"The most correlated dimensions are {row['first']} and {row['second']} of "
        f"{row['image']}: their correlation is {row['correlation']:.2f}."
    )


def _draw_predictive(images: Tensor, found: Predictive, names: list[str]) -> Figure:
    """A row per image: the image, its mean reconstruction, standard deviations, and draws.

    Args:
        images: `(B, C, H, W)` in [0, 1].
        found: from `predictive`.
        names: of the images.
    """
    kept = len(found.decoded)
    # Each kind has its own colours: noise is often ten times as large as what z moves.
    spreads = [255 * own.mean(1) for own in (found.latent_spread, found.spread)]
    spreads = spreads[: 1 + _noise_varies(found)]
    columns = 3 + len(spreads) + kept
    each = 0.16 + 0.9 * WIDTH / columns * images.shape[-2] / images.shape[-1]
    figure, axes = canvas(0.4 + each * len(images), len(images), columns)
    kinds = [
        f"{kind}\n0 to {_short(float(own.max()))}"
        for kind, own in zip(("sd, z", "sd, noise"), spreads, strict=False)
    ]
    titles = ["image", "mean", *kinds, *["draw of z"] * kept, "draw,\nwith noise"]
    for row, (own, name) in enumerate(zip(axes, names, strict=True)):
        for place, image in zip(own, (images[row], found.mean[row]), strict=False):
            picture(place, image)
        _write_name(own[0], name)
        for place, spread in zip(own[2:], spreads, strict=False):
            picture(place, spread[row], vmin=0, vmax=float(spread.max()), cmap=HEAT)
        for place, draw in zip(own[2 + len(spreads) :], found.decoded[:, row], strict=False):
            picture(place, draw)
        picture(own[-1], found.noisy[0, row])
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title, fontsize=LABEL)
    return figure


def _write_name(axes: Any, name: str) -> None:
    """Writes the name of an image below it."""
    label = {"fontsize": SMALL, "va": "top", "transform": axes.transAxes}
    # Out of the layout: a long name would widen the column of the image.
    axes.text(0, -0.06, shorten(name, 14), **label).set_in_layout(False)


def _short(number: float) -> str:
    """A number of two digits, or without decimal places.

    Example:
        >>> _short(0.123), _short(12.3), _short(123.4)
        ('0.12', '12', '123')
    """
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


def _draw_intervals(table: pandas.DataFrame, dims: list[str], band: np.ndarray) -> Figure:
    """Location, scale and rate of the posteriors of a few images, in the dimensions given.

    The scales have separate panels: they are often smaller than the mark of a location.

    Args:
        table: from `Encoding.table`.
        dims: names of the dimensions, the largest rates first.
        band: two quantiles of the prior in these dimensions.
    """
    images = list(dict.fromkeys(table.index.get_level_values("image")))
    figure, axes = canvas(0.6 + 1.3 * len(images), len(images), 2, sharex=True, sharey="col")
    among = table[table.index.get_level_values(1).isin(dims)]
    style = {"color": PRIOR, "alpha": 0.2, "lw": 0}
    colours = {"vmin": 0.0, "vmax": max(1e-6, float(among["kl"].max())), "cmap": SEQUENTIAL}
    places, (low, high) = np.arange(len(dims)), band
    for (left, right), image in zip(axes, images, strict=True):
        own = table.loc[image].loc[dims]
        left.stairs(high, np.append(places, len(dims)) - 0.5, baseline=low, fill=True, **style)
        left.errorbar(places, own["loc"], 2 * own["scale"], fmt="none", ecolor=GUIDE, lw=1.4)
        shown = left.scatter(places, own["loc"], 7, own["kl"], zorder=3, **colours)
        nats = table.loc[image]["kl"].sum()
        left.set_title(f"{shorten(image)}: {nats:,.1f} nats", fontsize=LABEL, loc="left")
        right.bar(places, own["scale"], color=GUIDE)
    _set_log_scale(axes[:, 1], among["scale"].to_numpy())
    for column, up in zip(axes.T, ("location ± 2 scales", "scale"), strict=True):
        column[-1].set_xticks(places, dims, rotation=90, fontsize=SMALL)
        column[0].set_ylabel(up, fontsize=LABEL)
    figure.supxlabel("latent dimension, in the order of the rate", fontsize=TITLE)
    figure.colorbar(shown, ax=axes, aspect=40).set_label("rate (nats)", fontsize=LABEL)
    return figure


def _set_log_scale(axes: Any, scales: np.ndarray) -> None:
    """Shows scales on a common logarithmic axis from a power of ten to at least 1."""
    from matplotlib.ticker import NullFormatter

    if not (found := scales[scales > 0]).size:
        return
    axes[0].set_yscale("log")
    axes[0].set_ylim(10 ** np.floor(np.log10(found.min())), max(1.0, float(found.max())))
    for place in axes:
        place.yaxis.set_minor_formatter(NullFormatter())
