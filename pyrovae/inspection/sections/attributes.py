"""Which attributes can be predicted from the posterior means, and edited along them?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pyrovae.inspection.attributes import attribute_table, known_directions
from pyrovae.inspection.edits import REAL, edit_effects, edited
from pyrovae.inspection.plotting import draw_sheet, heat_map, picture
from pyrovae.inspection.probing import FEWEST, at_chance, enough, gains, known_probes
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.sections.traversals import shown_means
from pyrovae.inspection.subject import Subject
from pyrovae.utils.grids import as_pictures
from pyrovae.utils.lazy import Figure, pandas
from pyrovae.utils.palette import DIVERGING, GRID, GUIDE, INK
from pyrovae.utils.plotting import LABEL, canvas, name_axes, panel

__all__ = ["section"]

PLACE = 100

#: Attributes, and images, whose edits are drawn; attributes that a map has room for.
ROWS, IMAGES, ROOM = 6, 2, 20
CAPTIONS = {
    "probes": "Score of a linear probe per attribute",
    "directions": "Direction of each attribute in the latent space",
    "edits": "Change of each attribute's prediction per edit, as a share of its range",
}
#: How far an edit goes, in ranges of the attribute.
STRENGTHS = (-1.0, -0.5, 0.0, 0.5, 1.0)
#: The score of a probe whose codes hold no information, and the name of the score.
CHANCE = {"AUC": (0.5, "area under the ROC curve"), "R2": (0.0, "R²")}
#: The attributes of each score.
NOUNS = {"AUC": "attribute of two values", "R2": "attribute of more than two values"}


def section(subject: Subject) -> Section:
    """Scores of linear probes, directions of attributes, and effects of edits along them."""
    table = attribute_table(subject.split, subject.known_attributes)
    codes = subject.encoded.loc[:, subject.columns]
    scores, left_out = known_probes(codes, table, seed=subject.seed, groups=subject.split.groups)
    scores = scores.sort_values("value", ascending=False)
    arrows = known_directions(codes, table[scores.index])
    arrows.columns = [subject.space.names[column] for column in subject.columns]
    effects, figures, said = _edit_part(subject, scores, arrows)
    tables = {"probes": scores, "directions": arrows} | effects
    return Section(
        "Which attributes can be predicted and edited?",
        [*_says(scores, left_out), *said],
        tables={name: own.reset_index() for name, own in tables.items()},
        figures={"probes": _probes_drawing(subject, scores)} | figures,
        captions=CAPTIONS,
    )


def _where(subject: Subject, scores: pandas.DataFrame) -> str:
    """The images of which attributes are known, in words."""
    counts = scores["images"]
    if counts.min() == len(subject.split):
        return subject.where()
    span = " to ".join(f"{count:,}" for count in dict.fromkeys((counts.min(), counts.max())))
    return f"images of the split {subject.name} whose attribute is known (n = {span})"


def _probes_drawing(subject: Subject, scores: pandas.DataFrame) -> Drawing:
    folds, apart = "Five folds", ""
    if subject.split.groups is not None:
        folds, apart = "Up to five folds", ", with all images of a group in one fold"
    return Drawing(
        _draw_probes(scores),
        f"Score per attribute: how well a linear function of the posterior means predicts it "
        f"for images that the function was not fitted to. {folds} of "
        f"{_where(subject, scores)}{apart}; bars show ± 2 standard errors.",
    )


def _edit_part(
    subject: Subject, scores: pandas.DataFrame, arrows: pandas.DataFrame
) -> tuple[dict[str, pandas.DataFrame], dict[str, Drawing], list[str]]:
    """The table, the figures and the sentences on edits; none for too few images.

    One regression predicts all attributes of an edited image, so it uses only images with all
    attributes known.
    """
    whole = subject.informed()
    table = attribute_table(whole.split, subject.known_attributes)
    names = [name for name in enough(table, whole.split.groups)[0] if name in scores.index]
    if len(table) < FEWEST or not names:
        known = f"all attributes are known for only {len(table)} images"
        return {}, {}, [f"Edits are not measured: {known}."]
    scores, arrows, table = scores.loc[names], arrows.loc[names], table[names]
    effects = edit_effects(whole, arrows, table)
    ranked = list(gains(scores).index)
    missed = set(at_chance(scores).index)
    best = [name for name in ranked if name not in missed][:ROWS] or ranked[:1]
    figures = _edits(whole, arrows.loc[best], table, _where(subject, scores.loc[best]))
    figures["edit_effects"] = _effects_drawing(whole, scores, effects)
    said = [_edits_said(effects, best)]
    if len(table) != len(subject.split):
        said.append(
            f"Edits are measured with the {len(table):,} of {len(subject.split):,} images whose "
            "attributes are all known; attributes that are unknown for most images do not count."
        )
    return {"edits": effects}, figures, said


def _effects_drawing(
    subject: Subject, scores: pandas.DataFrame, effects: pandas.DataFrame
) -> Drawing:
    shown = gains(scores).index[:ROOM]
    chosen = f"the {len(shown)} attributes with the best scores; " if len(shown) > 1 else ""
    return Drawing(
        _draw_edit_effects(effects.loc[shown, shown]),
        "Effect of each edit on each attribute. A row edits one attribute from half its range "
        "below to half its range above. A column is the change that a linear probe predicts for "
        "the re-encoded image, as a share of that attribute's range. A perfect edit has 1 on the "
        "diagonal and 0 elsewhere, unless attributes are correlated in the data. Mean of "
        f"{subject.shown_where()}; {chosen}probes fitted to {subject.where()}.",
    )


def _edits(
    subject: Subject, arrows: pandas.DataFrame, table: pandas.DataFrame, where: str
) -> dict[str, Drawing]:
    """A figure per image: the image, and a row of edits per attribute next to it."""
    count = min(IMAGES, len(subject.shown))
    z, inputs = shown_means(subject)
    own = {name: value[:count] for name, value in inputs.items()}
    with subject.quietly(4):
        rows = edited(subject, z[:count], arrows, table, STRENGTHS, **own).cpu()
    images = torch.from_numpy(np.array(subject.shown.images[:count])).to(rows) / 255
    return {
        f"edits_{row}": Drawing(
            _draw_edits(images[row], rows[:, :, row], list(arrows.index)),
            f"Edits of attributes of the image {name}, shown on the left. Each row moves its "
            f"posterior mean along the direction of one attribute, and decodes the result. A step "
            f"of 1 leads from one of two values to the other, or from the 5% to the 95% "
            f"quantile. Directions are fitted to {where}; the attributes with the best "
            f"scores are shown.",
        )
        for row, name in enumerate(subject.shown.names[:count])
    }


def _says(scores: pandas.DataFrame, left_out: dict[str, str]) -> list[str]:
    kinds = [(kind, scores[scores["score"] == kind]) for kind in CHANCE]
    said = [words for kind, rows in kinds if len(rows) for words in _kind_says(kind, rows)]
    if left_out:
        listed = "; ".join(f"{name} ({reason})" for name, reason in left_out.items())
        said.append(f"Left out: {listed}.")
    return said


def _kind_says(kind: str, rows: pandas.DataFrame) -> list[str]:
    """The sentences on the attributes of one score, the best first."""
    missed = at_chance(rows)
    shown = rows.drop(missed.index) if len(missed) < len(rows) else rows
    best = (
        f"{CHANCE[kind][1]} on unseen images is {shown['value'].iloc[0]:.3f} ± "
        f"{shown['error'].iloc[0]:.2g}"
    )
    if len(missed) == len(rows):
        return [
            f"No {NOUNS[kind]} is predicted better than chance from the posterior means: the "
            f"highest {best}, of {rows.index[0]}."
        ]
    words = {"AUC": "ranks", "R2": "predicts"}[kind]
    median = f" The median of {len(rows)} attributes is {rows['value'].median():.3f}."
    said = [
        f"A linear function of the posterior means {words} {shown.index[0]} best: the {best}."
        + median * (len(rows) > 1)
    ]
    if len(missed):
        said.append(f"Not predicted better than chance: {', '.join(missed.index)}.")
    return said


def _edits_said(effects: pandas.DataFrame, best: list[str]) -> str:
    """The effects of edits of the best-predicted attributes, and their side effects."""
    own = np.array([effects.loc[name, name] for name in best])
    real = effects.loc[best, REAL].to_numpy()
    rest = ""
    if len(effects) > 1:
        sizes = effects.loc[best].drop(columns=REAL).abs()
        most = 100 * np.mean([sizes.loc[name].drop(name).max() for name in best])
        rest = f". The most affected other attribute changes by {most:.0f}% of its range"
    several = f"the {len(best)} best-predicted attributes over their whole range change"
    edits = several if len(best) > 1 else f"{best[0]} over its whole range change"
    return (
        f"Edits of {edits} the prediction for the re-encoded images by {round(100 * own.mean())}% "
        "of the range on average. Predictions for real images at both ends differ by "
        f"{100 * real.mean():.0f}%{rest}."
    )


def _draw_probes(table: pandas.DataFrame) -> Figure:
    """A panel per kind of score, a row per attribute with a bar of two standard errors.

    Args:
        table: from `probes`.
    """
    kinds = [kind for kind in CHANCE if (table["score"] == kind).any()]
    ratios = [1 + int((table["score"] == kind).sum()) for kind in kinds]
    height = 0.56 * len(kinds) + 0.24 * sum(ratios)
    figure, axes = canvas(height, len(kinds), height_ratios=ratios)
    for own, kind in zip(axes[:, 0], kinds, strict=True):
        rows = table[table["score"] == kind].sort_values("value")
        places, bars = range(len(rows)), 2 * rows["error"]
        own.errorbar(rows["value"], places, xerr=bars, fmt="o", ms=4, color=GUIDE)
        own.axvline(CHANCE[kind][0], color=INK, lw=1, ls="--")
        own.set_yticks(places, rows.index, fontsize=LABEL)
        own.set_ylim(-0.6, len(rows) - 0.4)
        name_axes(own, f"{CHANCE[kind][1]} (dashed: chance)")
        own.grid(axis="y", color=GRID, lw=0.6)
        own.set_axisbelow(True)
    return figure


def _draw_edits(image: Tensor, rows: Tensor, names: list[str]) -> Figure:
    """The image at the left, and a row of its edits per attribute at the right.

    Args:
        image: `(C, H, W)` in [0, 1].
        rows: its edits, `(A, S, C, H, W)`.
        names: of the A attributes.
    """
    high, wide = as_pictures(image).shape[-2:]
    side = 0.95  # of an edit, in inches
    figure, axes = canvas(0.4 + side * len(rows) * high / wide, 1, 2, width_ratios=[1, 4.6])
    left, right = axes[0]
    picture(left, image, "image")
    left.set_anchor("N")
    signs = [f"{strength:+g}" if strength else "as is" for strength in STRENGTHS]
    draw_sheet(right, rows, names, signs)
    right.set_anchor("N")
    return figure


def _draw_edit_effects(table: pandas.DataFrame) -> Figure:
    """A map of the change of every attribute's prediction by edits of every attribute.

    Args:
        table: a row per edited attribute, a column per predicted one, as shares of its range.
    """
    longest = max(map(len, table.columns))  # The names of columns stand upright.
    figure, own = panel(0.9 + 0.08 * max(longest, 12) + 0.28 * max(len(table), 3))
    how = {"cmap": DIVERGING, "vmin": -1, "vmax": 1, "aspect": "auto", "extend": "both"}
    name_axes(own, "predicted attribute", "edited attribute")
    heat_map(own, table, "share of the range", **how)
    return figure
