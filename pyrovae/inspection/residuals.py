"""Where images differ from their reconstructions by more than reference images do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from pyrovae.data import Split
from pyrovae.inspection.dispersion import mean_and_variance
from pyrovae.inspection.subject import Subject
from pyrovae.posterior.passes import each_batch
from pyrovae.programs.pair import run_both
from pyrovae.utils.lazy import pandas

__all__ = ["RelativeResiduals"]

#: The side of the square over which squared residuals are averaged, in pixels.
SQUARE = 5
#: Share of the mean square residual that is added to that of each pixel: pixels that never vary,
#: such as borders, have none.
FLOOR = 0.1
#: Images per batch.
AT_ONCE = 50


class RelativeResiduals:
    r"""The residuals around each pixel of images, relative to those of reference images.

    $$r_n = \sqrt{\frac{s_n}{\bar s + m / 10}}, \quad
    s_n = \frac{1}{C} \sum_c \left(x_{nc} - \mathbb{E}[x_c \mid z_n]\right)^2, \quad
    z_n \sim q(z \mid x_n)$$

    $s_n$ is averaged over squares of 5x5 pixels, $\bar s$ over the reference images, and m over
    all pixels of these: 1 is the usual size of residuals around a pixel. Pixels that are not
    scored have residual 0.

    Args:
        subject: what is inspected.
        reference: images of the distribution of the training images.

    References:
        Autoencoders for Unsupervised Anomaly Segmentation in Brain MR Images: A Comparative Study
        (Baur et al., 2021), https://arxiv.org/abs/2004.03271, on such maps of residuals
    """

    def __init__(self, subject: Subject, reference: Split) -> None:
        self.subject, self.reference = subject, reference

    def maps(self, images: Split, rows: Sequence[int]) -> np.ndarray:
        """The relative residuals of some images, `(N, H, W)`, at the draws that `largest` has.

        Args:
            images: those that `largest` gets.
            rows: the indices of the images with a map.
        """
        found: dict[int, Tensor] = {}
        first = 0
        for own in self._relative(images):
            found |= {row: own[row - first] for row in rows if first <= row < first + len(own)}
            first += len(own)
        return torch.stack([found[row] for row in rows]).numpy()

    def largest(self, images: Split) -> pandas.DataFrame:
        """The largest relative `residual` of each image, and its `row` and `column`."""
        found = [_largest(own) for own in self._relative(images)]
        return pandas.concat(found, ignore_index=True)

    def of_reference(self) -> np.ndarray:
        """The largest relative residual of each reference image among the others, `(N,)`."""
        count = len(self.reference)
        others = (count * self._usual - self._squares) / (count - 1)
        return _largest((self._squares / self._scale(others)).sqrt()).residual.to_numpy()

    @cached_property
    def _squares(self) -> Tensor:
        return torch.cat([*self._batches(self.reference)])

    @cached_property
    def _usual(self) -> Tensor:
        return self._squares.mean(0)

    def _scale(self, usual: Tensor) -> Tensor:
        return usual + FLOOR * self._usual.mean() + torch.finfo(usual.dtype).tiny

    def _relative(self, images: Split) -> Iterator[Tensor]:
        """The relative residuals of each batch, `(B, H, W)`."""
        scale = self._scale(self._usual)
        return ((own / scale).sqrt() for own in self._batches(images))

    def _batches(self, images: Split) -> Iterator[Tensor]:
        """The squared residuals around each pixel of each batch, `(B, H, W)`."""
        programs = self.subject.programs

        def compute(x: Tensor, **inputs: Any) -> Tensor:
            _, model = run_both(programs.model, programs.guide, x, **inputs)
            mean, _, noise = mean_and_variance(model.nodes["x"]["fn"])
            squares = ((x - mean).square() - noise).nan_to_num(0.0).mean(1, keepdim=True)
            around = avg_pool2d(squares, SQUARE, 1, SQUARE // 2, count_include_pad=False)
            return around[:, 0].clamp(min=0).cpu().double()

        whole = programs, images, self.subject.engine, compute
        return each_batch(*whole, seed=self.subject.seed, batch_size=AT_ONCE)


def _largest(maps: Tensor) -> pandas.DataFrame:
    found, place = maps.flatten(1).max(1)
    row, column = np.unravel_index(place.numpy(), maps.shape[1:])
    return pandas.DataFrame({"residual": found.numpy(), "row": row, "column": column})
