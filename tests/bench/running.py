"""Trains the runs of the bench, each once, and gathers the evidence on them."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyro
import torch

from pyrovae import inspection
from pyrovae.commands.inspect import open_subject
from pyrovae.commands.train import main as train
from pyrovae.inspection.gathering import gather
from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.judge.finding import Judgement
from pyrovae.inspection.judging import judge
from pyrovae.inspection.sections import SECTIONS
from pyrovae.inspection.subject import Budget, Subject
from pyrovae.training.callbacks import Pictures, RunPage
from pyrovae.utils.errors import InputError
from pyrovae.utils.signals import Diverged
from tests.bench.plants import Plant

__all__ = ["ASKED", "BUDGET", "Judged", "judged", "opened", "trained"]

#: Enough for the numbers that the judge uses.
BUDGET = Budget(400, 2, 500, refined=3, steps=120, chains=0, importance_draws=200, starts=4)
#: All sections whose measurements the judge uses: the verdict is that of a whole report.
ASKED = ("gaps", "holes", "calibration", "typical")
#: Files of `pyrovae.inspection` that judge or show evidence, and do not measure it.
JUDGING = ("causes", "judge", "judging.py", "html.py", "plotting.py", "report.py", "sections")


@dataclass(frozen=True)
class Judged:
    """A run with its verdict.

    Attributes:
        run: the run directory.
        evidence: all measurements.
        judgement: the verdict.
        says: the sentences of the sections.
    """

    run: Path
    evidence: Evidence
    judgement: Judgement
    says: tuple[str, ...] = ()


def trained(
    arguments: Sequence[str],
    folder: Path,
    name: str,
    plant: Plant | None = None,
    root: Path | None = None,
) -> Path:
    """The run of a command line of `pyrovae train`; trained once.

    Args:
        arguments: the command line without a run directory.
        folder: holds all runs.
        name: of the run.
        plant: what is changed after training.
        root: the run directory of a run that goes on.
    """
    text = json.dumps([list(arguments), str(plant)])
    resumes = root is not None
    root = root or folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    done = beside(root, "seconds")
    if done.exists():
        return root
    if not resumes:
        shutil.rmtree(root, ignore_errors=True)  # A run that was interrupted.
    began = time.process_time()
    with ExitStack() as stack:
        root.parent.mkdir(parents=True, exist_ok=True)
        log = stack.enter_context(beside(root, "log").open("w"))
        stack.enter_context(redirect_stdout(log))
        stack.enter_context(redirect_stderr(log))
        stack.enter_context(pyro.get_param_store().scope())
        for drawing in (RunPage, Pictures):  # They take longer than the steps of so short epochs.
            stack.enter_context(patch.object(drawing, "end_epoch"))
        print(shlex.join(["pyrovae", "train", *arguments]), flush=True)
        try:
            train([*arguments, *([] if resumes else ["--run_dir", str(root)])])
        except Diverged as error:  # Its last weights remain.
            print(error)
    if plant is not None:
        plant(root)
    done.write_text(f"{time.process_time() - began:.1f}\n")
    return root


def beside(run: Path, ending: str) -> Path:
    """A file beside a run directory, of the same name."""
    return run.with_name(f"{run.name}.{ending}")


def opened(run: Path) -> Subject:
    """A run for inspection."""
    return open_subject(run, budget=BUDGET, device="cpu")[0]


def judged(run: Path, sections: Sequence[str] = ASKED) -> Judged:
    """The verdict on a run; its evidence is kept as long as the code that measures it stays."""
    subject, kept = opened(run), beside(run, "evidence.json")
    stamp = _stamp(sections)
    try:
        content = json.loads(kept.read_text())
    except (OSError, ValueError):
        content = {}
    if content.get("stamp") != stamp:
        content = {"stamp": stamp, **_measured(subject, sections)}
        kept.write_text(json.dumps(content, indent=1))
    evidence = Evidence(options=subject.options, **content["evidence"])
    return Judged(run, evidence, judge(evidence), tuple(content["says"]))


def _measured(subject: Subject, sections: Sequence[str]) -> dict[str, Any]:
    """What `pyrovae inspect` measures and says, without its figures."""
    says, symptoms = [], {}
    with pyro.get_param_store().scope(), subject.engine.arithmetic():
        for name in sections:
            try:
                section = SECTIONS[name](subject)
            except (InputError, NotImplementedError) as error:
                says.append(f"{name}: {error}")
                continue
            says += section.says
            symptoms |= section.symptoms
        found = gather(subject).with_symptoms(symptoms)
    values = {own.name: getattr(found, own.name) for own in fields(found)}
    del values["options"]
    return {"evidence": values, "says": says}


def _stamp(sections: Sequence[str]) -> str:
    """Changes with the code that measures, not with the code that judges."""
    digest = hashlib.sha256(f"{torch.__version__} {BUDGET} {sections}".encode())
    root = Path(inspection.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if path.stem in sections or not any(name in path.parts for name in JUDGING):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
