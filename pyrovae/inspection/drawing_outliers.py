"""Figures of improbable images: pictures, log p(x), and anomaly scores."""

from __future__ import annotations

import torch

from pyrovae.data import Split
from pyrovae.evaluation.estimates import Estimate
from pyrovae.inspection.anomalies import SCORES
from pyrovae.inspection.outliers import Outliers
from pyrovae.inspection.plotting import Sample, densities, image_rows
from pyrovae.inspection.section import Drawing
from pyrovae.inspection.subject import Subject
from pyrovae.utils.lazy import pandas
from pyrovae.utils.palette import AGAINST, DATA, INK, SHOWN
from pyrovae.utils.plotting import LABEL, legend, name_axes, panel, panels

__all__ = ["draw_anomalies", "draw_log_evidence", "draw_pictures"]

#: Images per row.
ROW = 6
#: The title of the images with the largest residuals.
LARGEST = "Largest residuals"
#: Relative residuals that are white in pictures.
BRIGHT = 5


def draw_anomalies(subject: Subject, rare: Outliers, aurocs: pandas.DataFrame) -> Drawing:
    """Histograms of each score of both sets, and the AUROC."""
    figure, places = panels(len(aurocs), 2, 0.5, 2.3)
    for own, (name, row) in zip(places, aurocs.iterrows(), strict=True):
        both = [each[name].dropna().to_numpy() for each in (rare.own, rare.against)]
        first = Sample(both[0], subject.name, DATA)
        densities(own, first, Sample(both[1], subject.against_name, AGAINST), bins=24)
        words, _, unit = SCORES[str(name)]
        name_axes(own, f"{words} ({unit})", "density")
        found = Estimate(row.auroc, row.error)
        own.set_title(f"AUROC {found:.2f}", fontsize=LABEL, loc="left")
        own.locator_params(axis="x", nbins=5)
    return Drawing(
        legend(figure, places[0]),
        f"Anomaly scores of {len(rare.own)} images of the split {subject.name} (area) and "
        f"of {len(rare.against)} images of {subject.against_name} (line), with the AUROC ± its "
        f"standard error. Typicality: the distance of log p(x) from its mean over the "
        f"{rare.of}. Likelihood regret: the gain of the ELBO by a refinement of the guide for the "
        f"image. Complexity: the compressed length of the image. Largest residual: the largest of "
        f"the residuals around a pixel, relative to those of the {rare.of} there.",
    )


def draw_pictures(subject: Subject, rare: Outliers) -> Drawing:
    """The images with the smallest and the largest log p(x), and with the largest residuals."""
    shown, own = rare.shown, rare.own
    tables = {"Least probable": own.head(ROW), "Most probable": own.tail(ROW)}
    tables |= {"Shown": shown.head(ROW)} if len(shown) else {}
    tables[LARGEST] = (shown if len(shown) else own).nlargest(ROW, "residual")
    rows = {
        title: torch.from_numpy(_source(subject, rare, own).take(own.row.to_numpy()).images) / 255
        for title, own in tables.items()
    }
    rows["Where they are"] = _maps(subject, rare, tables[LARGEST])
    notes = {
        title: [f"{own.log_evidence:,.0f}\n{own.rank:.0%}" for own in table.itertuples()]
        for title, table in tables.items()
    }
    notes[LARGEST] = [f"{value:.1f}" for value in tables[LARGEST].residual]
    return Drawing(
        image_rows(rows, notes),
        "The images with the smallest and the largest log p(x), and the shown images"
        f"{' with the smallest' if len(shown) > ROW else ''}; below each its log p(x) in "
        f"nats (a lower bound), and the share of the {rare.of} that are less probable; "
        f"{subject.where(len(rare.split))}. Last rows: the {'shown ' if len(shown) else ''}images "
        f"with the largest relative residual, its size, and the map of relative residuals: the "
        f"root mean square of the residuals around each pixel, divided by that of the {rare.of} "
        f"there (black: at most 1, white: at least {BRIGHT}).",
    )


def _source(subject: Subject, rare: Outliers, table: pandas.DataFrame) -> Split:
    """What the column `row` of a table of shown images, or of the split, counts."""
    return subject.shown if (table.split == "shown").all() else rare.split


def _maps(subject: Subject, rare: Outliers, table: pandas.DataFrame) -> torch.Tensor:
    """Maps of relative residuals as pictures with the channels of the images."""
    source = _source(subject, rare, table)
    maps = torch.from_numpy(rare.residuals.maps(source, table.row.tolist())).float()
    grey = ((maps - 1) / (BRIGHT - 1)).clamp(0, 1)
    return grey[:, None].expand(-1, source.images.shape[1], -1, -1)


def draw_log_evidence(subject: Subject, rare: Outliers) -> Drawing:
    """Log p(x) of the split, of the reference images, and of the shown images."""
    figure, own = panel(2.9)
    table = rare.own
    split = Sample(table.log_evidence.to_numpy(), str(table.split.iloc[0]), DATA)
    bins = max(10, min(40, len(table) // 5))
    samples, shown = [split, Sample(rare.reference, rare.of, INK, "--")], rare.shown
    named = "values of the shown images (vertical lines)"
    if len(shown) > ROW:
        samples.append(Sample(shown.log_evidence.to_numpy(), "shown", SHOWN))
        named = f"{len(shown):,} shown images (line)"
    densities(own, *samples, bins=bins)
    for place, value in enumerate(shown.log_evidence if len(shown) <= ROW else ()):
        own.axvline(value, color=SHOWN, lw=1.5, label="" if place else "shown")
    name_axes(own, "log p(x) (nats)", "density")
    return Drawing(
        legend(figure, own),
        f"Densities of log p(x) in nats, estimated by {rare.draws} importance draws per "
        f"image: of the split (area), of {len(rare.reference):,} {rare.of} (dashed), and the "
        f"{named}; {subject.where(len(rare.split))}.",
    )
