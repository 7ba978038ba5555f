"""The scores of a run: written as JSON and CSV, and printed as a table."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.data.rows import spread_rows
from pyrovae.evaluation.earlier import estimates, scores_of, set_aside
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.latents import SATURATED
from pyrovae.evaluation.tables import BASELINES, COLUMNS, log_p, score_table
from pyrovae.runs import RunDirectory
from pyrovae.utils.files import replace_file, replacing
from pyrovae.utils.lazy import pandas as pd
from pyrovae.utils.plain import to_json
from pyrovae.utils.text import of_groups, printable

__all__ = ["RunScores", "notes"]

#: The column of the ELBO of each image that is estimated from the draws for log p(x).
OF_DRAWS = "elbo_of_draws"
#: Settings that affect only some scores of the VAE, and these scores and columns of images.
EVIDENCE = ("num_samples", "evidence_images")
PARTIAL: dict[tuple[str, ...], frozenset[str]] = {
    EVIDENCE: frozenset(
        ("log_evidence", "evidence_bits_per_dim", "gap", "ess", "k_hat", "k_hat_above_0.7")
        + ("error", OF_DRAWS)
    ),
    ("features",): frozenset(("mmd", "density", "coverage", "frechet", "num_features")),
}
#: A note says that log p(x) is a loose bound above this share of images with k-hat above 0.7, or
#: below this median number of effective draws.
LOOSE, FEW_DRAWS = 0.5, 10
#: With fewer groups a standard error has too few degrees of freedom for a normal test.
FEW_GROUPS = 10


@dataclass(frozen=True, repr=False)
class RunScores:
    """The scores of a run.

    Attributes:
        run: its directory.
        settings: what was scored: the options, the weights and the images.
        scores: for each column of the table the scores by name.
        failed: one reason per section that could not be computed.
        each_image: one row per image: the columns of `log_evidence`, rate, distortion and name;
            only those of the sections that were computed. Its `elbo_of_draws` is estimated from
            the draws for log p(x), and differs from minus rate and distortion by noise.
        num_images: how many images were scored.
        num_dims: pixels that are scored times channels, per image.
        grey_levels: of the likelihood, see `Likelihood`.
        leaves_out: of the likelihood, see `Likelihood`.
        given: the attributes y that the programs are given: log p(x) is log p(x | y).
        out: the folder of the files; None for the run directory.
        groups: the group of each image, such as a patient; None if each is one.
        epoch: the epochs that the weights were trained for; 0 if unknown.
        remarks: one line per result of an earlier evaluation that `write` dropped or preferred.
    """

    run: Path
    settings: dict[str, Any]
    scores: dict[str, dict[str, Estimate]]
    each_image: pd.DataFrame
    num_images: int
    num_dims: int
    grey_levels: int | None
    leaves_out: bool = False
    given: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    out: Path | None = None
    groups: np.ndarray | None = field(default=None, compare=False)
    epoch: int = 0
    remarks: list[str] = field(default_factory=list, compare=False)

    @property
    def folder(self) -> Path:
        """The folder of the files: `out`, or the run directory."""
        return self.out or self.run

    @property
    def shift(self) -> float:
        """The constant to add to a log density for the log probability of grey values."""
        return -self.num_dims * math.log(self.grey_levels or 1)

    def numbers(self) -> dict[str, float]:
        """The scores of the VAE by name, without their errors."""
        return {name: found.value for name, found in self.scores["vae"].items()}

    @property
    def drawn(self) -> np.ndarray:
        """The indices of the images that have draws for log p(x)."""
        return spread_rows(self.num_images, self.settings["evidence_images"])

    def of_images(self) -> dict[str, pd.Series]:
        """Log p(x), its gap to the ELBO, and the ELBO of each image, on the scale of `comparable`.

        Values that were not computed are NaN.
        """
        each, found = self.each_image, {}
        if "log_evidence" in each:
            found["log_evidence"] = each["log_evidence"] + self.shift
            found["gap"] = each["log_evidence"] - each[OF_DRAWS]
        if "rate" in each:
            found["elbo"] = self.shift - each["rate"] - each["distortion"]
        return found

    def comparable(self, column: str) -> dict[str, Estimate]:
        """The scores of a column, with log densities as log probabilities of grey values."""
        shift = self.shift
        moves = {"log_evidence": shift, "elbo": shift, "distortion": -shift}
        return {
            name: Estimate(found.value + moves.get(name, 0.0), found.error)
            for name, found in self.scores.get(column, {}).items()
        }

    def write(self) -> Path:
        """Writes `evaluation.json` and `evaluation_images.csv` into `folder`.

        Earlier scores in these files are kept if they are of the same weights and images. Others
        are moved to files that are named by their split and number of images.

        Returns:
            The path of `evaluation.json`.
        """
        path = self.folder / "evaluation.json"
        earlier = self._earlier()
        new = self._without_worse(earlier)
        decided, stale = new._merged(earlier)
        columns = {name: earlier[name] for name in COLUMNS if name in earlier}
        if stale and "vae" in columns:
            columns["vae"] = {n: v for n, v in columns["vae"].items() if n not in stale}
        each = new._with_earlier(self.folder / "evaluation_images.csv", bool(columns), stale)
        for column, rows in new.scores.items():
            own = {name: asdict(found) for name, found in rows.items()}
            columns[column] = columns.get(column, {}) | own
        content = {**decided, "epoch": self.epoch or None, **columns}
        replace_file(path, to_json(content, indent=2) + "\n")
        if len(self.each_image):
            with replacing(self.folder / "evaluation_images.csv") as temporary:
                each.to_csv(temporary, index=False)
        return path

    def _without_worse(self, earlier: dict[str, Any]) -> RunScores:
        """The result without log p(x), if an earlier one has more draws of as many images."""
        own, scores = self.settings, self.scores["vae"]
        before = earlier.get("num_samples", 0)
        images = [
            len(spread_rows(self.num_images, settings.get("evidence_images") or 0))
            for settings in (earlier, own)
        ]
        both = "log_evidence" in scores and "log_evidence" in earlier.get("vae", {})
        if not both or before <= own["num_samples"] or images[0] < images[1]:
            return self
        self.remarks.append(
            f"log p(x) of the earlier evaluation is kept: it has {before:,} draws "
            f"per image, this one {own['num_samples']:,}"
        )
        return self._without(PARTIAL[EVIDENCE])

    def _without(self, names: Collection[str]) -> RunScores:
        """The result without some scores of the VAE and columns of images."""
        kept = {name: own for name, own in self.scores["vae"].items() if name not in names}
        each = self.each_image[[name for name in self.each_image if name not in names]]
        return replace(self, scores={**self.scores, "vae": kept}, each_image=each)

    def taking(self, settings: tuple[str, ...], other: RunScores | None) -> RunScores:
        """The result with the scores of some settings of another result, or without any.

        Args:
            settings: one of `PARTIAL`.
            other: of the same run, with such scores or without; None for none.
        """
        names, found = PARTIAL[settings], self._without(PARTIAL[settings])
        if other is None:
            return found
        scores = {name: own for name, own in other.scores["vae"].items() if name in names}
        columns = {name: other.each_image[name] for name in other.each_image if name in names}
        return replace(
            found,
            settings={**self.settings, **{name: other.settings[name] for name in settings}},
            scores={**self.scores, "vae": found.scores["vae"] | scores},
            each_image=found.each_image.assign(**columns),
        )

    def whole(self) -> RunScores:
        """The result with all scores in the files of the run, after `write`."""
        content = json.loads((self.folder / "evaluation.json").read_text())
        scores = {name: estimates(content[name]) for name in COLUMNS if name in content}
        settings = {name: content[name] for name in self.settings}
        path, each = self.folder / "evaluation_images.csv", self.each_image
        if path.exists():
            each = pd.read_csv(path, dtype={"name": str})
        return replace(self, scores=scores, settings=settings, each_image=each)

    def only(self, asked: RunScores) -> RunScores:
        """The result with those of its scores that another result has, too."""
        scores = {
            column: {name: own for name, own in rows.items() if name in asked.scores[column]}
            for column, rows in self.scores.items()
            if column in asked.scores
        }
        return replace(self, scores=scores)

    def _decided(self) -> dict[str, Any]:
        """The settings that all scores depend on, as in the file, with the number of images."""
        return {**self.settings, "num_images": self.num_images}

    def _earlier(self) -> dict[str, Any]:
        """The scores in the file if they are of the same weights and images; else nothing.

        Other scores that `pyrovae evaluate` wrote are moved to separate files.
        """
        partial = {name for settings in PARTIAL for name in settings}
        whole = {key: value for key, value in self._decided().items() if key not in partial}
        earlier = scores_of(self.folder)
        damaged = [name for name in COLUMNS if not isinstance(earlier.get(name, {}), dict)]
        other = [key for key, value in whole.items() if earlier.get(key, value) != value]
        if not (damaged or other) and whole.keys() <= earlier.keys():
            return earlier
        if other and "weights" in earlier:
            self.remarks.append(set_aside(self.folder, earlier, other))
        return {}

    def _merged(self, earlier: dict[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
        """The settings of earlier and new scores together, and the earlier scores to drop.

        Settings of scores that were not computed again keep their earlier values.
        """
        decided, stale = self._decided(), frozenset[str]()
        for settings, scores in PARTIAL.items():
            before = {name: earlier[name] for name in settings if name in earlier}
            if scores.isdisjoint(self.scores["vae"]):
                decided |= before
            elif any(decided[name] != value for name, value in before.items()):
                stale |= scores
        return decided, stale

    def _with_earlier(self, path: Path, same: bool, stale: frozenset[str]) -> pd.DataFrame:
        """The rows of images, with the other columns of the file if its settings are the same."""
        each = self.each_image
        try:
            earlier = pd.read_csv(path, dtype={"name": str})
            same = same and list(earlier["name"]) == list(map(str, each["name"]))
        except (OSError, ValueError, KeyError):
            return each
        more = [name for name in earlier if name not in {*each, *stale}] if same else []
        return each.assign(**{name: earlier[name] for name in more})

    @property
    def about(self) -> str:
        """One line on the images, the draws and the features."""
        features = self.settings["features"]
        samples = any(name in self.scores["vae"] for name in ("mmd", "frechet"))
        note = "; only seen pixels are scored" if self.leaves_out else ""
        if "log_evidence" in self.each_image:
            note += f"; {log_p(self.given)} from {self.settings['num_samples']:,} draws"
            if len(self.drawn) < self.num_images:
                note += f" for {len(self.drawn):,} of them, and the ELBO of all"
        note += f"; samples in the features of {features}" if samples else ""
        images = f"{self.num_images:,} images{of_groups(self.groups)}"
        return f"{self.settings['split']}, {images}{note}"

    def __repr__(self) -> str:
        """The run and the number of images; `print` shows the scores."""
        return f"<Scores of {self.run}: {self.about}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the table."""
        return f"<pre>{escape(str(self))}</pre>"

    def __str__(self) -> str:
        """The table as text."""
        head = printable(f"{self.run}: {self.about}")
        given = ("vae",) if self.given else ()
        noted = (f"note: {line}" for line in notes(self))
        return "\n".join([head, score_table(self.scores, given=given), *noted])


def notes(result: RunScores) -> list[str]:
    """Notes on scores that need care, one line per note."""
    own = result.scores["vae"]
    found = [*_on_training(result), *_on_evidence(result, own), *_on_sizes(result, own)]
    few = result.groups is not None and len({*result.groups}) < FEW_GROUPS
    if few:
        found.append(
            f"standard errors of fewer than {FEW_GROUPS} groups are rough: a difference of three "
            "of them may be chance."
        )
    if result.given:
        found.append(
            f"the programs are given y ({', '.join(result.given)}), and baselines are not. If log "
            "p(x | y) is above log p(x) of a model without y, this does not show a better model "
            "of x; if it is below, there is a fault."
        )
    if result.grey_levels is None and "ppca" in result.scores:
        found.append(
            "linear (PPCA) scores a density of binary pixels with uniform noise: a loose lower "
            "bound of their log probability."
        )
    for name in BASELINES:
        more = result.scores.get(name, {}).get("more_than_elbo")
        if more is not None and more.sure and not few:
            found.append(
                f"the ELBO is {more.value:,.0f} nats (standard error {more.error:,.1f}) below "
                f"log p(x) of the baseline {COLUMNS[name]}."
            )
    return found


def _on_training(result: RunScores) -> Iterator[str]:
    if done := RunDirectory(result.run).unfinished():
        yield f"trained for {done}; weights of epoch {result.epoch}."


def _on_evidence(result: RunScores, own: dict[str, Estimate]) -> Iterator[str]:
    bad, draws = own.get("k_hat_above_0.7"), own.get("ess")
    if draws and ((bad and bad.value > LOOSE) or draws.value < FEW_DRAWS):
        share = f"k-hat is above 0.7 for {bad.value:.0%} of the images, and " if bad else ""
        yield (
            f"{log_p(result.given)} is a loose lower bound: {share}the median of effective draws "
            f"is {draws.value:,.1f} of {result.settings['num_samples']:,}. More draws raise it."
        )


def _on_sizes(result: RunScores, own: dict[str, Estimate]) -> Iterator[str]:
    if "limit" in own and own["limit"].value - own["mutual_information"].value < SATURATED:
        yield (
            f"I(x; z) is limited by the number of images ({result.num_images:,}): it is too low, "
            "and the KL to the prior too high by the same amount. More images reduce this bias."
        )
    if "num_features" in own and own["num_features"].value >= result.num_images:
        yield (
            f"the Frechet distance is mostly bias: {result.num_images:,} images for "
            f"{own['num_features'].value:,.0f} features. Use more images than features."
        )
