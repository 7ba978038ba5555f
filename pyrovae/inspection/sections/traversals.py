"""The change of the decoded image along each latent dimension."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pyrovae.inspection.plotting import image_sheet
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject
from pyrovae.inspection.traversals import along, effects, show_within
from pyrovae.utils.lazy import pandas

__all__ = ["section", "shown_means", "sites_said", "traversal_table", "with_change"]

PLACE = 80

#: Dimensions, and images, whose traversals are drawn.
ROWS, IMAGES = 10, 2
#: The quantiles of the latents of all images to which a dimension is moved.
SHARES = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
#: The least rate of a used dimension, in nats, and the least visible change, in levels of 255.
CARRIES, UNSEEN = 0.1, 0.5


def section(subject: Subject) -> Section:
    """The effects of the dimensions on the decoded image, in the order of their rates."""
    table = traversal_table(subject)
    z, inputs = shown_means(subject)
    figures = {
        f"traversal_{row}": _drawing(subject, table, row, z, inputs)
        for row in range(min(IMAGES, len(z)))
    }
    idle = table[(table["kl"] > CARRIES) & (table["change"] < UNSEEN)]
    return Section(
        "What does each latent dimension change?",
        _says(table, len(z)) + (_idle_said(idle) if len(idle) else []),
        tables={"traversals": table.reset_index()},
        figures=figures,
        captions={"traversals": "Rate and visible change per dimension"},
    )


def shown_means(subject: Subject) -> tuple[Tensor, dict[str, Tensor]]:
    """Posterior means of the shown images, `(B, D)`, and the programs' inputs for them."""
    x, inputs = subject.observed(subject.shown)
    return torch.from_numpy(subject.of(subject.shown).encoded.loc).to(x), inputs


def sites_said(subject: Subject, rest: str) -> list[str]:
    """A sentence on the selected sites, and on what covers all sites; empty for all sites."""
    if not subject.sites:
        return []
    return [f"Only the dimensions of {', '.join(subject.sites)} are shown; {rest} of all sites."]


def traversal_table(subject: Subject) -> pandas.DataFrame:
    """The change of the shown images along each dimension, by falling rate.

    Returns:
        A row per dimension: its rate `kl` in nats per image, and the columns of `effects` from the
        1% to the 99% quantile of the draws of all images.
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
    """A sheet with a row per dimension, and a last column that shows the change."""
    top = table.index[:ROWS]
    dims = [subject.space.names.index(name) for name in top]
    values = np.quantile(subject.encoded.draws[:, dims], SHARES, axis=0).T
    own = {name: value[row : row + 1] for name, value in inputs.items()}
    with subject.quietly(2):
        paths = along(z[row : row + 1], dims, torch.from_numpy(values).to(z))
        shown = show_within(subject.space, paths, **own)[:, :, 0].cpu()
    sheet, most = with_change(shown)
    labels = [f"{name}\n{table['kl'][name]:.2f} nats" for name in top]
    columns = [f"{100 * share:.0f}%" for share in SHARES] + ["change"]
    name = str(subject.shown.names[row])
    return Drawing(
        image_sheet(sheet, labels, columns),
        f"Latent dimensions of the image {name}. Each row moves one dimension of the posterior "
        f"mean to quantiles of the guide's draws ({subject.where()}) and decodes the result. The "
        f"rows are the {len(top)} dimensions with the largest rate, in nats per image. The last "
        f"column shows the range of each pixel along the row: white is {most:.0f} of 255 grey "
        f"levels or more.",
    )


def _says(table: pandas.DataFrame, images: int) -> list[str]:
    from scipy.stats import spearmanr

    change, name = table["change"], table["change"].idxmax()
    said = [
        f"Dimension {name} changes the decoded image most: by {change.max():.1f} of 255 grey "
        f"levels from its 1% to its 99% quantile (root mean square over pixels and {images} "
        f"images). The median dimension changes it by {change.median():.1f} grey levels."
    ]
    if len(table) > 2 and min(np.ptp(table["kl"]), np.ptp(change)) > 0:
        rank = spearmanr(table["kl"], change)[0]
        meaning = "dimensions with a larger rate do not always change the image more"
        if rank > 0.5:
            meaning = "dimensions with a larger rate change the image more"
        said.append(f"The rank correlation of rate and change is {rank:.2f}: {meaning}.")
    return said


def _idle_said(idle: pandas.DataFrame) -> list[str]:
    named = ", ".join(idle.index[:5]) + (f" ... ({len(idle)} in all)" if len(idle) > 5 else "")
    return [
        f"Dimensions with a rate above {CARRIES} nats that the decoder hardly uses: {named}. "
        "Changing one of them, with the other latents fixed, changes pixels by less than "
        f"{UNSEEN} grey levels."
    ]


def with_change(rows: Tensor) -> tuple[Tensor, float]:
    """Appends a column with the range of each pixel along its row, as a mean over channels.

    Args:
        rows: floats in [0, 1], `(R, S, C, H, W)`.

    Returns:
        `(R, S + 1, C, H, W)`, and the range that is shown white, in levels of 255, which one
        pixel in a hundred exceeds.

    Example:
        >>> with_change(torch.rand(2, 3, 1, 8, 8))[0].shape
        torch.Size([2, 4, 1, 8, 8])
    """
    change = (rows.amax(1) - rows.amin(1)).mean(1, keepdim=True)
    most = float(np.quantile(change.numpy(), 0.99))
    shown = (change / max(most, 1e-12)).clamp(max=1).expand_as(rows[:, 0])
    return torch.cat([rows, shown[:, None]], 1), 255 * most
