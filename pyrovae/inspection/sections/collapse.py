"""How many latent dimensions are used?"""

from __future__ import annotations

import math

import numpy as np
import torch

from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.latents import SATURATED, aggregate
from pyrovae.inspection.collapse import dimension_table, dimensions_for
from pyrovae.inspection.judge.limits import EMPTY
from pyrovae.inspection.plotting import bars, image_rows
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject
from pyrovae.utils.lazy import Figure, pandas
from pyrovae.utils.palette import GUIDE, GUIDE_LIGHT, INK, NEUTRAL
from pyrovae.utils.plotting import LABEL, SMALL, TITLE, canvas, name_axes
from pyrovae.utils.randomness import private_randomness
from pyrovae.utils.text import listed

__all__ = ["section"]

PLACE = 10

#: Shown images that are decoded from their first sites.
LAYERED = 6

CAPTIONS = {
    "dimensions": "Rate and variance per dimension",
    "information": "The rate as mutual information plus divergence of the aggregate posterior",
    "layers": "The rate of each latent site, given the sites drawn before it, in nats per image",
}


def section(subject: Subject) -> Section:
    """The active units, the rate of each dimension, and I(x; z) + KL(q(z) ‖ p(z))."""
    table = dimension_table(subject.encoded.only(subject.columns), subject.split.groups)
    tables, said = {"dimensions": table}, [_units_said(subject, table)]
    if subject.encoded.site_rates:
        tables["layers"] = _layers(subject)
        said.append(_said_of_layers(tables["layers"]))
    try:
        parts = aggregate(subject, progress=subject.progress)
    except NotImplementedError:
        said.append("I(x; z) is unknown: the guide has no density.")
    else:
        parts = {"rate": Estimate.of(subject.encoded.rate, subject.split.groups), **parts}
        said.append(_said(parts, bool(subject.programs.attributes)))
        tables["information"] = _information(parts)
    rates = Drawing(
        _draw_rates(table),
        "Rate per dimension. Top: bars show the rate in nats per image, with ± 2 standard errors; "
        "grey dimensions are not active. The line shows the share of the rate that the dimension "
        "and all dimensions to its left carry together. Bottom: the variance of the aggregate "
        "posterior, which is the variance of the posterior means plus the mean variance within "
        f"posteriors. {subject.where()}.",
    )
    figures = {"rates": rates} | (_by_layer(subject) if "layers" in tables else {})
    title = "How many latent dimensions are used?"
    return Section(title, said, tables=tables, figures=figures, captions=CAPTIONS)


def _by_layer(subject: Subject) -> dict[str, Drawing]:
    """Reconstructions of the shown images from the first site alone, from the first two, ..."""
    programs, names = subject.programs, list(subject.encoded.site_rates)
    shown = subject.shown.take(range(min(LAYERED, len(subject.shown))))
    images = torch.from_numpy(np.array(shown.images)).to(subject.engine.device)
    places = shown.places(programs.attributes)
    attributes = shown.attributes[:, places] if programs.attributes else None
    with private_randomness(subject.seed, subject.engine.device):
        again = [
            programs.reconstruct(images, attributes, sites=names[: place + 1]).cpu()
            for place in range(len(names))
        ]
    columns = torch.stack([images.cpu() / 255, *again], 1)
    words = ["image", names[0], *(f"+ {name}" for name in names[1:])]
    rows = dict(zip(map(str, shown.names), columns, strict=True))
    caption = (
        f"Left: the image. Then images decoded from its draw of {names[0]}, and of further sites; "
        f"the model draws the other sites. {subject.shown_where(len(shown))}."
    )
    return {"layers": Drawing(image_rows(rows, dict.fromkeys(rows, words)), caption)}


def _units_said(subject: Subject, table: pandas.DataFrame) -> str:
    classes = [] if subject.sites else sorted(subject.space.discrete)
    apart = f" ({listed(classes)}: discrete, not counted)" if classes else ""
    return (
        f"{table['active'].sum()} of {len(table)} latent dimensions are active{apart}. The rate "
        f"is {subject.encoded.rate.mean():,.1f} nats per image; {dimensions_for(table)} "
        f"dimensions are enough for 95% of {'their part' if classes else 'it'}."
    )


def _layers(subject: Subject) -> pandas.DataFrame:
    """One row per latent site, in the order in which the guide draws them."""
    rates, slices = subject.encoded.site_rates, subject.space.slices
    total = max(1e-12, float(subject.encoded.rate.mean()))
    rows = []
    for name, own in rates.items():
        size = slices[name].stop - slices[name].start
        found = Estimate.of(own, subject.split.groups)
        rows.append((name, size, found.value, found.error, found.value / total))
    columns = ["site", "dimensions", "rate", "error", "share"]
    return pandas.DataFrame(rows, columns=columns).set_index("site")


def _said_of_layers(table: pandas.DataFrame) -> str:
    parts = ", ".join(f"{name} {rate:,.1f}" for name, rate in table["rate"].items())
    empty = [str(name) for name, rate in table["rate"].items() if rate < EMPTY]
    found = (
        f"The rate by latent site, in nats per image: {parts}. A dimension is active if its mean "
        "varies and its own rate is above 0.005 nats: a mean may only follow the prior, given the "
        "sites drawn before it."
    )
    if not empty:
        return found
    verb = "is" if len(empty) == 1 else "are"
    return f"{found} Collapsed {verb} {listed(empty)}: less than {EMPTY} nats."


def _at_limit(parts: dict[str, Estimate]) -> bool:
    """Whether I(x; z) is so near log N that its estimate is limited by the number of images."""
    return parts["mutual_information"].value > parts["limit"].value - SATURATED


def _information(parts: dict[str, Estimate]) -> pandas.DataFrame:
    bounds = {"mutual_information": "at least", "aggregate_kl": "at most"}
    rows = []
    for name, found in parts.items():
        error = None if name in bounds and _at_limit(parts) else found.error
        rows.append((name, bounds.get(name, ""), found.value, error))
    return pandas.DataFrame(rows, columns=["quantity", "bound", "nats", "error"])


def _said(parts: dict[str, Estimate], given: bool) -> str:
    information, limit = parts["mutual_information"].value, parts["limit"].value
    rate, rest = parts["rate"].value, parts["aggregate_kl"].value
    if given:
        said = (
            f"The rate is {rate:,.1f} nats; given the attributes, I(x; z) is at least "
            f"{information:.1f} nats (at most {limit:.1f} with this number of images)."
        )
        mean = "The divergence of the aggregate posterior from the mean prior is at most"
        return said if math.isnan(rest) else f"{said} {mean} {rest:,.1f} nats."
    if _at_limit(parts):
        return (
            f"The latents distinguish these images: I(x; z) is at least {information:.1f} nats. "
            f"This number of images allows at most {limit:.1f} nats, so it does not show how the "
            f"rate splits into I(x; z) and the divergence of the aggregate posterior from the "
            f"prior."
        )
    return (
        f"The rate of {rate:,.1f} nats per image is the sum of I(x; z), at least "
        f"{information:,.1f} nats (at most {limit:.1f} with this number of images), and the "
        f"divergence of the aggregate posterior from the prior, at most {rest:,.1f} nats."
    )


def _draw_rates(table: pandas.DataFrame) -> Figure:
    """The rate of each dimension, and the two parts of the aggregate posterior's variance.

    Args:
        table: from `dimension_table`.
    """
    figure, axes = canvas(4.8, 2, 1, sharex=True)
    above, below = axes[:, 0]
    places, rates = np.arange(len(table)), table["kl"].to_numpy()
    for active, colour in ((True, GUIDE), (False, NEUTRAL)):
        bars(above, np.where(table["active"] == active, rates, 0.0), colour)
    above.errorbar(places, rates, 2 * table["error"], fmt="none", ecolor=INK, lw=0.6)
    name_axes(above, up="rate (nats)")
    share = above.twinx()
    share.plot(places, 100 * table["cumulative"], color=INK, lw=1.2)
    share.set(ylim=(0, 103))
    share.set_ylabel("cumulative share (%)", fontsize=TITLE)
    share.tick_params(labelsize=LABEL)
    share.spines["top"].set_visible(False)
    means = table["variance_of_mean"].to_numpy()
    bars(below, means, GUIDE, label="variance of posterior means")
    within = table["aggregate_variance"].to_numpy() - means
    bars(below, within, GUIDE_LIGHT, means, label="mean variance within posteriors")
    name_axes(below, "latent dimension, in the order of the rate", "variance")
    # Above its own panel, which the legend of the figure would not be.
    below.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=LABEL, frameon=False)
    if len(table) <= 40:
        below.set_xticks(places, table.index, rotation=90, fontsize=SMALL)
    return figure
