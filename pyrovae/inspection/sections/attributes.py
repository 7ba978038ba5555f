"""Where are the attributes?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyrovae.inspection.attributes import attribute_table, directions, enough, gains, probes
from pyrovae.inspection.edits import REAL, edit_effects, edited
from pyrovae.inspection.figures.attributes import edit_map, probe_scores
from pyrovae.inspection.figures.sheets import image_sheet
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.sections.traversals import shown_means
from pyrovae.inspection.subject import Subject
from pyrovae.utils.errors import InputError

if TYPE_CHECKING:
    import pandas

__all__ = ["section"]

PLACE = 100

#: Attributes, and images, whose edits are drawn; attributes that a map has room for.
ROWS, IMAGES, ROOM = 6, 2, 20
#: How far an edit goes, in ranges of the attribute.
STRENGTHS = (-1.0, -0.5, 0.0, 0.5, 1.0)


def section(subject: Subject) -> Section:
    """How well attributes are read, where they point, and what moving there changes."""
    table = attribute_table(subject.split, subject.known_attributes)
    names, left_out = enough(table)
    if not names:
        raise InputError(
            f"no attribute can be learnt from {len(table)} images: {_listed(left_out)}"
        )
    table = table[names]
    codes = subject.encoded.loc[:, subject.columns]
    scores = probes(codes, table, seed=subject.seed).sort_values("value", ascending=False)
    arrows = directions(codes, table)
    arrows.columns = [subject.space.names[column] for column in subject.columns]
    effects = edit_effects(subject, arrows, table)
    best = list(gains(scores).index[:ROWS])
    return Section(
        "Where are the attributes?",
        _says(scores, left_out) + _edits_said(effects, best),
        _advice(scores),
        {
            "probes": scores.reset_index(),
            "directions": arrows.reset_index(),
            "edits": effects.reset_index(),
        },
        _figures(subject, scores, arrows.loc[best], table, effects),
    )


def _figures(
    subject: Subject,
    scores: pandas.DataFrame,
    arrows: pandas.DataFrame,
    table: pandas.DataFrame,
    effects: pandas.DataFrame,
) -> dict[str, Drawing]:
    shown = gains(scores).index[:ROOM]
    return {
        "probes": Drawing(
            probe_scores(scores),
            f"How well a linear function of the posterior means tells each attribute of images it "
            f"has not seen; five folds of {subject.where()}, bars ± 2 standard errors.",
        ),
        "edits": _edits(subject, arrows, table),
        "edit_effects": Drawing(
            edit_map(effects.loc[shown, shown]),
            f"Each attribute edited from half its range below to half above (row), and what "
            f"a linear function of the re-encoded image then reads of each (column); mean of "
            f"{subject.shown_where()}, the {len(shown)} best-read attributes, by functions "
            f"fitted to {subject.where()}. The diagonal should be 1 and all else 0, but for what "
            f"goes together in the data.",
        ),
    }


def _edits(subject: Subject, arrows: pandas.DataFrame, table: pandas.DataFrame) -> Drawing:
    """A row an attribute: the first images, with less of it to the left and more to the right."""
    images = min(IMAGES, len(subject.shown))
    z, inputs = shown_means(subject)
    own = {name: value[:images] for name, value in inputs.items()}
    with subject.quietly(4):
        rows = edited(subject, z[:images], arrows, table, STRENGTHS, **own).cpu()
    signs = [f"{strength:+g}" if strength else "as is" for strength in STRENGTHS] * images
    return Drawing(
        image_sheet(rows.transpose(1, 2).flatten(1, 2), list(arrows.index), signs),
        f"Posterior means of {subject.shown_where(images)} moved along the "
        f"direction of an attribute and decoded; the best-read attributes, directions of "
        f"{subject.where()}. 1 is the way from one of its two values to the other, or from its "
        f"5 % to its 95 % quantile.",
    )


def _says(scores: pandas.DataFrame, left_out: dict[str, str]) -> list[str]:
    said = []
    for kind, words in (("AUC", "ranks"), ("R2", "tells")):
        rows = scores[scores["score"] == kind]
        if not len(rows):
            continue
        chance = 0.5 if kind == "AUC" else 0.0
        unread = rows[rows["value"] < chance + 2 * rows["error"]]
        name = "an area under the ROC curve" if kind == "AUC" else "an R²"
        said.append(
            f"A linear function of the posterior means {words} {rows.index[0]} best, with {name} "
            f"of {rows['value'].iloc[0]:.3f} ± {rows['error'].iloc[0]:.2g} on unseen images; the "
            f"median of {len(rows)} attributes is {rows['value'].median():.3f}."
        )
        if len(unread):
            said.append(f"Not told better than chance: {', '.join(unread.index)}.")
    if left_out:
        said.append(f"Left out: {_listed(left_out)}.")
    return said


def _listed(left_out: dict[str, str]) -> str:
    return "; ".join(f"{name} ({reason})" for name, reason in left_out.items())


def _edits_said(effects: pandas.DataFrame, best: list[str]) -> list[str]:
    """How far edits of the best-read attributes arrive, and what they change besides."""
    own = np.array([effects.loc[name, name] for name in best])
    real = effects.loc[best, REAL].to_numpy()
    said = (
        f"Editing the {len(best)} best-read attributes over their whole range changes what is "
        f"read of the re-encoded images by {round(100 * own.mean())} % of it on average; real "
        f"images at both ends differ by {100 * real.mean():.0f} % in that reading"
    )
    if len(effects) > 1:
        rest = effects.loc[best].drop(columns=REAL).abs()
        others = [float(rest.loc[name].drop(name).max()) for name in best]
        said += f", and the other attribute that moves most moves by {100 * np.mean(others):.0f} %"
    return [f"{said}."]


def _advice(scores: pandas.DataFrame) -> list[str]:
    chance = np.where(scores["score"] == "AUC", 0.5, 0.0)
    unread = scores[scores["value"] < chance + 2 * scores["error"]]
    if len(unread) < len(scores) / 2:
        return []
    return [
        "Most attributes cannot be read off the posterior means: see whether the rate is far "
        "below what the images need, and whether reconstructions show these attributes at all."
    ]
