"""What does moving along a dimension change?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyrovae.inspection.figures.sheets import image_sheet, with_change
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject
from pyrovae.inspection.traversals import along, effects, show_within
from pyrovae.posterior.encoding import encode

if TYPE_CHECKING:
    import pandas

__all__ = ["section", "shown_means", "sites_said", "traversal_table"]

PLACE = 80

#: Dimensions, and images, whose traversals are drawn.
ROWS, IMAGES = 10, 2
#: The quantiles of the latents of all images that a dimension goes through.
SHARES = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
#: Nats that a dimension carries if it carries anything, and a change in levels of 255 that
#: nobody sees.
CARRIES, UNSEEN = 0.1, 0.5


def section(subject: Subject) -> Section:
    """What the dimensions do, in the order of their rates."""
    table = traversal_table(subject)
    z, inputs = shown_means(subject)
    figures = {
        f"traversal_{row}": _drawing(subject, table, row, z, inputs)
        for row in range(min(IMAGES, len(z)))
    }
    idle = table[(table["kl"] > CARRIES) & (table["change"] < UNSEEN)]
    return Section(
        "What do the dimensions mean?",
        _says(table, len(z)) + _idle_said(idle),
        _advice(idle),
        {"traversals": table.reset_index()},
        figures,
    )


def shown_means(subject: Subject) -> tuple[Tensor, dict[str, Tensor]]:
    """Posterior means of the images that are looked at, `(B, D)`, and what the programs take."""
    encoded = encode(subject.programs, subject.shown, subject.engine, seed=subject.seed)
    x, inputs = subject.observed(subject.shown)
    return torch.from_numpy(encoded.loc).to(x), inputs


def sites_said(subject: Subject, rest: str) -> list[str]:
    """That only some sites are looked at, if so, and what is of all sites all the same."""
    if not subject.sites:
        return []
    return [f"Only the dimensions of {', '.join(subject.sites)} are shown; {rest} of all sites."]


def traversal_table(subject: Subject) -> pandas.DataFrame:
    """How much each dimension changes the images that are looked at, by falling rate.

    Returns:
        A row a dimension: its rate `kl` in nats an image, and the columns of `effects` from the
        1 % to the 99 % quantile of the draws of all images.
    """
    encoded, columns = subject.encoded, subject.columns
    low, high = np.quantile(encoded.draws[:, columns], (SHARES[0], SHARES[-1]), axis=0)
    z, inputs = shown_means(subject)
    with subject.quietly(2):
        table = effects(subject.space, z, columns, low, high, **inputs)
    table.insert(0, "kl", encoded.kl[:, columns].mean(0))
    return table.sort_values("kl", ascending=False, kind="stable")


def _drawing(
    subject: Subject, table: pandas.DataFrame, row: int, z: Tensor, inputs: dict[str, Tensor]
) -> Drawing:
    """A grid: a row a dimension, the image between, what changes at the end."""
    top = table.index[:ROWS]
    dims = [subject.space.names.index(name) for name in top]
    values = np.quantile(subject.encoded.draws[:, dims], SHARES, axis=0).T
    own = {name: value[row : row + 1] for name, value in inputs.items()}
    with subject.quietly(2):
        paths = along(z[row : row + 1], dims, torch.from_numpy(values).to(z))
        shown = show_within(subject.space, paths, **own)[:, :, 0].cpu()
    sheet, most = with_change(shown)
    labels = [f"{name}\n{table['kl'][name]:.2f} nats" for name in top]
    columns = [f"{100 * share:.0f} %" for share in SHARES] + ["change"]
    name = str(subject.shown.names[row]).split("/")[-1]
    return Drawing(
        image_sheet(sheet, labels, columns),
        f"The posterior mean of the image {name} decoded, with one dimension at a time moved to "
        f"quantiles of the guide's draws ({subject.where()}) and all others left as they are; "
        f"the {len(top)} dimensions that carry most, with their rates in nats an image. Last: how "
        f"far each pixel moves, white is {most:.0f} of 255 grey levels or more.",
    )


def _says(table: pandas.DataFrame, images: int) -> list[str]:
    from scipy.stats import spearmanr

    change, name = table["change"], table["change"].idxmax()
    said = [
        f"Moving {name} from its 1 % to its 99 % quantile changes the decoded image most: pixels "
        f"by {change.max():.1f} of 255 grey levels (root mean square over {images} images); the "
        f"median dimension moves them by {change.median():.1f}."
    ]
    if len(table) > 2 and min(np.ptp(table["kl"]), np.ptp(change)) > 0:
        rank = spearmanr(table["kl"], change)[0]
        said.append(
            f"The rank correlation of the dimensions' rates with these changes is {rank:.2f}: "
            + (
                "what carries more nats shows more in the image."
                if rank > 0.5
                else "nats are also spent on what hardly shows, as fine detail."
            )
        )
    return said


def _idle_said(idle: pandas.DataFrame) -> list[str]:
    if not len(idle):
        return []
    named = ", ".join(idle.index[:5]) + (" ..." if len(idle) > 5 else "")
    return [
        f"{len(idle)} dimensions ({named}) carry more than {CARRIES} nats but move pixels by less "
        f"than {UNSEEN} grey levels: the guide writes what the decoder does not read."
    ]


def _advice(idle: pandas.DataFrame) -> list[str]:
    if not len(idle):
        return []
    return [
        "Rate that the decoder ignores should vanish with training: train longer, and see "
        "whether the decoder's own learning rate or a dead layer holds it back."
    ]
