"""A finding: a cause, its cost in nats, the evidence for it, and advice."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pyrovae.inspection.judge.advice import Advice

__all__ = ["FOLLOWING", "OF_THE_LOSS", "Finding", "Judgement"]

#: Causes that follow from most faults of the data or of training.
FOLLOWING = frozenset(
    {
        "ignored_latents",
        "missed_mode",
        "narrow_family",
        "one_scale",
        "prior_mismatch",
        "small_encoder",
        "too_few_latents",
        "unfitted_noise",
    }
)

#: Faults of the loss: the weight on the rate, and the noise.
OF_THE_LOSS = frozenset({"beta_too_high", "beta_too_low", "noise_too_large", "noise_too_small"})


@dataclass(frozen=True)
class Finding:
    """One cause of a fault, or of a possible improvement.

    Attributes:
        cause: the name of its module in `pyrovae.inspection.causes`.
        title: the cause in a few words, such as "The noise is too small".
        cost: nats per image that the cause costs; NaN if it is a fault of unknown cost.
        reason: sentences with the measurements that show it.
        advice: what to try, the most promising first.
        explains: the causes that this one makes plausible: they are not reported in addition.
        fault: whether it is a fault; otherwise a possible improvement.
        known: whether an option states the cause, such as a weight on the rate of 10: other
            causes do not explain it.
    """

    cause: str
    title: str
    cost: float
    reason: str
    advice: tuple[Advice, ...] = ()
    explains: frozenset[str] = field(default=frozenset())
    fault: bool = True
    known: bool = False

    @property
    def nats(self) -> str:
        """The cost in words."""
        return (
            "unknown cost" if math.isnan(self.cost) else f"about {self.cost:,.0f} nats per image"
        )


@dataclass(frozen=True)
class Judgement:
    """The verdict on a run.

    Attributes:
        findings: faults first, then possible improvements; each in order of cost.
        healthy: the sentence on a run without a fault.
        note: a sentence on what the verdict does not cover; may be empty.
        improvable: a sentence on what may be improved in a run without a fault; may be empty.
    """

    findings: tuple[Finding, ...]
    healthy: str = ""
    note: str = ""
    improvable: str = ""

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that are faults."""
        return tuple(finding for finding in self.findings if finding.fault)

    @property
    def first(self) -> Advice | None:
        """The first piece of advice; None if there is nothing to try."""
        return next((own for finding in self.findings for own in finding.advice), None)

    @property
    def line(self) -> str:
        """The verdict, with what may be improved: for a terminal, where no findings follow."""
        return f"{self} {self.improvable}".rstrip()

    def __str__(self) -> str:
        """The verdict in one sentence."""
        if not self.faults:
            return f"{self.healthy} {self.note}".rstrip()
        worst, *others = self.faults
        more = f"; {len(others)} more fault{'s' * (len(others) > 1)}" if others else ""
        return f"{worst.title}: {worst.nats}{more}. {self.note}".rstrip()
