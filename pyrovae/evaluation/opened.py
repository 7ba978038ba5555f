"""A run that is ready to be scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.run_scores import OF_DRAWS, RunScores
from pyrovae.evaluation.scoring import SECTIONS, Scorer
from pyrovae.evaluation.tables import BASELINES, in_short
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas as pd

__all__ = ["Opened"]

#: Why a section may have no scores.
ABSENT = {
    "factors": "the data set names no factors (--data.factors)",
    "classes": "the programs predict no attribute that the images have",
    "ppca": "probabilistic PCA needs the same seen pixels in all images",
}


@dataclass(frozen=True)
class Opened:
    """A run that is ready to be scored.

    Attributes:
        run: its directory.
        scorer: computes its scores.
        settings: what all of its scores depend on besides the scorer's options.
        out: the folder of the results; None for the run directory.
        epoch: the epochs that its weights were trained for; 0 if unknown.
    """

    run: Path
    scorer: Scorer
    settings: dict[str, Any]
    out: Path | None = None
    epoch: int = 0

    @property
    def given(self) -> tuple[str, ...]:
        """The attributes that the programs are given."""
        return self.scorer.programs.attributes

    def score(self, sections: Sequence[str]) -> RunScores:
        """Computes the scores of these sections, or reads them from the cache."""
        scores: dict[str, dict[str, Estimate]] = {"vae": {}}
        failed: list[str] = []
        for name in (section for section in SECTIONS if section in sections):
            try:
                found = self.scorer.section(name)
            except InputError as error:
                failed.append(str(error))
                if self.scorer.progress:
                    print(f"not scored: {error}", flush=True)
                continue
            if not found:
                if {*sections} != {*SECTIONS}:
                    failed.append(f"{name}: {ABSENT[name]}")
                continue
            scores.setdefault(name if name in BASELINES else "vae", {}).update(found)
            if self.scorer.progress:
                given = () if name in BASELINES else self.given
                print(f"{name.replace('_', ' ')}: {in_short(found, given)}", flush=True)
        return self._result(scores, tuple(failed))

    def _result(
        self, scores: dict[str, dict[str, Estimate]], failed: tuple[str, ...]
    ) -> RunScores:
        scorer, there = self.scorer, scores["vae"]
        drawn = "log_evidence" in there
        each = scorer.evidence.rename(columns={"elbo": OF_DRAWS}) if drawn else pd.DataFrame()
        if "elbo" in there or 0 < len(each) < len(scorer.split):
            each = each.reindex(scorer.terms.index).assign(**scorer.terms)
        likelihood = scorer.programs.likelihood
        how = (scorer.num_scored, likelihood.grey_levels, likelihood.leaves_out)
        settings = {**asdict(scorer.options), **self.settings}
        both = len(scorer.split), *how, self.given, failed, self.out, scorer.split.groups
        return RunScores(self.run, settings, scores, each, *both, self.epoch)
