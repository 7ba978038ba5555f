"""How sure is it, and how typical is this image?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.evidence import UNRELIABLE
from pyrovae.inspection.dispersion import dispersion
from pyrovae.inspection.figures import typical as figures
from pyrovae.inspection.figures.panels import image_rows
from pyrovae.inspection.outliers import Outliers, find_outliers
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject
from pyrovae.inspection.typical import (
    REPLICATES,
    Replication,
    pixel_calibration,
    predictive_checks,
    prior_statistics,
    rank_moments,
    replicate,
)
from pyrovae.utils.errors import InputError

if TYPE_CHECKING:
    import pandas

__all__ = ["section"]

PLACE = 130

#: Images that replicates are drawn of.
REPLICATED = 200
SHOWN = 6
LEVEL = 0.01
#: A statistic that is off by less does not matter, whatever its p-value, in standard deviations.
SMALL = 0.2
#: The share of images whose log p(x) need not be trusted.
FEW = 0.1


def section(subject: Subject) -> Section:
    """Whether the likelihood's noise is right, and which images are improbable.

    Where there are fewer than 20 images to compare with, outliers are not looked for.

    Args:
        subject: what is inspected.

    Raises:
        InputError: if there are fewer than two images.
    """
    images = subject.split.spread(REPLICATED)
    noise = dispersion(subject.programs, subject.split, subject.engine, seed=subject.seed)
    found = replicate(subject.programs, images, subject.engine, seed=subject.seed)
    prior = prior_statistics(subject, subject.effort.draws)
    checks, pixels = predictive_checks(found, prior), pixel_calibration(found)
    rare, reason = _outliers(subject)
    ranks = rank_moments(found)
    return Section(
        "How sure is it, and how typical is this image?",
        [*_outliers_said(rare), *_noise_said(noise, ranks), *_checks_said(checks), *reason],
        _noise_advice(noise, ranks, checks, subject.programs.likelihood.has_scale)
        + _outlier_advice(rare),
        {
            **_outlier_tables(rare),
            "predictive_checks": checks,
            "predictive_images": found.statistics,
            "pixel_calibration": pixels,
            "dispersion": _numbers(noise, ranks),
        },
        _outlier_figures(subject, rare) | _figures(subject, found, prior, pixels),
    )


def _outliers(subject: Subject) -> tuple[Outliers | None, list[str]]:
    """Improbable images, or a sentence on why they were not looked for."""
    try:
        return find_outliers(subject), []
    except InputError as reason:
        return None, [f"Improbable images were not looked for: {reason}."]


def _outlier_tables(rare: Outliers | None) -> dict[str, pandas.DataFrame]:
    if rare is None:
        return {}
    shown = rare.table[rare.table.split == "shown"].reset_index(drop=True)
    return {"typical_shown": shown, "typical_outliers": rare.table}


def _outliers_said(rare: Outliers | None) -> list[str]:
    if rare is None:
        return []
    table = rare.table[rare.table.split != "shown"]
    low, count, least = int((table["rank"] == 0).sum()), len(rare.reference), table.iloc[0]
    said = [
        f"Half of the images of the split are less probable than {1 - table['rank'].median():.0%} "
        f"of the {rare.of} (50% if both are alike); mean log p(x) is at "
        f"least {_mean(table.log_evidence)} nats, of the {rare.of} at least "
        f"{_mean(rare.reference)} (by {rare.draws} importance draws an image).",
        f"{low} of {len(table)} images are less probable than each of the {count} {rare.of}, "
        f"where {len(table) / (count + 1):.1f} would be expected; the least probable is "
        f"{least.image}, of at least {least.log_evidence:,.1f} nats (p = {least.p_value:.2g}).",
        _reliability(rare),
    ]
    for own in rare.table[rare.table.split == "shown"].itertuples():
        said.append(
            f"The image {own.image} has a log p(x) of at least {own.log_evidence:,.1f} nats "
            f"(k-hat {own.k_hat:.2f}): by that more probable than {own.rank:.0%} of the {rare.of} "
            f"(p = {own.p_value:.2g})."
        )
    return said


def _mean(values: pandas.Series | np.ndarray) -> str:
    found = Estimate.of(np.asarray(values))
    return f"{found.value:,.1f} ± {found.error:,.1f}"


def _unreliable(rare: Outliers) -> tuple[int, int]:
    """How many images have a bad k-hat: of the split's, and of those they are ranked among."""
    table = rare.table[rare.table.split != "shown"]
    own, others = (~(k <= UNRELIABLE) for k in (table["k_hat"], rare.reference_k_hat))
    return int(own.sum()), int(others.sum())


def _reliability(rare: Outliers) -> str:
    own, others = _unreliable(rare)
    count, among = int((rare.table.split != "shown").sum()), len(rare.reference)
    if not own + others:
        return (
            f"k-hat is {UNRELIABLE} at most for all {count + among} images: ranks can be trusted."
        )
    return (
        f"k-hat is above {UNRELIABLE} for {own} of {count} images, and for {others} of the "
        f"{among} {rare.of}: ranks mix how typical an image is with how well the guide knows it."
    )


def _noise_said(noise: Estimate, ranks: dict[str, Estimate]) -> list[str]:
    spread, ends = ranks["spread"], ranks["ends"]
    width = "as wide as" if abs(noise.value - 1) < 0.1 else "too narrow for"
    width = "too wide for" if noise.value <= 0.9 else width
    shape = "flat: the likelihood is calibrated pixel by pixel"
    if spread.value < 0.95:
        shape = "humped: for most pixels the likelihood is too wide"
    if spread.value > 1.05:
        shape = "U-shaped: the likelihood is too narrow"
    return [
        f"Squared residuals are {noise.value:.2f} times the likelihood's variance (standard error "
        f"{noise.error or 0:.2g}; 1 is right): its noise is {width} what decoding leaves.",
        f"The ranks of pixels among replicates are {shape} (spread {spread.value:.2f}, 1 is "
        f"right; {ends.value:.2f} times as many pixels as expected in the outer tenth; mean rank "
        f"{ranks['mean'].value:.3f}, 0.5 is right).",
    ]


def _checks_said(checks: pandas.DataFrame) -> list[str]:
    off = checks[(checks.p_value < LEVEL / len(checks)) & (checks.difference.abs() > SMALL)]
    if not len(off):
        return [
            f"Replicates with the likelihood's noise agree with their images in "
            f"{', '.join(checks.index)} to {SMALL} standard deviations over images."
        ]
    told = [
        f"{name} ({row.replicated:.3g} against {row.observed:.3g}, {row.difference:+.1f} standard "
        f"deviations over images)"
        for name, row in off.iterrows()
    ]
    return [
        f"Replicates with the likelihood's noise differ from their images in {', '.join(told)}."
    ]


def _noise_advice(
    noise: Estimate, ranks: dict[str, Estimate], checks: pandas.DataFrame, has_scale: bool
) -> list[str]:
    advice = []
    if not has_scale and noise.value > 1.25:
        advice.append(
            "The decoder's probabilities are too sure, as of images that were learned by heart: "
            "train on more of them, or stop earlier (--trainer.patience)."
        )
    if has_scale and noise.value > 1.25:
        advice.append(
            "The likelihood's noise is too small, so that the posterior is too sure: learn its "
            "scale (SharedScaleNormal, PixelwiseNormal) or start it larger. A learned one is too "
            "small until training has caught up, and where training images are fitted better than "
            "these: then train on more of them, or stop earlier (--trainer.patience)."
        )
    if has_scale and noise.value < 0.8:
        advice.append(
            "The likelihood's noise is too large, so that detail which could be encoded is left "
            "to noise: learn its scale (SharedScaleNormal, OptimalScaleNormal), or train longer."
        )
    if has_scale and ranks["spread"].value < 0.9 and ranks["ends"].value > 0.6:
        advice.append(
            "One scale does not fit all pixels: most residuals are smaller than the noise, some "
            "are much larger. Try PixelwiseNormal, StudentT or DiscretizedLogisticMixture."
        )
    if checks.difference.get("sharpness", 0.0) > 1:
        advice.append(
            "The likelihood's noise is independent between pixels, and images are smoother: "
            "show the likelihood's mean rather than draws of x."
        )
    return advice


def _outlier_advice(rare: Outliers | None) -> list[str]:
    if rare is None:
        return []
    table = rare.table[rare.table.split != "shown"]
    if not (table["rank"].median() < 0.3 and rare.of == "training images"):
        return []
    if sum(_unreliable(rare)) > FEW * (len(table) + len(rare.reference)):
        return [
            "Other images seem less probable than those that were trained on, but k-hat is too "
            "large to tell why: the networks may have learned these by heart, or the guide may be "
            "worse for images that are new (its amortisation gap). Compare the gaps of both "
            "before you train anew."
        ]
    return [
        "Other images are less probable than those that were trained on: the networks have "
        "learned these by heart. Try fewer steps, weight decay, smaller networks or more data."
    ]


def _numbers(noise: Estimate, ranks: dict[str, Estimate]) -> pandas.DataFrame:
    import pandas

    named = {"dispersion": noise} | {f"rank_{name}": number for name, number in ranks.items()}
    rows = {name: (number.value, number.error) for name, number in named.items()}
    expected = {"rank_mean": 0.5}
    table = pandas.DataFrame.from_dict(rows, orient="index", columns=["value", "error"])
    table["expected"] = [expected.get(name, 1.0) for name in rows]
    return table.rename_axis("number")


def _figures(
    subject: Subject,
    found: Replication,
    prior: pandas.DataFrame,
    pixels: pandas.DataFrame,
) -> dict[str, Drawing]:
    where = subject.where(len(found.shares))
    return {
        "pixel_calibration": Drawing(
            figures.calibration(pixels),
            f"Where each pixel lies among {REPLICATES} draws of the likelihood at one draw of z; "
            f"bars of two standard errors over images. Flat is right, a hump too wide, a U too "
            f"narrow; {where}.",
        ),
        "predictive_checks": Drawing(
            figures.checks(found.statistics, prior),
            f"Statistics of pixels in [0, 1] as densities over images: of the images, the mean of "
            f"each one's {REPLICATES} replicates, and {len(prior):,} images drawn from the model, "
            f"all with the likelihood's noise; {where}.",
        ),
    }


def _outlier_figures(subject: Subject, rare: Outliers | None) -> dict[str, Drawing]:
    if rare is None:
        return {}
    return {
        "typical_pictures": _pictures(subject, rare),
        "typical_log_evidence": Drawing(
            figures.probabilities(rare.table, rare.reference, rare.of),
            f"log p(x) in nats, by importance sampling of {rare.draws} draws an image: of the "
            f"split (area) and of {len(rare.reference):,} {rare.of} (line) as densities, and of "
            f"the shown images (grey); {subject.where(len(rare.split))}.",
        ),
    }


def _pictures(subject: Subject, rare: Outliers) -> Drawing:
    rows, notes = {}, {}
    own = rare.table[rare.table.split != "shown"]
    shown = rare.table[rare.table.split == "shown"]
    for title, table, split in (
        ("Least probable", own.head(SHOWN), rare.split),
        ("Most probable", own.tail(SHOWN), rare.split),
        ("Shown", shown.head(SHOWN), subject.shown),
    ):
        if len(table):
            images = split.take(table.place.to_numpy()).images
            rows[title] = torch.from_numpy(images) / 255
            both = zip(table.log_evidence, table["rank"], strict=True)
            notes[title] = [f"{value:,.0f}\n{rank:.0%}" for value, rank in both]
    return Drawing(
        image_rows(rows, notes),
        f"The images that the model finds least and most probable, and the shown ones; below each "
        f"log p(x) in nats (a lower bound), and the share of the {rare.of} that are less "
        f"probable; {subject.where(len(rare.split))}.",
    )
