"""The results of the bench as text and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.bench.judging import Result

__all__ = ["details", "line", "summary", "write"]

README = Path(__file__).parents[2] / "scripts" / "README.md"
START, END = "<!-- bench: made by python -m tests.bench --write -->", "<!-- end of bench -->"


def line(result: Result) -> str:
    """One line on a case."""
    mark = "ok   " if result.right else "WRONG"
    findings = result.before.judgement.findings
    said = ", ".join(f"{own.cause}{'' if own.fault else '*'} {own.cost:.1f}" for own in findings)
    parts = [f"{mark} {result.case.name}: {said or 'nothing'}"]
    if not result.right and result.case.right:
        parts.append(f"right: {' or '.join(result.case.right)}")
    if result.advice:
        parts.append(f"{result.advice}: {', '.join(map(str, result.moves)) or 'not followed'}")
    parts += [f"! {own}" for own in result.wrong]
    return "; ".join(parts)


def summary(results: Sequence[Result]) -> str:
    """A row per cause, and totals."""
    head = "| fault | runs | right cause first | advice followed | advice helped | complaints |"
    rows = [head, "| --- | --- | --- | --- | --- | --- |"]
    groups: dict[str, list[Result]] = {}
    for own in results:
        groups.setdefault(own.case.right[0] if own.case.right else "none", []).append(own)
    faults = [own for own in results if own.case.right]
    for name, some in groups.items():
        rows.append(_row(name.replace("_", " "), some))
    rows.append(_row("all faults", faults))
    return "\n".join(rows)


def _row(name: str, some: Sequence[Result]) -> str:
    right, followed = sum(own.right for own in some), sum(bool(own.moves) for own in some)
    helped, wrong = sum(own.helped for own in some), sum(len(own.wrong) for own in some)
    return f"| {name} | {len(some)} | {right} | {followed} | {helped} | {wrong} |"


def details(results: Sequence[Result]) -> str:
    """The evidence on the wrong verdicts."""
    found = []
    for own in results:
        if not own.right:
            reasons = [f"- {f.cause}: {f.reason}" for f in own.before.judgement.findings]
            evidence = own.before.evidence.table().to_string(index=False)
            found.append("\n".join([f"## {line(own)}", *reasons, "", evidence]))
    return "\n\n".join(found)


def write(text: str) -> None:
    """Writes the table between the marks in the README of the scripts."""
    whole = README.read_text()
    before, rest = whole.split(START)
    after = rest.split(END)[1]
    README.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}")
