"""Scores as text: their titles, decimal places and order in tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import zip_longest

from pyrovae.evaluation.estimates import Estimate
from pyrovae.posterior.elbo import OF_SITE

__all__ = ["aligned", "score_table"]

#: The scores of each column of a table by name.
Columns = dict[str, dict[str, Estimate]]
#: What the run that differences are to is called in titles.
FIRST = "the first run"
#: The longest name of a run in a title, in characters.
SHORT = 32
#: Title and decimal places of each score. Scores that are not listed are shown by their names.
TITLES: dict[str, tuple[str, int]] = {
    # Bits come first: nats of densities and of probabilities cannot be compared.
    "evidence_bits_per_dim": ("log p(x), bits/dim", 4),
    "log_evidence": ("log p(x), nats", 2),
    "more_than_first": (f"  minus {FIRST}, per image", 2),
    "more_than_elbo": ("  difference from the ELBO of the VAE", 2),
    "bits_per_dim": ("ELBO, bits/dim, upper bound", 4),
    "elbo": ("ELBO, nats", 2),
    "elbo_more_than_first": (f"  minus {FIRST}, per image", 2),
    "rate": ("rate, nats", 2),
    "distortion": ("distortion, nats", 2),
    "gap": ("log p(x) - ELBO, nats", 2),
    "ess": ("effective draws, median", 1),
    "k_hat": ("Pareto k-hat, median", 2),
    "k_hat_above_0.7": ("  share of images above 0.7", 3),
    "active_units": ("active units", 0),
    "latent_dims": ("  latent dimensions", 0),
    "mutual_information": ("mutual information I(x; z), nats, lower bound", 2),
    "limit": ("  largest possible value, log N", 2),
    "aggregate_kl": ("KL of aggregate posterior to prior, nats, upper bound", 2),
    "psnr": ("PSNR of reconstructions, dB", 2),
    "ssim": ("SSIM of reconstructions", 3),
    "accuracy": ("accuracy of the class", 4),
    "chance": ("  share of the most frequent class", 4),
    "log_loss": ("log loss of the class, nats", 3),
    "calibration_error": ("calibration error of the class", 4),
    "calibration_noise": ("  by noise alone, if calibrated", 4),
    "mutual_information_gap": ("MIG: mutual information gap", 3),
    "disentanglement": ("DCI: disentanglement", 3),
    "completeness": ("  completeness", 3),
    "informativeness": ("  informativeness", 3),
    "mmd": ("samples: squared MMD", 5),
    "density": ("samples: density", 3),
    "coverage": ("samples: coverage", 3),
    "frechet": ("samples: Frechet distance", 3),
    "num_features": ("  number of features", 0),
}
#: Names of the mean differences per image, by score.
MORE = {"log_evidence": "more_than_first", "elbo": "elbo_more_than_first"}
COLUMNS = {"vae": "VAE", "ppca": "linear (PPCA)", "without_latent": "no latent"}
#: The columns besides that of the VAE; each is also a section.
BASELINES = ("ppca", "without_latent")

#: Scores that differ by a constant between a density of pixels and the probability of grey values.
SCALED = ("log_evidence", "elbo", "distortion")


def called(first: str) -> str:
    """What titles call the run that differences are to: its name if it is short."""
    return first if len(first) <= SHORT else FIRST


def log_p(given: Collection[str]) -> str:
    """What log p(x) is called, for programs that are given attributes y or none."""
    return "log p(x | y)" if given else "log p(x)"


def score_table(
    columns: Columns,
    *,
    greys: bool = False,
    given: Collection[str] = (),
    first: str = FIRST,
) -> str:
    """A table of scores as text: one row per score, one column per model.

    Args:
        columns: the scores of each model by name, which may have several lines.
        greys: whether densities have been converted to probabilities of grey values.
        given: the columns of programs that are given attributes y. Their log p(x | y) has separate
            rows.
        first: the name of the run that differences are to.
    """
    found = dict.fromkeys(name for rows in columns.values() for name in rows)
    # Scores of single factors are in the file only.
    sites = [name for name in found if name.startswith(OF_SITE)]
    order = [n for name in TITLES for n in (name, *(sites if name == "rate" else []))]
    names = [name for name in dict.fromkeys([*order, *found]) if name in found and "/" not in name]
    heads = [COLUMNS.get(column, column).split("\n") for column in columns]
    shown = [["", *line] for line in zip_longest(*heads, fillvalue="")]
    for name in names:
        title, digits = TITLES.get(name, _title(name))
        title = title.replace(FIRST, first)
        if greys and name in SCALED:
            title = title.replace(",", " of grey values,")
        cells = {column: cell(rows.get(name), digits) for column, rows in columns.items()}
        shown += [[own, *texts] for own, texts in _lines(title, cells, given)]
    return aligned(shown)


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Rows of texts as columns, two spaces apart.

    Args:
        rows: one text per column each.
        left: the columns that are aligned on the left; others are on the right.

    Example:
        >>> print(aligned([["a", "10"], ["bcd", "5"]]))
        a    10
        bcd   5
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            text.ljust(width) if place in left else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _lines(
    title: str, cells: dict[str, str], given: Collection[str]
) -> Iterator[tuple[str, list[str]]]:
    """The rows of one score: with and without y, if its title has log p(x)."""
    if log_p(()) not in title:
        yield title, [*cells.values()]
        return
    for named, own in ((log_p(given), True), (log_p(()), False)):
        line = [text if (column in given) == own else "" for column, text in cells.items()]
        if any(line):
            yield title.replace(log_p(()), named), line


def _title(name: str) -> tuple[str, int]:
    """The title and decimal places of a score that `TITLES` does not list."""
    if name.startswith(OF_SITE):
        return f"  of latent site {name.removeprefix(OF_SITE)}", 2
    return name.replace("_", " "), 3


def in_short(scores: dict[str, Estimate], given: Sequence[str] = ()) -> str:
    """Scores in one line, printed after each section."""
    parts = (
        f"{title.strip().removeprefix('samples: ')} {cell(scores[name], digits)}"
        for name, (title, digits) in TITLES.items()
        if name in scores
    )
    return "; ".join(parts).replace(log_p(()), log_p(given))


def cell(found: Estimate | None, digits: int) -> str:
    """A score with its standard error; empty if there is none.

    Counts have no errors, but their means over seeds do, and get a decimal place.
    """
    if found is None:
        return ""
    return f"{found:,.{digits or int(found.error is not None)}f}"
