"""`pyrovae fit-prior RUN --prior FlowPrior`: trains a prior for the frozen networks of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pyrovae.commands import train
from pyrovae.config.building import load_run
from pyrovae.config.parsing import value_of
from pyrovae.priors import Prior
from pyrovae.programs import ModelGuidePair
from pyrovae.runs import RunDirectory
from pyrovae.training.rows import rows_until
from pyrovae.utils.arguments import Writer
from pyrovae.utils.errors import InputError
from pyrovae.utils.process_group import processes

__all__ = ["command_line", "main"]

ABOUT = """usage: pyrovae fit-prior RUN --prior NAME [options of pyrovae train]

Trains a new prior with Pyro's SVI for the frozen encoder, posterior, decoder and likelihood of
RUN: the prior learns the aggregate posterior. Writes a new run, by default RUN-prior, and compares
its validation ELBO with that of RUN. Epochs, optimiser and schedule are those of RUN, unless
options state others.

example: pyrovae fit-prior runs/a --prior FlowPrior --trainer.epochs 20"""

#: What this command states itself.
STATED = ("--config", "--init_from", "--freeze", "--start", "--resume")
#: Parts that stay as the run has them.
KEPT = ("--program", "--encoder", "--posterior", "--decoder", "--likelihood")


def command_line(run: str, options: list[str]) -> list[str]:
    """The arguments of `pyrovae train` that fit a prior.

    Args:
        run: the run directory.
        options: the prior, and further options of `pyrovae train`.

    Raises:
        InputError: if there is no run, no prior is named, or an option is not allowed.
    """
    names = [option.partition("=")[0] for option in options if option.startswith("--")]
    _check(names)
    directory = RunDirectory(run)
    directory.check_run()
    programs, _ = load_run(run, trust="--trust" in names)
    _check_size(value_of("--prior.latent_dim", options), programs)
    frozen = [name for name in programs.trained_parts() if name != "prior"]
    place = [] if "--run_dir" in names else ["--run_dir", f"{Path(run)}-prior"]
    start = ["--start=WarmStart", f"--start.run={run}", f"--start.whole=[{','.join(frozen)}]"]
    # RUN may itself have begun with the weights of another run.
    known = ["--config", str(directory.config), "--init_from=null", *start, "--freeze", *frozen]
    return [*known, *options, *place]


def _check(names: list[str]) -> None:
    for name in STATED:
        if name in names:
            raise InputError(f"{name}: not allowed with fit-prior, which sets it itself")
    for name in names:
        if name.partition(".")[0] in KEPT:
            raise InputError(
                f"{name}: not allowed with fit-prior, which keeps this part of the run"
            )
    if "--prior" not in names:
        raise InputError("--prior: must be given, such as --prior FlowPrior")


def _check_size(given: str | None, programs: ModelGuidePair) -> None:
    """Raises `InputError` for another number of latent dimensions than that of the prior."""
    prior = Writer.given(programs).get("prior")
    if given is not None and isinstance(prior, Prior) and given != str(prior.latent_dim):
        raise InputError(
            f"--prior.latent_dim {given}: the frozen networks have {prior.latent_dim} dimensions"
        )


def main(arguments: list[str]) -> None:
    """Fits a prior; prints what `pyrovae train` prints."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(ABOUT)
        return
    run, *options = arguments
    if run.startswith("-"):
        raise InputError(f"{run}: the first argument is the run directory")
    line = command_line(run, options)
    train.main(line)
    if processes().main:
        for said in _compared(RunDirectory(run), RunDirectory(value_of("--run_dir", line) or "")):
            print(said)


def _compared(run: RunDirectory, fitted: RunDirectory) -> Iterator[str]:
    """A line on the validation scores with both priors, and one if the ELBO fell.

    None if the new run has other images, or one of both has no `metrics.csv`.
    """
    rows = [rows_until(own.metrics, own.weights_of("best")[1])[-1:] for own in (run, fitted)]
    if not all(rows) or run.options()["data"] != fitted.options()["data"]:
        return
    old, new = ({n: float(own[0][f"val_{n}"]) for n in ("elbo", "rate")} for own in rows)
    before, after = (f"ELBO {own['elbo']:,.1f}, rate {own['rate']:,.1f}" for own in (old, new))
    yield f"validation, nats per image: {before} in {run.root}, {after} with the new prior"
    if new["elbo"] < old["elbo"]:
        longer = fitted.with_trust(f"pyrovae train --resume {fitted.root} --trainer.epochs N")
        yield f"warning: the ELBO fell; {longer} trains the prior for longer"
