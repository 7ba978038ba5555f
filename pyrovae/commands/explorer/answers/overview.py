"""Answers on the run and its encoded images: names, maps, colours and thumbnails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.commands.explorer.answers.plain import floats, thumbnails
from pyrovae.commands.explorer.checking import chosen, rows, whole
from pyrovae.commands.explorer.opening import Explorer
from pyrovae.inspection.attributes import is_classes, is_two_valued
from pyrovae.utils.errors import InputError

__all__ = ["colour", "map_of", "run", "thumbs"]

#: Cells per side of the grid of cover.
SIDE = 24
#: Seconds that a call computes at most, and thumbnails per call.
SECONDS, THUMBS = 0.25, 400
RATE, EVIDENCE, OUTLIER = "rate", "log p(x)", "outlier score"
UNITS = {RATE: "nats", EVIDENCE: "nats", OUTLIER: "nats"}


def run(explorer: Explorer, given: dict[str, Any]) -> dict[str, Any]:
    """The run, its latent sites, and what can be asked."""
    subject, space = explorer.subject, explorer.subject.space
    split = subject.split
    colours = [{"name": name, "unit": unit} for name, unit in UNITS.items()]
    return {
        "name": Path(subject.run).resolve().name if subject.run else "programs",
        "path": subject.run,
        "split": subject.name,
        "count": len(split),
        "image": list(split.images.shape[1:]),
        "sites": [
            {"name": name, "start": own.start, "stop": own.stop}
            for name, own in space.slices.items()
        ],
        "dims": space.names,
        "given": [_given(explorer, name) for name in subject.programs.attributes],
        "colours": colours + [{"name": str(name), "unit": ""} for name in split.attribute_names],
        "methods": explorer.methods,
        "notes": explorer.notes,
        "images": explorer.names[:12],
        "uploads": True,
    }


def _given(explorer: Explorer, name: str) -> dict[str, Any]:
    """An attribute that the programs take: a class, one of two values, or a number."""
    split, usual = explorer.subject.split, explorer.usual[name]
    words = list(split.value_names.get(name, ()))
    if count := len(words) or explorer.subject.programs.classes_of(name):
        classes = words or [str(number) for number in range(count)]
        return {"name": name, "kind": "classes", "classes": classes, "usual": usual}
    column = split.attributes[:, split.places([name])[0]].astype(float)
    column = column[np.isfinite(column)]
    two = is_two_valued(column)
    low, high = (column.min(), column.max()) if two else np.quantile(column, (0.05, 0.95))
    kind = "two" if two else "number"
    return {"name": name, "kind": kind, "low": float(low), "high": float(high), "usual": usual}


def map_of(explorer: Explorer, given: dict[str, Any]) -> dict[str, Any]:
    """The places of all encoded images on a map, and the cover of its ground."""
    ground = explorer.ground(chosen(given, "method", explorer.methods))
    z = explorer.within(ground.lift(ground.cells(SIDE)))
    low, high = ground.corners
    shares = explorer.cover.shares(z).reshape(SIDE, SIDE)
    thin = {"low": low.tolist(), "high": high.tolist(), "rows": shares.round(4).tolist()}
    return {
        "places": ground.places.round(5).tolist(),
        "names": explorer.names,
        "says": ground.says,
        "thin": thin | {"below": explorer.cover.level},
    }


def colour(explorer: Explorer, given: dict[str, Any]) -> dict[str, Any]:
    """A value per encoded image. Values that take long are null until they are computed."""
    attributes = [str(name) for name in explorer.subject.split.attribute_names]
    name = chosen(given, "name", [*UNITS, *attributes])
    answer = {"kind": "number", "classes": [], "unit": UNITS.get(name, ""), "done": 1.0}
    if name == RATE:
        return answer | {"values": floats(explorer.subject.encoded.rate)}
    if name == EVIDENCE:
        explorer.evidences.work(SECONDS)
        values = explorer.evidences.table.log_evidence.to_numpy()
        return answer | {"values": floats(values), "done": explorer.evidences.done}
    if name == OUTLIER:
        return answer | _outliers(explorer)
    return answer | _attribute(explorer, name)


def _outliers(explorer: Explorer) -> dict[str, Any]:
    """The distance of log p(x) from its mean over the reference images; null without these."""
    none, own = [None] * len(explorer.names), explorer.evidences
    try:
        usual, _ = explorer.reference
    except InputError:
        return {"values": none}
    usual.work(SECONDS)
    if usual.done < 1:
        return {"values": none, "done": usual.done / 2}
    own.work(SECONDS)
    values = (own.table.log_evidence - usual.known.log_evidence.mean()).abs().to_numpy()
    return {"values": floats(values), "done": 0.5 + own.done / 2}


def _attribute(explorer: Explorer, name: str) -> dict[str, Any]:
    """An attribute; of classes, the place of each value among the classes."""
    split = explorer.subject.split
    column = split.attributes[:, split.places([name])[0]].astype(float)
    known = column[np.isfinite(column)]
    if name in split.value_names:
        classes = list(split.value_names[name])
        return {"values": floats(column), "kind": "classes", "classes": classes}
    if not (is_two_valued(known) or is_classes(known)):
        return {"values": floats(column)}
    values = np.unique(known)
    places = np.where(np.isfinite(column), np.searchsorted(values, column), np.nan)
    kind = "two" if len(values) == 2 else "classes"
    return {"values": floats(places), "kind": kind, "classes": [f"{value:g}" for value in values]}


def thumbs(explorer: Explorer, given: dict[str, Any]) -> dict[str, Any]:
    """Encoded images as one row of squares."""
    size = whole(given, "size", 16, 64, 32)
    chosen_rows = rows(given, "rows", len(explorer.names), THUMBS)
    return {"sprite": thumbnails(explorer, chosen_rows, size), "size": size}
