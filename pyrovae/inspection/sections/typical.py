"""Is the likelihood's noise calibrated, and which images are improbable?"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.evidence import UNRELIABLE
from pyrovae.inspection import typical
from pyrovae.inspection.anomalies import SCORES
from pyrovae.inspection.dispersion import SCORED, noise_size
from pyrovae.inspection.drawing_outliers import (
    ROW,
    draw_anomalies,
    draw_log_evidence,
    draw_pictures,
)
from pyrovae.inspection.outliers import TRAINING, Outliers, find_outliers
from pyrovae.inspection.plotting import Sample, densities
from pyrovae.inspection.scales import scale_of
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas
from pyrovae.utils.palette import DATA, GUIDE, INK, PRIOR
from pyrovae.utils.plotting import legend, name_axes, panel, panels
from pyrovae.utils.text import chance

__all__ = ["section"]

PLACE = 130

#: Images that are replicated.
REPLICATED = 200
LEVEL = 0.01
#: Smaller differences of a statistic are not reported, for any p-value, in standard deviations.
SMALL = 0.2
#: What the shape of the histogram of ranks shows: its middle and its ends against its shoulders.
SHAPES = {
    (1, 1): "high in the middle and at both ends (a W): most residuals are smaller than the "
    "noise, and a few are far larger, as where pixels or images differ in noise",
    (1, 0): "high in the middle: most residuals are smaller than the noise",
    (1, -1): "high in the middle (a hump): residuals are smaller than the noise",
    (0, 1): "high at both ends: more residuals than expected are far larger than the noise",
    (-1, 1): "high at both ends (a U): residuals are larger than the noise",
    (0, -1): "low at both ends: fewer residuals than expected are far larger than the noise",
    (-1, 0): "low in the middle: few residuals are small compared with the noise",
    (-1, -1): "low in the middle and at both ends (an M): few residuals are small against the "
    "noise, and few are far larger",
    (0, 0): "of the same height in the middle, at the ends and between, within 5% of a flat one",
}
#: A p-value that is counted as small.
SMALL_P = 0.05
#: What is said of ranks among training images.
FEW = (
    "There are too few held-out images to rank others among. Training images are more probable "
    "than new ones, so the p-values are too small."
)

#: What each table shows.
CAPTIONS = {
    "typical_shown": "Log p(x) and rank of the shown images, in nats",
    "typical_outliers": "Log p(x) and rank per image, in nats",
    "anomaly_aurocs": "AUROC per anomaly score",
    "predictive_checks": "Statistics of images and of their replicates",
    "predictive_images": "Statistics per image, observed and replicated",
    "pixel_calibration": "Share of pixels per bin of ranks",
    "dispersion": "Squared residuals and ranks of pixels",
}


def section(subject: Subject) -> Section:
    """The size and shape of the noise, predictive checks, improbable images, anomaly scores.

    With fewer than 20 reference images there is no search for improbable images, and with fewer
    than two groups of images there are no predictive checks.

    Args:
        subject: what is inspected.
    """
    step = max(1, len(subject.split) // SCORED)
    whole = subject.programs, subject.split, subject.engine
    noise, gain = noise_size(*whole, seed=subject.seed, step=step)
    title = "How large is the noise, and which images are improbable?"
    answer = Section(title, [], captions=CAPTIONS)
    reasons = _add_outliers(answer, subject)
    answer.says.extend([_noise_said(noise), *_gain_said(gain)])
    ranks = _add_checks(answer, subject)
    answer.says.extend([*reasons, *subject.independent.thinned_said(subject)])
    answer.tables["dispersion"] = _numbers(noise, ranks, gain)
    return answer


def _add_checks(answer: Section, subject: Subject) -> dict[str, Estimate]:
    """Adds the predictive checks of independent images; returns the moments of ranks of pixels."""
    images = subject.independent.split.spread(REPLICATED)
    if len(images) < 2:
        what = "images" if subject.split.groups is None else "groups of images"
        answer.says.append(f"There are no predictive checks, which need two {what} or more.")
        return {}
    statistics = typical.own_statistics(subject.programs, images, seed=subject.seed)
    how: dict[str, Any] = {"statistics": statistics, "seed": subject.seed}
    found = typical.replicate(subject.programs, images, subject.engine, **how)
    prior = typical.prior_statistics(subject, subject.budget.draws, statistics)
    checks, pixels = typical.predictive_checks(found, prior), typical.pixel_calibration(found)
    ranks = typical.rank_moments(found)
    answer.says.extend([_ranks_said(found, ranks), *_checks_said(checks)])
    answer.tables.update(predictive_checks=checks, predictive_images=found.statistics)
    answer.tables["pixel_calibration"] = pixels
    answer.figures["pixel_calibration"] = _ranks(subject, found, pixels)
    answer.figures["predictive_checks"] = _checks(subject, found, prior)
    return ranks


def _add_outliers(answer: Section, subject: Subject) -> list[str]:
    """Adds the improbable images, or returns a sentence on why they were not looked for."""
    try:
        rare = find_outliers(subject)
    except InputError as reason:
        return [f"There was no search for improbable images: {reason}."]
    answer.says.extend(_outliers_said(rare))
    tables = {"typical_shown": rare.shown, "typical_outliers": rare.table}
    for name, table in tables.items():
        answer.tables[name] = table.drop(columns=["row", "group"]).reset_index(drop=True)
    answer.says.extend(_regret_said(rare))
    if subject.against is not None:
        aurocs = rare.aurocs()
        answer.says.insert(0, _aurocs_said(subject, rare, aurocs))
        answer.tables["anomaly_aurocs"] = aurocs
        answer.figures["anomaly_scores"] = draw_anomalies(subject, rare, aurocs)
    answer.figures["typical_pictures"] = draw_pictures(subject, rare)
    answer.figures["typical_log_evidence"] = draw_log_evidence(subject, rare)
    return []


def _outliers_said(rare: Outliers) -> list[str]:
    table = rare.own
    low, count, least = int((table["rank"] == 0).sum()), len(rare.reference), table.iloc[0]
    said = [
        f"Half of the images of the split are less probable than {1 - table['rank'].median():.0%} "
        f"of the {rare.of} (50% if both have one distribution); mean log p(x) is at least "
        f"{_mean(table.log_evidence, table.group)} nats for the split and "
        f"{_mean(rare.reference, rare.reference_groups)} nats "
        f"for the {rare.of} (lower bounds by {rare.draws} importance draws per image).",
        f"{low} of {len(table)} images are less probable than all {count} {rare.of} "
        f"({len(table) / (count + 1):.1f} expected); the least probable of them is {least.image}, "
        f"with log p(x) of at least {least.log_evidence:,.1f} nats.",
        _reliability(rare),
        *([FEW] if rare.of == TRAINING else []),
    ]
    return [*_many_said(rare), *said] + [
        f"The image {own.image} has a log p(x) of at least {own.log_evidence:,.1f} nats (k-hat "
        f"{own.k_hat:.2f}), more than {own.rank:.0%} of the {rare.of} ({chance(own.p_value)}). "
        f"Its largest residual is {own.residual:.1f} times the usual size, around row "
        f"{own.residual_row} and column {own.residual_column} ({chance(own.residual_p_value)})."
        for own in rare.shown.head(ROW).itertuples()
    ]


def _many_said(rare: Outliers) -> list[str]:
    """What many shown images have in common: small p-values, and drift."""
    shown, count = rare.shown, len(rare.reference)
    if len(shown) <= ROW:
        return []
    drift = {name: chance(value) for name, value in rare.drift().items()}
    small, local = (int((own <= SMALL_P).sum()) for own in (shown.p_value, shown.residual_p_value))
    return [
        f"{small} of {len(shown):,} shown images have a p-value of log p(x) of {SMALL_P} or less, "
        f"and {local} have one of their largest residual, which shows faults of few pixels "
        f"({SMALL_P * len(shown):,.1f} expected of images like the {rare.of}). "
        f"With {count} {rare.of} no p-value is below {1 / (count + 1):.2g}. The table of shown "
        f"images has all p-values; the {ROW} least probable images are named below.",
        f"Kolmogorov-Smirnov tests of all shown images against the {rare.of} show whether images "
        f"have changed as a whole: {drift['log_evidence']} for log p(x), and {drift['residual']} "
        "for the largest residual.",
    ]


def _regret_said(rare: Outliers) -> list[str]:
    found = rare.shown.regret.dropna()
    if not len(found):
        return ["Likelihood regret was not measured: the guide cannot be refined."]
    return [
        f"A short refinement of the guide for each image raises the ELBO of {len(found)} shown "
        f"images by {found.mean():,.1f} nats on average (likelihood regret)."
    ]


def _aurocs_said(subject: Subject, rare: Outliers, aurocs: pandas.DataFrame) -> str:
    listed = [
        f"{SCORES[name][0]} {Estimate(row.auroc, row.error):.2f}"
        for name, row in aurocs.iterrows()
    ]
    return (
        f"AUROC of {len(rare.against)} images of {subject.against_name} against {len(rare.own)} "
        f"images of the split {subject.name}: {', '.join(listed)} (1: the score separates the two "
        "sets perfectly; 0.5: not at all; below 0.5: the former look less anomalous "
        "than the split)."
    )


def _mean(values: pandas.Series | np.ndarray, groups: np.ndarray | None = None) -> str:
    return f"{Estimate.of(np.asarray(values), groups):,.1f}"


def _reliability(rare: Outliers) -> str:
    sides = rare.own["k_hat"].to_numpy(), rare.reference_k_hat
    own, others = (int((~(k_hat <= UNRELIABLE)).sum()) for k_hat in sides)
    count, among = len(rare.own), len(rare.reference)
    if not own + others:
        return f"k-hat is {UNRELIABLE} at most for all {count + among} images: ranks are reliable."
    return (
        f"k-hat is above {UNRELIABLE} for {own} of {count} images, and for {others} of the "
        f"{among} {rare.of}: for these, a low rank may be due to the guide and not to the image."
    )


def _noise_said(noise: Estimate) -> str:
    ratio = max(0.0, noise.value) ** 0.5
    return (
        f"Squared residuals are {noise:.3f} times the variance that the likelihood "
        f"expects: the root mean square of residuals is {ratio:.2f} times the scale of the noise, "
        f"over all pixels and images."
    )


def _ranks_said(found: typical.Replication, ranks: dict[str, Estimate]) -> str:
    p, numbers = typical.uniformity(found), _heights(ranks)
    if not p < LEVEL:  # Also if there are too few images.
        test = chance(p) if p == p else "too few images for a test"
        return (
            f"The ranks of pixels among replicates are uniform as far as {len(found.shares)} "
            f"images show ({test}; {numbers})."
        )
    shape = SHAPES[typical.rank_shape(found)]
    return (
        f"The ranks of pixels among replicates are not uniform ({chance(p)}). Their histogram is "
        f"{shape} ({numbers})."
    )


def _heights(ranks: dict[str, Estimate]) -> str:
    named = {"middle": "in the middle fifth", "shoulders": "in the shoulders"}
    named["ends"] = "in the outer tenth"
    parts = [f"{ranks[name].value:.2f} {where}" for name, where in named.items()]
    return (
        f"height relative to a flat histogram: {', '.join(parts)}; mean rank "
        f"{ranks['mean'].value:.3f}, and 0.5 if pixels are as bright as predicted"
    )


def _gain_said(gain: Estimate | None) -> list[str]:
    if gain is None:
        return []
    return [
        "Normal noise with one scale per pixel position, in place of the likelihood's, would "
        f"change log p(x | z) by {gain:+,.0f} nats per image "
        "(fitted to half of the images, scored on the others)."
    ]


def _checks_said(checks: pandas.DataFrame) -> list[str]:
    off = checks[(checks.p_value < LEVEL / len(checks)) & (checks.difference.abs() > SMALL)]
    if not len(off):
        return [
            f"Replicates with the likelihood's noise agree with their images in "
            f"{', '.join(checks.index)} within {SMALL} standard deviations over images."
        ]
    differences = [
        f"{name} ({row.replicated:.3g} against {row.observed:.3g}, {row.difference:+.1f} standard "
        f"deviations over images)"
        for name, row in off.iterrows()
    ]
    return [
        "Replicates with the likelihood's noise differ from their images in "
        f"{', '.join(differences)}."
    ]


def _numbers(
    noise: Estimate, ranks: dict[str, Estimate], gain: Estimate | None
) -> pandas.DataFrame:
    named = {"dispersion": noise} | {f"rank_{name}": own for name, own in ranks.items()}
    rows = [(own.value, own.error, 0.5 if n == "rank_mean" else 1) for n, own in named.items()]
    if gain is not None:
        rows.append((gain.value, gain.error, 0))
        named["pixel_gain"] = gain
    table = pandas.DataFrame(rows, list(named), ["value", "error", "expected"])
    return table.rename_axis("number").astype({"expected": float})


def _scale_said(subject: Subject) -> str:
    """The scale of the observations in words."""
    images = subject.independent.split.spread(REPLICATED).images
    low, high = scale_of(subject.programs.likelihood, images, seed=subject.seed)
    return f"on the likelihood's scale, from {low:.3g} to {high:.3g}"


def _ranks(subject: Subject, found: typical.Replication, table: pandas.DataFrame) -> Drawing:
    """The ranks of pixels among replicates, from `pixel_calibration`."""
    figure, own = panel(2.9)
    how = {"align": "edge", "color": DATA, "alpha": 0.5, "ecolor": INK, "yerr": 2 * table.error}
    width = table.high - table.low
    own.bar(table.low, table.share, width, label="pixels of images", **how)
    own.axhline(table.expected.iloc[0], color=INK, lw=1, ls="--", label="uniform")
    own.set_xlim(0, 1)
    across = "rank of a pixel among its replicates (0: darkest, 1: brightest)"
    name_axes(own, across, "share of pixels")
    return Drawing(
        legend(figure, own),
        f"The rank of each pixel among {typical.REPLICATES} draws of the likelihood at one "
        f"draw of z; error bars: ± 2 standard errors over images. Flat: residuals are as the "
        f"likelihood expects; a hump: they are smaller than the noise; a U: larger; a W: "
        f"pixels or images differ in noise; {subject.where(len(found.shares))}.",
    )


def _checks(subject: Subject, found: typical.Replication, prior: pandas.DataFrame) -> Drawing:
    """Statistics of images, of their replicates, and of images drawn from the model."""
    figure, places = panels(len(prior.columns), 2, 0.5, 2.3)
    for own, name in zip(places, prior, strict=True):
        values = found.statistics.xs(name, level="statistic")
        densities(
            own,
            Sample(values.observed.to_numpy(), "images", DATA),
            Sample(values.replicated.to_numpy(), "replicates of the images", GUIDE, "--"),
            Sample(prior[name].to_numpy(), "images drawn from the model", PRIOR),
            bins=24,
        )
        name_axes(own, name, "density")
        own.locator_params(axis="x", nbins=5)
    return Drawing(
        legend(figure, places[0]),
        f"Densities of statistics of the pixels, {_scale_said(subject)}, over the images "
        f"(area), over their replicates (dashed; the mean of {typical.REPLICATES} per image), "
        f"and over {len(prior):,} images drawn from the model (solid line), both with the "
        f"likelihood's noise; {subject.where(len(found.shares))}.",
    )
