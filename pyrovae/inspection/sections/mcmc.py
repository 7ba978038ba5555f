"""The guide and the exact posterior of single images, by Markov chain Monte Carlo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from pyrovae.data import Split
from pyrovae.inspection.mcmc import Chains, sample_posteriors
from pyrovae.inspection.placing import placed
from pyrovae.inspection.plotting import Sample, densities, shorten
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.sections.traversals import sites_said
from pyrovae.inspection.subject import Subject
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import Figure, pandas
from pyrovae.utils.palette import CATEGORIES, EXACT, GUIDE, INK
from pyrovae.utils.plotting import TITLE, legend, name_axes, panel, panels

__all__ = ["section"]

PLACE = 60

#: Chains have mixed with an R-hat below this, and at least this effective sample size.
UNMIXED, ENOUGH = 1.05, 100

#: Images of the budget for refinement per image that is sampled.
SPARING = 3

#: Dimensions whose histograms are shown.
SHOWN = 6

#: Why there is no section.
NO_CHAINS = (
    "short chains do not mix, so the quick report leaves this section out (run without --quick)"
)

#: What each table shows.
CAPTIONS = {
    "posterior_moments": "Moments per image and dimension: MCMC and guide",
    "chains": "Share of moves and divergences per chain",
}


def section(subject: Subject) -> Section:
    """The guide and draws from the exact posterior, for the first of the shown images.

    Args:
        subject: what is inspected; chains are of all sites, moments of its selected sites.

    Raises:
        InputError: if the budget has no chains, a site is unknown, or the support of latents is
            not R^D.
    """
    if not subject.budget.chains:
        raise InputError(NO_CHAINS)
    columns = subject.columns
    where, moved = placed(subject, _gradient)
    chains = _chains(where)
    looked_at = {name: own.only(columns) for name, own in chains.items()}
    tables = {name: own.table() for name, own in looked_at.items()}
    mixed = [name for name, own in chains.items() if _have_mixed(own)]
    # Chains that have not mixed come first.
    said = [_mixing(name, own) for name, own in chains.items() if name not in mixed]
    said += [_difference(name, table) for name, table in tables.items()]
    said += [_mixing(name, chains[name]) for name in mixed]
    said += sites_said(subject, "R-hat and effective draws are")
    said += [*_left_out(subject, len(chains)), *filter(None, [moved])]
    moments = pandas.concat(tables, names=["image"])
    return Section(
        "How does the guide differ from the exact posterior of single images?",
        said,
        tables={"posterior_moments": moments, "chains": _diagnostics(chains)},
        captions=CAPTIONS,
        figures=_figures(subject, looked_at, tables),
    )


def _figures(
    subject: Subject, chains: dict[str, Chains], tables: dict[str, pandas.DataFrame]
) -> dict[str, Drawing]:
    first = next(iter(chains))
    drawn = f"{subject.budget.chains} chains of {_kept(subject)} draws"
    used = np.argsort(chains[first].guide.std(0))[:SHOWN].tolist()
    return {
        "posterior_marginals": Drawing(
            _draw_marginals(chains[first], used),
            f"The posterior of the image {first} in the {len(used)} dimensions in which the guide "
            f"is narrowest, as densities: draws from the exact posterior by NUTS (area; {drawn}) "
            f"and of the guide (line); {subject.shown_where(1)}.",
        ),
        "posterior_moments": Drawing(
            _draw_moments(tables),
            f"Mean and standard deviation (sd) of the guide relative to the exact posterior's, a "
            f"point per dimension; {subject.shown_where(len(chains))}, {drawn} per image. For an "
            f"exact guide, all points are where the lines cross.",
        ),
    }


def _kept(subject: Subject) -> int:
    return max(4, subject.budget.steps // 2)


def _gradient(subject: Subject) -> Callable[[], object]:
    """One gradient of log p(x, z), for as many latents as there are chains."""
    rows = list(range(len(_chosen(subject)))) * subject.budget.chains
    x, inputs = subject.observed(subject.shown.take(rows))
    space = subject.space
    z = torch.zeros(len(rows), space.size).to(x)

    def work() -> list[float]:
        free = z.clone().requires_grad_()
        with subject.quietly(), torch.enable_grad():
            total = torch.stack(space.log_joint(free, x, **inputs)).sum()
            return torch.autograd.grad(total, free)[0].flatten().tolist()  # Waits for the result.

    return work


def _chosen(subject: Subject) -> Split:
    most = max(1, subject.budget.refined // SPARING)
    return subject.shown.take(range(min(len(subject.shown), most)))


def _chains(subject: Subject) -> dict[str, Chains]:
    budget, chosen = subject.budget, _chosen(subject)
    x, inputs = subject.observed(chosen)
    numbers: dict[str, Any] = {"num_chains": budget.chains, "tree_depth": budget.tree_depth}
    numbers |= {"warmup": max(1, budget.steps // 2), "num_samples": _kept(subject)}
    with subject.quietly(10):
        bar = partial(subject.bar, title="posteriors by NUTS")
        found = sample_posteriors(subject.space, x, inputs, bar=bar, **numbers)
    return dict(zip(map(str, chosen.names), found, strict=True))


def _difference(name: str, table: pandas.DataFrame) -> str:
    shift, ratio = table["shift"].abs(), table["ratio"]
    clear = (ratio - 1).abs() > 2 * table["ratio_error"]
    narrow, wide = int((clear & (ratio < 0.8)).sum()), int((clear & (ratio > 1.25)).sum())
    return (
        f"Image {name}: the guide's mean is off by {shift.median():.2f} posterior standard "
        f"deviations in the median dimension and by {shift.max():.1f} at most ({shift.idxmax()}). "
        f"Its standard deviation is {ratio.median():.2f} times the posterior's in the median "
        f"dimension ({narrow} of {len(table)} dimensions below 0.8 and {wide} above 1.25, counted "
        "if more than two standard errors from 1)."
    )


def _worst(chains: Chains) -> tuple[float, float]:
    """The largest R-hat and the smallest effective sample size of all dimensions."""
    return float(np.nanmax(chains.r_hat)), float(chains.effective_draws.min())


def _have_mixed(chains: Chains) -> bool:
    worst, effective = _worst(chains)
    return worst < UNMIXED and effective >= ENOUGH


def _mixing(name: str, chains: Chains) -> str:
    worst, effective = _worst(chains)
    diverged = sum(chains.divergences)
    said = (
        f"Image {name}: R-hat is {worst:.2f} at most, the effective sample size {effective:,.0f} "
        f"at least; {diverged} draws diverged"
    )
    if _have_mixed(chains):
        return f"{said}: the chains have mixed."
    return (
        f"{said}: the chains have not mixed (that needs an R-hat below {UNMIXED} and an "
        f"effective sample size of {ENOUGH}), so the moments of their draws are unreliable."
    )


def _left_out(subject: Subject, count: int) -> list[str]:
    if count == len(subject.shown):
        return []
    return [f"Chains take long, so they were run only for {subject.shown_where(count)}."]


def _diagnostics(chains: dict[str, Chains]) -> pandas.DataFrame:
    rows = {
        (name, chain): {"moved": moved, "divergences": divergences}
        for name, own in chains.items()
        for chain, (moved, divergences) in enumerate(zip(own.moved, own.divergences, strict=True))
    }
    return pandas.DataFrame(rows).T.rename_axis(["image", "chain"])


def _draw_marginals(chains: Chains, dimensions: list[int], bins: int = 20) -> Figure:
    """The densities of the chains' draws and of the guide's in some dimensions.

    Args:
        chains: of one image.
        dimensions: which ones, 6 or so at most.
        bins: of each histogram.
    """
    figure, places = panels(len(dimensions), min(3, len(dimensions)), 0.5, 1.9)
    for own, dim in zip(places, dimensions, strict=True):
        exact = Sample(chains.draws[..., dim].ravel(), "exact posterior (NUTS)", EXACT)
        densities(own, exact, Sample(chains.guide[:, dim], "guide", GUIDE), bins=bins, tails=0)
        name_axes(own, chains.names[dim])
    figure.supylabel("density", fontsize=TITLE)
    return legend(figure, places[0])


def _draw_moments(tables: Mapping[str, pandas.DataFrame]) -> Figure:
    """A point per dimension: the guide's shift and spread relative to the exact posterior.

    Args:
        tables: `Chains.table()` of each image, by its name.
    """
    figure, axes = panel(3.8)
    for number, (name, table) in enumerate(tables.items()):
        mark, color = "osd^v<>"[number % 7], CATEGORIES[number % len(CATEGORIES)]
        how: dict[str, Any] = {"color": color, "alpha": 0.7, "ms": 5, "label": shorten(name, 22)}
        axes.plot(table["shift"], table["ratio"], mark, **how)
    axes.axvline(0, color=INK, lw=1)
    axes.axhline(1, color=INK, lw=1)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    every = (0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 1, 1.2, 1.4, 2, 3, 5, 10)
    ticks = [tick for tick in every if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    across = "mean of the guide - mean of the posterior (posterior sd)"
    name_axes(axes, across, "sd of the guide / posterior sd")
    return legend(figure, axes, 3)
