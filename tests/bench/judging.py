"""Compares what is said about the runs of the bench with what is right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.judge.finding import Judgement
from tests.bench.case import Case
from tests.bench.following import complaints, follow
from tests.bench.running import ASKED, Judged, judged

__all__ = ["Move", "Result", "contradictions", "tried"]

#: Nats that the ELBO must gain at least to count as moved.
GAIN = 1.0
#: Causes that exclude each other.
OPPOSITE = [
    ("noise_too_small", "noise_too_large"),
    ("beta_too_high", "beta_too_low"),
    ("collapsed", "beta_too_low"),
    ("collapsed", "ignored_latents"),
    ("overfitting", "undertrained"),
    ("too_few_latents", "ignored_latents"),
    ("too_few_latents", "collapsed"),
]
#: Sentences that exclude each other.
AGAINST = [
    (r"noise is too small", r"noise is too (large|coarse)"),
    (r"guide is too wide", r"guide is too narrow"),
    (r"train (for )?longer|more epochs", r"stop (earlier|at the best epoch)"),
    (r"(lower|reduce) beta", r"(higher|raise) beta"),
    (r"fewer latent", r"more latent"),
]


@dataclass(frozen=True)
class Move:
    """The change of a measurement by advice.

    Attributes:
        name: the field of `Evidence`.
        sign: the direction that is right.
        before: the value before.
        after: the value after.
    """

    name: str
    sign: int
    before: float
    after: float

    @property
    def right(self) -> bool:
        """Whether the value moved as it should."""
        least = GAIN if self.name == "elbo" else 0.0
        return self.sign * (self.after - self.before) > least

    def __str__(self) -> str:
        mark = "" if self.right else " (!)"
        return f"{self.name} {self.before:.4g} to {self.after:.4g}{mark}"


@dataclass(frozen=True)
class Result:
    """What the judge said about a case, and what its advice did.

    Attributes:
        case: the case.
        before: the run and its verdict.
        advice: the first piece of advice; empty without any.
        moves: what moved when the advice was followed; empty if it was not.
        wrong: complaints about statements and advice.
    """

    case: Case
    before: Judged
    advice: str = ""
    moves: tuple[Move, ...] = ()
    wrong: tuple[str, ...] = field(default=())

    @property
    def found(self) -> str:
        """The cause that was found first; empty for none."""
        judgement = self.before.judgement
        own = judgement.findings if self.case.minor else judgement.faults
        return own[0].cause if own else ""

    @property
    def right(self) -> bool:
        """Whether the verdict is right."""
        quiet = not self.before.judgement.faults
        if not self.case.right:
            return quiet
        return self.found in self.case.right and (quiet or not self.case.minor)

    @property
    def helped(self) -> bool:
        """Whether the advice was followed and moved all that it should."""
        return bool(self.moves) and all(move.right for move in self.moves)


def tried(
    case: Case, folder: Path, *, following: bool = True, sections: Sequence[str] = ASKED
) -> Result:
    """Trains the run of a case, judges it, and follows the first piece of advice."""
    before = judged(case.run(folder), sections)
    wrong = [*contradictions(before.judgement, before.says)]
    for name, (low, high) in case.claim.items():
        if not low < (value := getattr(before.evidence, name)) < high:
            wrong.append(f"the planted fault has {name} {low:g} to {high:g}, got {value:.4g}")
    options = before.evidence.options
    for finding in before.judgement.findings:
        for own in finding.advice:
            wrong += [f"{finding.cause}: {line}" for line in complaints(own, options, before.run)]
    if not case.right or not following:
        return Result(case, before, wrong=tuple(wrong))
    text, after = _followed(case, before, folder)
    moves = () if after is None else _moves(case.moves, before.evidence, after)
    return Result(case, before, text, moves, tuple(wrong))


def contradictions(judgement: Judgement, says: tuple[str, ...]) -> list[str]:
    """Pairs of statements that exclude each other."""
    causes = {finding.cause for finding in judgement.findings}
    found = [f"{a} beside {b}" for a, b in OPPOSITE if {a, b} <= causes]
    said = [own.title + ". " + own.reason for own in judgement.findings]
    said += [own.text for finding in judgement.findings for own in finding.advice]
    whole = "\n".join([*said, *says])
    for pair in AGAINST:
        hits = [re.search(pattern, whole, re.IGNORECASE) for pattern in pair]
        if all(hits):
            found.append(" beside ".join(f'"{hit[0]}"' for hit in hits if hit))
    if judgement.faults and str(judgement).startswith("No fault"):
        found.append("no fault beside a fault")
    return found


def _followed(case: Case, before: Judged, folder: Path) -> tuple[str, Evidence | None]:
    """The advice in words, and the evidence on the run that follows it."""
    advice = before.judgement.first
    if advice is None:
        return "", None
    if advice.changes:
        after = follow(advice, before.run, folder / "runs")
    elif case.remedy:
        after = case.remedied(folder)
    else:
        return advice.text, None
    return advice.text, judged(after).evidence


def _moves(wanted: str, before: Evidence, after: Evidence) -> tuple[Move, ...]:
    found = []
    for word in wanted.split():
        name, sign = word[:-1], 1 if word.endswith("+") else -1
        found.append(Move(name, sign, getattr(before, name), getattr(after, name)))
    return tuple(found)
