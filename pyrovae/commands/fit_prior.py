"""`pyrovae fit-prior RUN --prior FlowPrior`: trains a prior for the frozen networks of a run."""

from __future__ import annotations

import math
from pathlib import Path

from pyrovae.commands import train
from pyrovae.config.parsing import value_of
from pyrovae.runs import RunDirectory
from pyrovae.training.rows import rows_until
from pyrovae.utils.errors import InputError
from pyrovae.utils.process_group import processes

__all__ = ["command_line", "main"]

ABOUT = """usage: pyrovae fit-prior RUN --prior NAME [options of pyrovae train]

Trains a new prior with Pyro's SVI while encoder, posterior, decoder and likelihood stay as RUN
has them: the prior learns the aggregate posterior. Writes a new run, by default RUN-prior, and
compares its validation ELBO with that of RUN. Epochs, optimiser and schedule are those of RUN,
unless options state others.

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
    weights = directory.weights("best")
    # Parameters of parts: neither buffers of the programs themselves, nor masks.
    own = [name for name in weights if name.count(".") > 1 and weights[name].is_floating_point()]
    parts = dict.fromkeys(name.split(".")[1] for name in own)
    frozen = [name for name in parts if name != "prior"]
    place = [] if "--run_dir" in names else ["--run_dir", f"{Path(run)}-prior"]
    known = ["--config", str(directory.config), "--init_from", run, "--freeze", *frozen]
    return [*known, *options, *place]


def _check(names: list[str]) -> None:
    for name in STATED:
        if name in names:
            raise InputError(
                f"{name}: allowed is no {name} with fit-prior, which states it itself"
            )
    if "--prior.latent_dim" in names:
        raise InputError("--prior.latent_dim: allowed is no other number than that of the run")
    for name in names:
        if name.partition(".")[0] in KEPT:
            raise InputError(f"{name}: allowed is no {name} with fit-prior, which keeps this part")
    if "--prior" not in names:
        raise InputError("--prior: must be given, such as --prior FlowPrior")


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
        print("\n".join(_compared(run, value_of("--run_dir", line) or "")))


def _compared(run: str, fitted: str) -> list[str]:
    """A line on the validation scores with both priors, and one if the new prior is worse."""
    (old, before), (new, after) = _best(RunDirectory(run)), _best(RunDirectory(fitted))
    lines = [f"validation, nats per image: {before} in {run}, {after} with the new prior"]
    if new < old:
        lines.append("warning: the new prior is worse; --trainer.epochs N trains it for longer")
    return lines


def _best(run: RunDirectory) -> tuple[float, str]:
    """The ELBO of the best epoch, by `metrics.csv`, and a text on it; NaN without that file."""
    rows = rows_until(run.metrics, run.weights_of("best")[1])
    elbo, rate = (float(rows[-1][f"val_{n}"]) if rows else math.nan for n in ("elbo", "rate"))
    return elbo, f"ELBO {elbo:,.1f}, rate {rate:,.1f}"
