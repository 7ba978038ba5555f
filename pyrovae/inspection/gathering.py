"""Gathers the evidence on a run: its history, scores, latents, noise and data."""

from __future__ import annotations

from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.measures import MEASURES
from pyrovae.inspection.subject import Subject

__all__ = ["gather"]


def gather(subject: Subject) -> Evidence:
    """The evidence on the programs of a subject.

    What cannot be measured stays unknown, such as the history of programs from Python.

    Args:
        subject: what is inspected.
    """
    found = Evidence(options=subject.options, wide=subject.wide)
    for measure in MEASURES.values():
        try:
            found = found.with_symptoms(measure(subject))
        except Exception:  # Too few images, no density; a user's program may raise anything.
            continue
    return found
