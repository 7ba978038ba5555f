"""`pyrovae list FOLDER ...`: lists runs, the best validation ELBO first."""

from __future__ import annotations

from typing import Any

from pyrovae.config.parsing import Parser
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.listing import runs_in
from pyrovae.evaluation.tables import aligned
from pyrovae.utils.text import printable

#: The titles of the columns.
TITLES = ["run", "state", "best epoch", "validation ELBO", "bits/dim", "test ELBO", "test images"]
TITLES += ["differs in"]


def main(arguments: list[str]) -> None:
    """Prints the table of runs."""
    parser = Parser(prog="pyrovae list", description="Lists runs, the best first.")
    parser.add_argument("folders", nargs="*", default=["runs"], help="folders of runs")
    table = runs_in(parser.parse_args(arguments).folders)
    print(aligned([TITLES, *map(_cells, table.itertuples())], left=(0, 1, 7)))
    print("ELBO in nats per image; runs of other data or likelihoods may have other scales")


def _cells(row: Any) -> list[str]:
    """The cells of a run in the printed table; unknown numbers are empty."""
    numbers = [
        f"{row.best_epoch}" if row.best_epoch else "",
        f"{row.elbo:,.2f}",
        f"{row.bits_per_dim:.4f}",
        f"{Estimate(row.test, row.error):,.2f}",
        f"{row.test_images:,.0f}",
    ]
    known = ["" if text == "nan" else text for text in numbers]
    return [printable(row.run), row.state, *known, row.options]
