"""The posteriors q(z | x) of single images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.inspection.plotting import (
    LABEL,
    SMALL,
    TITLE,
    canvas,
    heat_map,
    name_axes,
    panel,
    picture,
    shorten,
)
from pyrovae.inspection.posterior import Predictive, correlation_table, correlations, predictive
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject
from pyrovae.posterior.encoding import Encoding
from pyrovae.utils.lazy import Figure, pandas
from pyrovae.utils.palette import DIVERGING, GUIDE, HEAT, PALE, SEQUENTIAL

__all__ = ["section"]

PLACE = 30

#: Dimensions that a figure has room for.
SHOWN = 24
DRAWS = 100


def section(subject: Subject) -> Section:
    """Locations, scales, correlations and KL of the posteriors, and decoded draws."""
    names = list(subject.shown.names)
    found = subject.of(subject.shown).encoded.only(subject.columns)
    x, inputs = subject.observed(subject.shown)
    with subject.quietly(1):
        seen = predictive(subject.space, x, inputs, DRAWS)
        draws = subject.space.guide_draws(max(3, subject.budget.draws), x, **inputs)
    matrices = correlations(draws[..., torch.from_numpy(subject.columns).to(draws.device)])
    tables = {
        "posteriors": found.table(names),
        "correlations": correlation_table(matrices, names, found.names),
        "predictive": seen.table(names),
    }
    return Section(
        "What are the posteriors of single images?",
        [_spreads(tables["predictive"]), _dependence(tables["correlations"], len(draws))],
        tables=tables,
        figures={
            "predictive": _predictive(subject, seen, names),
            **_dimensions(subject, tables["posteriors"], found, matrices, names),
        },
    )


def _predictive(subject: Subject, seen: Predictive, names: list[str]) -> Drawing:
    images = torch.from_numpy(np.array(subject.shown.images)).float() / 255
    return Drawing(
        _draw_predictive(images, seen, names),
        f"Posterior predictive, {subject.shown_where()}: the image, the mean of {DRAWS} "
        "reconstructions, the standard deviation of each pixel without and with the likelihood's "
        "noise (in grey levels of 256), decoded draws of z, and one draw with the likelihood's "
        "noise.",
    )


def _dimensions(
    subject: Subject,
    table: pandas.DataFrame,
    found: Encoding,
    matrices: np.ndarray,
    names: list[str],
) -> dict[str, Drawing]:
    """The dimensions of the largest rate: their intervals and their correlations."""
    top = np.argsort(-found.kl.mean(0), kind="stable")[:SHOWN]
    dims = [found.names[column] for column in top]
    most = f"the {len(dims)} dimensions of the largest rate"
    return {
        "intervals": Drawing(
            _draw_intervals(table, dims),
            f"Posteriors, {subject.shown_where()}: location ± 2 scales in {most}, coloured by the "
            "rate in nats; the grey band is ± 2, which holds 95 % of a standard Normal's mass.",
        ),
        "correlations": Drawing(
            _draw_correlations(matrices[0][np.ix_(top, top)], dims, names[0]),
            f"Correlations between dimensions of the posterior of {names[0]}, the first of "
            f"{subject.shown_where()}, in {most}; {max(3, subject.budget.draws):,} draws.",
        ),
    }


def _spreads(table: pandas.DataFrame) -> str:
    latent, whole = np.sqrt(np.square(table[["latent_spread", "spread"]]).mean())
    return (
        f"The standard deviation of a pixel is {latent:.1f} grey levels of 256 from the "
        f"uncertainty of z and {whole:.1f} with the likelihood's noise: z accounts for "
        f"{100 * (latent / max(whole, 1e-9)) ** 2:.2g} % of the variance, if the guide's widths "
        "are right."
    )


def _dependence(pairs: pandas.DataFrame, draws: int) -> str:
    if not len(pairs):
        return "The latent has one dimension, so there are no correlations."
    row = pairs.loc[pairs["correlation"].abs().idxmax()]
    # Above the largest correlation of some ten thousand independent pairs.
    limit = 5 / draws**0.5
    if abs(row["correlation"]) < limit:
        return (
            f"No two dimensions of a posterior are correlated as far as {draws:,} draws show: the "
            f"largest correlation is {row['correlation']:.2f}, and values below {limit:.2f} "
            f"cannot be distinguished from noise."
        )
    return (
        f"The most correlated dimensions are {row['first']} and {row['second']} of "
        f"{row['image']}: correlation {row['correlation']:.2f}."
    )


def _draw_predictive(images: Tensor, found: Predictive, names: list[str]) -> Figure:
    """A row per image: the image, its mean reconstruction, standard deviations, and draws.

    Args:
        images: `(B, C, H, W)` in [0, 1].
        found: from `predictive`.
        names: of the images.
    """
    kept = len(found.decoded)
    titles = ["image", "mean", "sd,\nfrom z", "sd, with\nnoise", *["draw of z"] * kept]
    titles += ["draw,\nwith noise"]
    figure, axes = canvas(1.1 + 0.95 * len(images), len(images), len(titles))
    limit = float(found.spread.mean(1).max()) * 255
    how: dict[str, Any] = {"vmin": 0, "vmax": limit, "cmap": HEAT}
    for row, (own, name) in enumerate(zip(axes, names, strict=True)):
        for place, image in zip(own, (images[row], found.mean[row]), strict=False):
            picture(place, image)
        label = {"fontsize": SMALL, "va": "top", "transform": own[0].transAxes}
        own[0].text(0, -0.06, shorten(name), **label)
        for place, spread in zip(own[2:], (found.latent_spread, found.spread), strict=False):
            shown = picture(place, 255 * spread[row].mean(0), **how)
        for place, draw in zip(own[4:], found.decoded[:, row], strict=False):
            picture(place, draw)
        picture(own[-1], found.noisy[0, row])
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title, fontsize=LABEL)
    bar = figure.colorbar(shown, ax=axes[:, 2:4], location="bottom", aspect=12, shrink=0.9)
    bar.set_label("sd (grey levels of 256)", fontsize=LABEL)
    bar.ax.tick_params(labelsize=LABEL)
    return figure


def _draw_intervals(table: pandas.DataFrame, dims: list[str]) -> Figure:
    """Location, scale and rate of the posteriors of a few images, in the dimensions given.

    Args:
        table: from `Encoding.table`.
        dims: names of the dimensions, the largest rates first.
    """
    images = list(dict.fromkeys(table.index.get_level_values("image")))
    figure, axes = canvas(0.5 + 1.2 * len(images), len(images), 1, sharex=True, sharey=True)
    among = table[table.index.get_level_values(1).isin(dims)]
    colours = {"vmin": 0.0, "vmax": max(1e-6, float(among["kl"].max())), "cmap": SEQUENTIAL}
    for place, image in zip(axes[:, 0], images, strict=True):
        own = table.loc[image].loc[dims]
        place.axhspan(-2, 2, color=PALE, lw=0)
        where = (range(len(dims)), own["loc"])
        place.errorbar(*where, 2 * own["scale"], fmt="none", ecolor=GUIDE, lw=1.2)
        shown = place.scatter(*where, 18, own["kl"], zorder=3, **colours)
        nats = table.loc[image]["kl"].sum()
        place.set_title(f"{image}: {nats:,.1f} nats over all dimensions", fontsize=LABEL)
    axes[-1, 0].set_xticks(range(len(dims)), dims, rotation=90, fontsize=SMALL)
    name_axes(axes[-1, 0], "latent dimension, in the order of the rate")
    figure.supylabel("location ± 2 scales", fontsize=TITLE)
    figure.colorbar(shown, ax=axes[:, 0], aspect=40).set_label("rate (nats)", fontsize=LABEL)
    return figure


def _draw_correlations(found: np.ndarray, names: list[str], title: str) -> Figure:
    """Correlations between the dimensions of one image's posterior.

    Args:
        found: `(D, D)`.
        names: of the dimensions.
        title: of the figure.
    """
    figure, axes = panel(4.6, width=5.4)
    table = pandas.DataFrame(found, index=names, columns=names)
    heat_map(axes, table, "correlation", vmin=-1, vmax=1, cmap=DIVERGING)
    axes.set_title(title, fontsize=TITLE)
    return figure
