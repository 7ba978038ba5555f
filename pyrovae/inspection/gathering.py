"""Gathers the evidence on a run: its history, scores, latents, noise and data."""

from __future__ import annotations

from textwrap import shorten

from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.measures import MEASURES
from pyrovae.inspection.subject import Subject
from pyrovae.utils.errors import InputError

__all__ = ["gather"]


def gather(subject: Subject) -> Evidence:
    """The evidence on the programs of a subject.

    The sections of a report measure more, such as gaps, and `inspect` judges that too.
    What cannot be measured stays unknown, such as the history of programs from Python. Errors of a
    user's programs are in `Evidence.failed`.

    Args:
        subject: what is inspected.
    """
    aims = {"wide": subject.wide, "maximises_elbo": subject.maximises_elbo}
    found, failed = Evidence(options=subject.options).with_symptoms(aims), {}
    for name, measure in MEASURES.items():
        try:
            found = found.with_symptoms(measure(subject))
        except (InputError, NotImplementedError):  # Too few images, or no density.
            continue
        except Exception as error:  # A user's program may raise anything.
            failed[name] = shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
    return found.with_symptoms({"failed": failed})
