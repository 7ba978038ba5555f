"""Runs that differ in the seed of training alone: means over seeds, and tests of differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyrovae.evaluation.estimates import Estimate
from pyrovae.runs.free import shapes_model
from pyrovae.utils.lazy import pandas
from pyrovae.utils.plain import differing
from pyrovae.utils.text import chance, counted, within

__all__ = ["Sweep"]

#: The option in which the runs of one model differ.
SEED = "trainer.seed"
#: The columns of `Sweep.table`.
COLUMNS = ["model", "seeds", "score", "value", "error", "lowest", "highest"]
COLUMNS += ["minus_first", "minus_first_error", "p_value"]
#: The longest name of a model that its options give, in characters; options named per run.
LONGEST, NAMED = 60, 6
#: What is said of runs that differ in the seed alone, and of a run without options.
SAME, UNKNOWN = "all runs", "options cannot be read"


class Sweep:
    """Runs by model: the runs of a model have equal options, but for the seed of training.

    The engine, the place of the images, callbacks and loggers are no part of a model.

    Args:
        options: the flat options of each run by its name; empty if they cannot be read.

    Attributes:
        changed: the options that differ between the runs, with their value in each.
        groups: all runs of each model by its name.
        models: the same runs, each seed once.

    Example:
        >>> flow, vamp = {"prior": "pyrovae.FlowPrior"}, {"prior": "pyrovae.VampPrior"}
        >>> seeds = [{"trainer.seed": 0}, {"trainer.seed": 1}]
        >>> Sweep({"a": flow | seeds[0], "b": flow | seeds[1], "c": vamp | seeds[0]}).models
        {'prior FlowPrior': ['a', 'b'], 'prior VampPrior': ['c']}
    """

    def __init__(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        self.known = {run: own for run, own in options.items() if own}
        self.changed = differing(self.known)
        self.groups = self._named([*options])
        seeds = self.changed.get(SEED, {})
        self.models = {model: _once(runs, seeds) for model, runs in self.groups.items()}

    def _named(self, runs: Sequence[str]) -> dict[str, list[str]]:
        """The runs of each model; its options name it, or its first run if that is clearer."""
        found: dict[Any, list[str]] = {}
        names = [name for name in self.changed if name != SEED and shapes_model(name)]
        for run in runs:
            values = tuple(self.changed[name][run] for name in names) if run in self.known else run
            found.setdefault(values, []).append(run)
        titles = [", ".join(self._said(own[0], (SEED,))) for own in found.values()]
        titles = [SAME] if titles == [""] else titles
        clear = len({*titles}) == len(titles) and all(0 < len(own) <= LONGEST for own in titles)
        names = titles if clear else [own[0] for own in found.values()]
        return dict(zip(names, found.values(), strict=True))

    def title(self, run: str) -> str:
        """The options of a run that differ; arguments of a part only if its class tells less."""
        return ", ".join(self._said(run))

    def _said(self, run: str, without: Sequence[str] = ()) -> list[str]:
        """One text per option of `title`."""
        if run not in self.known:
            return [UNKNOWN]
        names = [own for own in self.changed if own not in without and shapes_model(own)]
        kept = [own for own in names if not self._follows(own, run)]
        found = [f"{own} {_last(self.changed[own][run])}" for own in kept[:NAMED]]
        if more := len(kept) - len(found):
            found[-1] += f" and {more} more"
        return found

    def _follows(self, option: str, run: str) -> bool:
        """Whether all runs with the same class of a part have the same value of its argument."""
        texts = self.changed[option]
        names = [name for name in self.changed if name != option and within(option, [name])]
        parts = [self.changed[name] for name in names]
        return any(
            all(texts[other] == texts[run] for other in self.known if own[other] == own[run])
            for own in parts
        )

    @property
    def has_seeds(self) -> bool:
        """Whether a model has runs of several seeds."""
        return any(len(runs) > 1 for runs in self.models.values())

    @property
    def places(self) -> dict[str, int]:
        """The index of the model of each run, in the order of the models."""
        groups = enumerate(self.groups.values())
        return {run: place for place, runs in groups for run in runs}

    def heading(self, model: str) -> str:
        """The name of a model and its number of seeds, in lines."""
        said = self._said(self.groups[model][0], (SEED,))
        lines = said if ", ".join(said) == model else [model]
        return "\n".join([*lines, counted(len(self.models[model]), "seed")])

    def said(self) -> list[str]:
        """The options in which each run differs, and the runs whose seed another one has."""
        lines = [f"{run}: {said}" for run in self.places if (said := self.title(run))]
        for model, own in self.groups.items() if self.has_seeds else ():
            if again := [run for run in own if run not in self.models[model]]:
                lines.append(
                    f"left out of means over seeds, for a repeated seed: {', '.join(again)}"
                )
        return lines

    def means(
        self, scores: Mapping[str, Mapping[str, Estimate]]
    ) -> dict[str, dict[str, Estimate]]:
        """The mean of each score over the seeds of each model, with its standard error.

        Args:
            scores: the scores of each run.

        Returns:
            The means by model and score, without an error where all values are equal.
        """
        return {
            model: {name: _mean(values) for name, values in _values(scores, runs).items()}
            for model, runs in self.models.items()
        }

    def table(self, scores: Mapping[str, Mapping[str, Estimate]]) -> pandas.DataFrame:
        """One row per model and score: its mean over seeds, compared with the first model.

        Args:
            scores: the scores of each run.

        Returns:
            `model`, `seeds`, `score`, the mean `value` and its standard `error`, the `lowest` and
            the `highest` value; `minus_first`, the difference from the mean of the first model,
            its standard error, and its `p_value` by Welch's t test, which assumes independent
            Normal values, but no equal variances.
        """
        found = {model: _values(scores, runs) for model, runs in self.models.items()}
        first = next(iter(found.values()))
        rows = [
            {"model": model, "seeds": len(self.models[model]), "score": name, **_row(own)}
            | ({} if values is first or name not in first else _apart(own, first[name]))
            for model, values in found.items()
            for name, own in values.items()
        ]
        return pandas.DataFrame(rows, columns=COLUMNS)

    def tested(self, table: pandas.DataFrame, score: str, title: str) -> list[str]:
        """A sentence per model on the difference of a score from the first model.

        Args:
            table: from `table`.
            score: the name of the score.
            title: its name in the sentence, with its unit.
        """
        first, rows = (
            next(iter(self.models)),
            table[(table.score == score) & table.p_value.notna()],
        )
        return [
            f"{title}, of {row.model}, minus that of {first}: "
            f"{Estimate(row.minus_first, row.minus_first_error):+,.2f} "
            f"({chance(row.p_value)}, Welch's t test over seeds)"
            for row in rows.itertuples()
        ]


def _once(runs: Sequence[str], seeds: Mapping[str, str]) -> list[str]:
    """The first run of each seed."""
    found: dict[str | None, str] = {}
    for run in runs:
        found.setdefault(seeds.get(run), run)
    return [*found.values()]


def _last(value: str) -> str:
    """The name of a class without its package; other values as they are."""
    return value.rpartition(".")[2] if value.replace(".", "").isidentifier() else value


def _values(
    scores: Mapping[str, Mapping[str, Estimate]], runs: Sequence[str]
) -> dict[str, np.ndarray]:
    """The values of each score that all of some runs have."""
    names = [name for name in scores[runs[0]] if all(name in scores[run] for run in runs)]
    return {name: np.array([scores[run][name].value for run in runs]) for name in names}


def _mean(values: np.ndarray) -> Estimate:
    """The mean with its standard error; without one for a single value, or equal ones."""
    return Estimate.of(values) if np.ptp(values) else Estimate(float(values[0]))


def _row(values: np.ndarray) -> dict[str, Any]:
    found = _mean(values)
    ends = {"lowest": values.min(), "highest": values.max()}
    return {"value": found.value, "error": found.error, **ends}


def _apart(values: np.ndarray, first: np.ndarray) -> dict[str, Any]:
    """The difference of two means, its standard error, and the p-value of Welch's t test."""
    from scipy.stats import ttest_ind_from_stats

    found = {"minus_first": values.mean() - first.mean()}
    error = math.hypot(*(Estimate.of(own).error or 0.0 for own in (values, first)))
    if error > 0:  # It is NaN with one seed, and 0 for constants, such as sizes.
        found["minus_first_error"] = error
        sides = [(own.mean(), own.std(ddof=1), len(own)) for own in (values, first)]
        test = ttest_ind_from_stats(*sides[0], *sides[1], equal_var=False)
        found["p_value"] = float(test.pvalue)
    return found
