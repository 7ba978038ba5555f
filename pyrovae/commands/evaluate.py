"""`pyrovae evaluate RUN [--compare RUN ...]`: scores a run, or compares several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace

from pyrovae.config.building import check_images, load_run
from pyrovae.config.naming import find_own_parts
from pyrovae.config.options import add_opening, opening, run_parser
from pyrovae.config.parsing import Parser
from pyrovae.data import spread
from pyrovae.data.base import fingerprint
from pyrovae.engine import Engine
from pyrovae.evaluation import named_features
from pyrovae.evaluation.comparison import check_comparable, compare
from pyrovae.evaluation.opened import Opened
from pyrovae.evaluation.result_cache import ResultCache
from pyrovae.evaluation.run_scores import RunScores
from pyrovae.evaluation.scoring import SECTIONS, Options, Scorer
from pyrovae.runs import RunDirectory, checksum, distinct_runs
from pyrovae.training.overview import refresh_index
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import check_writable
from pyrovae.utils.randomness import private_randomness
from pyrovae.utils.signals import Diverged
from pyrovae.utils.text import printable
from pyrovae.utils.version import __version__

__all__ = ["check_sections", "main", "open_run", "score_run"]

#: The default features of samples.
FEATURES = "RandomConvolutions"


def open_run(
    root: str | Path,
    options: Options,
    *,
    checkpoint: str = "best",
    device: str = "auto",
    progress: bool = False,
    trust: bool = False,
    places: Mapping[str, str | Path | None] | None = None,
    data: Any = None,
    out: str | Path | None = None,
) -> Opened:
    """Loads a run and its images; reuses the stored results of an interrupted evaluation.

    Args:
        root: the run directory.
        options: what to score.
        checkpoint: "best" or "last".
        device: the device that computes.
        progress: whether to show progress bars.
        trust: whether the run may name any class. The code of these classes then runs.
        places: where the images are now, such as `{"root": "new/place"}`.
        data: the images, in place of those that the run names.
        out: the folder of the results, by default the run directory. Its folder `evaluation/`
            holds the results so far.

    Raises:
        InputError: if the run, the checkpoint or the images are missing, or the folder of the
            results cannot be written.
    """
    run, engine = RunDirectory(root), Engine(device, "fp32")
    run.check_run()
    folder = run.root if out is None else Path(out)
    check_writable(folder, "; --out (out in Python) names another folder for results of one run")
    vae, data = load_run(root, checkpoint, engine.device, trust, places, data)
    check_images(run, data)
    scorer = Scorer(vae, data, options, engine, progress=progress)
    some = torch.from_numpy(spread(scorer.split.images, 1000))
    with private_randomness(options.seed, some.device):
        seen = vae.likelihood.observe(some) if vae.likelihood.grey_levels is None else some
    weights, epoch = run.weights_of(checkpoint)
    settings = {
        "split": options.split,
        "seed": options.seed,
        "checkpoint": checkpoint,
        "weights": checksum(weights),
        "images": fingerprint(scorer.split.images),
        "observed": fingerprint(seen.numpy()),
        "device": engine.device.type,  # Random numbers differ between device types.
        "version": __version__,
    }
    scorer.journal = ResultCache(folder / "evaluation", settings)
    return Opened(run.root, scorer, settings, None if out is None else folder, epoch)


def score_run(
    root: str | Path, options: Options, sections: Sequence[str] = tuple(SECTIONS), **kwargs: Any
) -> RunScores:
    """Scores the VAE of a run: `open_run`, then `Opened.score`.

    Raises:
        InputError: if a section failed. The results of the other sections are written first.
    """
    result = open_run(root, options, **kwargs).score(sections)
    if result.failed:
        result.write()
        raise InputError("; ".join(result.failed))
    return result


def parser() -> Parser:
    """The command line of `pyrovae evaluate`."""
    parser = run_parser("evaluate", "Scores a trained VAE.")
    parser.add_texts("--compare", "other runs; differences are to RUN, image by image")
    parser.add_argument("--split", type=str, default="test", help="train, val or test")
    parser.add_argument(
        "--num_samples", type=int, default=5000, help="importance samples per image for log p(x)"
    )
    parser.add_argument(
        "--num_images", type=int, default=0, help="number of images of the split (0: all)"
    )
    parser.add_argument(
        "--evidence_images",
        type=int,
        default=0,
        help="number of images for which log p(x) is estimated (0: all); log p(x) of all images "
        "is then their mean ELBO plus the mean gap of these images",
    )
    parser.add_argument(
        "--features",
        type=str,
        default=FEATURES,
        help="features that compare samples with images: Pixels, RandomConvolutions, Inception, "
        "or the dotted path of a network",
    )
    parser.add_texts("--sections", f"any of {', '.join(SECTIONS)} (default: all)")
    parser.add_text(
        "--out",
        "folder of the results (default: RUN); with --compare, of the comparison only: each run "
        "keeps its own scores",
    )
    add_opening(parser)
    return parser


def main(arguments: list[str]) -> None:
    """Scores one or more runs; prints and writes the results."""
    given = parser().parse_args(arguments)
    sections = _checked(given)
    runs = _opened(given)
    if given.compare:
        check_comparable(runs)
    results = []
    for opened in runs:
        found = opened.score(sections)
        path = found.write()
        # The comparison has the scores of all runs, as their files have them.
        kept = found.whole().only(found)
        shown = printable(f"{kept.run}: {kept.about}") if given.compare else f"\n{found}"
        print(f"{shown}\n{path}\n", flush=True)
        for line in found.remarks:
            print(f"note: {line}", flush=True)
        refresh_index(found.run)
        results.append(found)
    if given.compare:
        whole = [own.whole() for own in results]
        print(compare(whole, Path(given.out or given.run), results))
        refresh_index(given.run)
    if failed := dict.fromkeys(reason for result in results for reason in result.failed):
        raise InputError("; ".join(failed))
    for result in results:
        _check_finite(result)


def check_sections(sections: Sequence[str], features: str) -> list[str]:
    """The sections to make, all if none is named.

    Raises:
        InputError: if a section is unknown, or the features are, or no section needs them.
        TypeError: if `sections` is a string.
    """
    if isinstance(sections, str):
        raise TypeError(f"sections must be a list of names, got {sections!r}")
    for name in sections:
        if name not in SECTIONS:
            raise InputError(f"sections: allowed are {', '.join(SECTIONS)}, got {name}")
    chosen = list(sections or SECTIONS)
    if "samples" in chosen:
        named_features(features)  # Refuses a misspelt name before hours of work.
    elif features != FEATURES:
        raise InputError(f"--features {features}: needs the section samples")
    return chosen


def _checked(given: Namespace) -> list[str]:
    """The sections to make; raises `InputError` where an option is not allowed."""
    if "." in given.features:
        find_own_parts()  # A typed dotted path is consent to run its code.
    return check_sections(given.sections or (), given.features)


def _opened(given: Namespace) -> list[Opened]:
    """The runs to score, each once, in the order in which they are given."""
    options = Options(**{own.name: getattr(given, own.name) for own in fields(Options)})
    how = {"device": given.device, "progress": True, **opening(given)}
    how["out"] = None if given.compare else given.out  # Each of several keeps its own.
    runs = distinct_runs([given.run, *given.compare]) if given.compare else [given.run]
    return [open_run(run, options, **how) for run in runs]


def _check_finite(result: RunScores) -> None:
    """Raises `Diverged` if a bound of the run, or one of its terms, is not finite."""
    for name in ("elbo", "rate", "distortion", "log_evidence"):
        found = result.scores["vae"].get(name)
        if found is not None and not math.isfinite(found.value):
            raise Diverged(
                f"{result.run}: the {name} is {found.value}: the weights cannot be used"
            )
