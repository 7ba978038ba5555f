"""Scores, compares and inspects runs from Python, as the commands do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrovae.utils.errors import InputError, check_kind
from pyrovae.utils.lazy import pandas
from pyrovae.utils.log import warn
from pyrovae.utils.text import closest

if TYPE_CHECKING:
    from pyrovae import evaluation, inspection

# The imports inside the functions are slow, and only these functions need them.

__all__ = ["compare_runs", "evaluate_run", "inspect_run", "list_runs"]


def evaluate_run(
    run: str | Path, sections: Sequence[str] = (), **options: Any
) -> evaluation.run_scores.RunScores:
    """Scores a run, and writes what `pyrovae evaluate` writes.

    `print` shows the table; `numbers()` returns a mapping from names to scores.
    `compare_runs` compares several runs.

    Args:
        run: the run directory.
        sections: such as `["elbo", "samples"]`; all by default.
        **options: those of `pyrovae evaluate`: `split`, `num_samples`, `num_images`,
            `evidence_images`, `features`, `seed`, `checkpoint`, `device`, `trust`; `progress`
            shows progress bars, `places={"root": "new/place"}` says where the images are,
            `data` passes images that a run cannot store, such as arrays in memory, and `out` is
            the folder of the results.

    Returns:
        The scores of the run, with `scores` by column and `each_image`, a data frame.

    Raises:
        InputError: if the run or its images are missing, an option is not allowed, or a section
            failed. The results of the other sections are written first.
    """
    from pyrovae.commands.evaluate import check_sections, score_run
    from pyrovae.training.overview import refresh_index

    chosen, rest = _scoring_options("evaluate_run", options)
    scores = score_run(run, chosen, check_sections(sections, chosen.features), **rest)
    scores.write()
    for line in scores.remarks:
        warn(line)
    refresh_index(run)
    return scores


def compare_runs(
    runs: Sequence[str | Path],
    sections: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    **options: Any,
) -> pandas.DataFrame:
    """Scores runs on the same images and compares them with the first.

    It writes what `pyrovae evaluate RUN --compare ...` writes. The scores `more_than_first` and
    `elbo_more_than_first` are mean differences per image of log p(x) and of the ELBO; their
    standard errors are those of paired differences. If some runs differ in the seed of training
    alone, `comparison_seeds.csv` has the mean of each score over the seeds of each model. Notes on
    scores are logged as warnings.

    Args:
        runs: the run directories; a repeated one is used once.
        sections: such as `["elbo", "samples"]`; all by default.
        out: the folder of the files; by default the first run.
        **options: as for `evaluate_run`.

    Returns:
        The rows of `comparison.csv`: one per run or baseline and score, with `value` and `error`,
        and the options that differ between the runs.

    Raises:
        InputError: if the runs do not score the same images, or as for `evaluate_run`.
    """
    from pyrovae.commands.evaluate import check_sections, open_run
    from pyrovae.evaluation.comparison import check_comparable, compare
    from pyrovae.runs import distinct_runs
    from pyrovae.training.overview import refresh_index

    check_kind("runs", runs, list | tuple, "; write a list of run directories")
    runs = distinct_runs(runs)
    chosen, rest = _scoring_options("compare_runs", options)
    asked = check_sections(sections, chosen.features)
    opened = [open_run(run, chosen, **rest) for run in runs]
    check_comparable(opened)
    results = [own.score(asked) for own in opened]
    for result in results:
        result.write()
        refresh_index(result.run)
    if failed := [reason for result in results for reason in result.failed]:
        raise InputError("; ".join(failed))
    folder = Path(out or runs[0])
    found = compare([result.whole() for result in results], folder, results)
    for line in [*(line for result in results for line in result.remarks), *found.notes]:
        warn(line)
    return pandas.read_csv(folder / "comparison.csv")


def list_runs(*folders: str | Path) -> pandas.DataFrame:
    """The runs in folders and their subfolders, the best validation ELBO first.

    No weights and no images are read, so that hundreds of runs are listed in seconds.

    Args:
        folders: by default `runs`.

    Returns:
        One row per run: `run`, its directory; `state`, "ended", "shared", or how far it is
        trained; the `best_epoch` with its validation `elbo` and `bits_per_dim`; the ELBO of the
        `test` split with its `error` and the number of `test_images`, if the best epoch was
        scored; `options`, those of the model in which it differs from the others.

    Raises:
        InputError: if a folder does not exist, or has no run.
    """
    from pyrovae.evaluation.listing import runs_in

    return runs_in(folders or ["runs"])


def inspect_run(
    run: str | Path,
    sections: Sequence[str] = (),
    *,
    quick: bool = False,
    num_images: int | None = None,
    latents: str | Path | None = None,
    out: str | Path | None = None,
    **options: Any,
) -> inspection.Report:
    """Inspects the posterior of a run, and writes the report of `pyrovae inspect`.

    Args:
        run: the run directory.
        sections: such as `["collapse", "gaps"]`; all by default. The verdict needs all.
        quick: whether to use fewer images, draws and steps.
        num_images: the number of images of the split; 0 for all.
        latents: a file `.csv` or `.parquet` to write the encoded latents to.
        out: the folder of the report; by default `posterior` in the run.
        **options: those of `pyrovae inspect`: `split`, `images`, `sites`, `attributes`, `seed`,
            `checkpoint`, `device`, `trust`; `progress` shows progress bars,
            `places={"root": "new/place"}` says where the images are, `data` passes images that a
            run cannot store, such as arrays in memory, and `against` is a split of other images,
            with a name `against_name`, for anomaly scores.

    Returns:
        The report: `html` is the path of its page, `judgement` the verdict, and
        `sections["gaps"].tables` the tables of a section.

    Raises:
        InputError: if the run or its images are missing, or an option is not allowed.
    """
    from pyrovae.commands.inspect import budget_of, open_subject, report_folder, report_on
    from pyrovae.inspection import latent_table, write_table
    from pyrovae.inspection.export import check_export
    from pyrovae.training.overview import refresh_index

    also = {"sites", "attributes", "seed", "progress", "against", "against_name"}
    _check_options("inspect_run", options, also | _named_only(open_subject) - {"budget"})
    check_export(None if latents is None else str(latents), None)
    check_kind("images", options.get("images", ()), list | tuple, "; write a list")
    checkpoint = options.get("checkpoint", "best")
    folder = out or report_folder(run, checkpoint, options.get("split", "test"))
    subject, complaints = open_subject(run, budget=budget_of(quick, num_images), **options)
    report = report_on(subject, checkpoint, folder, sections, complaints)
    if latents is not None:
        write_table(latent_table(subject), latents)
    refresh_index(run)
    return report


def _scoring_options(function: str, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The options of the scores, and the others, which say how to open a run."""
    from pyrovae.commands.evaluate import open_run
    from pyrovae.evaluation.scoring import Options

    names = [own.name for own in fields(Options)]
    _check_options(function, given, [*names, *_named_only(open_run)])
    chosen = Options(**{name: own for name, own in given.items() if name in names})
    return chosen, {name: own for name, own in given.items() if name not in names}


def _named_only(function: Callable[..., Any]) -> set[str]:
    """The names of a function's keyword-only arguments."""
    known = inspect.signature(function).parameters.values()
    return {own.name for own in known if own.kind is own.KEYWORD_ONLY}


def _check_options(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises `TypeError` for an option that a function does not have."""
    names = sorted(known)
    for name in given:
        if name not in names:
            raise TypeError(
                f"{function} has no option {name}{closest(name, names)}; options are "
                f"{', '.join(names)}"
            )
