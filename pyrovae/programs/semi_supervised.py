"""The semi-supervised VAE: a class and a vector per image, with few known classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceEnum_ELBO
from torch import Tensor, nn
from torch.nn.functional import silu

from pyrovae.data import ImageData, Split, as_image_data
from pyrovae.likelihoods import Likelihood
from pyrovae.networks import Decoder, Encoder
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from pyrovae.programs.conditional import one_hot
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.programs.vae import Program, count, parts_for
from pyrovae.utils.arguments import remade
from pyrovae.utils.errors import InputError

__all__ = ["SemiSupervisedGuide", "SemiSupervisedModel", "SemiSupervisedVAE"]

#: Each step decodes every image once per class.
MOST_CLASSES = 256
#: The logit of the other classes of an image whose class is known. Their probability is 0 in
#: float32 and in float64, and 0 times the logit is finite.
IMPOSSIBLE = -1e4


class SemiSupervisedModel(Program):
    r"""The generative program: a class and a latent vector, then an image given both.

    $$y \sim \text{uniform}(1, \dots, K), \qquad z \sim p(z), \qquad
    x \sim p(x \mid z, y) = \text{likelihood}(\text{decoder}(z, y))$$

    Args:
        prior: p(z).
        decoder: the network from z and the one-hot class to the likelihood's maps.
        likelihood: p(x given the decoder's output).
        num_classes: K.
    """

    logits: Tensor

    def __init__(
        self, prior: Prior, decoder: nn.Module, likelihood: Likelihood, num_classes: int
    ) -> None:
        super().__init__()
        self.prior, self.decoder, self.likelihood = prior, decoder, likelihood
        self.register_buffer("logits", torch.zeros(num_classes))

    def forward(
        self, x: Tensor | None = None, num_images: int = 1, *, labels: Tensor | None = None
    ) -> Tensor:
        """Runs the program, conditioned on `x`, or draws images; `labels` are not used."""
        with pyro.plate("images", num_images if x is None else count(x), dim=-1):
            y = pyro.sample("y", dist.OneHotCategorical(logits=self.logits))
            z = pyro.sample("z", self.prior())
            # Enumerated classes have the shape (K, 1, K).
            batch = torch.broadcast_shapes(y.shape[:-1], z.shape[:-1])
            both = torch.cat([z.expand(*batch, -1), y.expand(*batch, -1)], -1)
            return pyro.sample("x", self.likelihood(self.decoder(both)), obs=x)


class SemiSupervisedGuide(Program):
    r"""The inference program: a class per image, then a latent vector given image and class.

    $$h = \text{encoder}(x), \qquad y \sim q(y \mid x) = \text{softmax}(W\, s(h)), \qquad
    z \sim q(z \mid x, y) = \text{posterior}(V\, s(h + U y))$$

    where s is the SiLU. If the class is known, y is that class.

    Args:
        encoder: the network from images to features h.
        posterior: the family of q(z given x and y).
        num_features: the number of features.
        num_classes: K.
        alpha: the weight of the classification loss of images whose class is known.
    """

    def __init__(
        self,
        encoder: nn.Module,
        posterior: Posterior,
        num_features: int,
        num_classes: int,
        alpha: float,
    ) -> None:
        super().__init__()
        self.encoder, self.posterior = encoder, posterior
        self.classifier = nn.Linear(num_features, num_classes)
        self.of_class = nn.Linear(num_classes, num_features, bias=False)
        self.head = nn.Linear(num_features, posterior.num_params)
        self.alpha = alpha

    def class_logits(self, x: Tensor) -> Tensor:
        """The logits of q(y given x), `(*, K)`, for x `(*, C, H, W)`."""
        return self.classifier(silu(self.encoder(x)))

    def z_dist(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        """q(z given x and y) for one-hot classes y `(*, K)`; by default all classes equally."""
        if y is None:
            classes = self.of_class.in_features
            y = self.of_class.weight.new_full((classes,), 1 / classes)
        return self._z_dist(self.encoder(x), y)

    def _z_dist(self, h: Tensor, y: Tensor) -> dist.TorchDistribution:
        return self.posterior(self.head(silu(h + self.of_class(y))))

    def forward(self, x: Tensor, num_images: int = 1, *, labels: Tensor | None = None) -> Tensor:
        """Runs the program for observations `x`.

        Args:
            x: observations `(B, C, H, W)`.
            num_images: not used.
            labels: classes `(B,)`, negative or NaN where unknown; None if all are unknown.
        """
        with pyro.plate("images", count(x), dim=-1):
            h = self.encoder(x)
            logits = self.classifier(silu(h))
            if labels is not None:
                logits = self._given(logits, labels)
            q = dist.OneHotCategorical(logits=logits)
            y = pyro.sample("y", q, infer={"enumerate": "parallel"})
            return pyro.sample("z", self._z_dist(h, y))

    def _given(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The logits of q(y given x and the known classes); adds the classification loss."""
        known = one_hot(labels.to(logits), logits.shape[-1])
        log_q = (known * logits.log_softmax(-1)).sum(-1)
        # The loss contains the log density of the guide, so the sign is that of a loss.
        pyro.factor("classification", -self.alpha * log_q, has_rsample=True)
        return torch.where(known.any(-1, keepdim=True), IMPOSSIBLE * (1 - known), logits)


class SemiSupervisedVAE(ModelGuidePair):
    r"""A VAE with a class per image, which is known for a part of the training images (M2).

    $$L(x, y) = \mathbb{E}_{q(z \mid x, y)}\left[\log p(x \mid z, y) + \log p(y) + \log p(z) -
    \log q(z \mid x, y)\right], \qquad U(x) = \sum_y q(y \mid x) \left(L(x, y) -
    \log q(y \mid x)\right)$$

    The loss is $-U(x)$ of an image whose class is unknown, and
    $-L(x, y) - \alpha \log q(y \mid x)$ of an image whose class is known. The sum over y is exact,
    so training needs `--objective TraceEnum_ELBO`. The reported ELBO lacks the last term.

    Use it to classify images of which few have labels. Labels enter in training only. Validation
    and evaluation score U(x), and compare q(y given x) with the labels. The encoder is made anew
    with `num_features` outputs, and the decoder gets the one-hot class beside z.

    An epoch has each image once, and repeats images with a label until their share of the epoch
    is about `labelled_share`, so that every batch has some of them. Their L(x, y) counts as often.

    Args:
        encoder: network from images to features.
        decoder: network from latents to `likelihood.num_maps(C)` maps.
        prior: p(z).
        likelihood: p(x given the decoder's output).
        posterior: q(z given features of the image and the class).
        num_classes: K, the number of classes, from 2 to 256.
        label: the attribute of the data that holds the class 0, 1, ...; NaN or a negative number
            where it is unknown.
        num_labels: the number of training images whose label is used, as many of each class; None
            uses all known labels.
        label_seed: seed of the choice of these images.
        labelled_share: the least share of images with a label among those of an epoch, below 1.
        alpha: the weight of the classification loss of an image with a label, at least 0.
        num_features: the number of outputs of the encoder.

    Raises:
        InputError: if a number is not allowed.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014, equations 6, 7
        and 9), https://arxiv.org/abs/1406.5298

    Example:
        >>> from pyrovae import DiagonalNormal, MLPDecoder, MLPEncoder, Normal, StandardNormal
        >>> vae = SemiSupervisedVAE(
        ...     encoder=MLPEncoder((1, 8, 8), num_outputs=4),
        ...     decoder=MLPDecoder((1, 8, 8), latent_dim=2, num_maps=1),
        ...     prior=StandardNormal(2),
        ...     likelihood=Normal(scale=0.1),
        ...     posterior=DiagonalNormal(2),
        ...     num_classes=10,
        ... )
        >>> vae.sample(3, attributes=torch.tensor([[7.0], [7.0], [1.0]])).shape
        torch.Size([3, 1, 8, 8])
        >>> vae.class_probabilities(torch.zeros(5, 1, 8, 8))["label"].shape
        torch.Size([5, 10])
    """

    model: SemiSupervisedModel
    guide: SemiSupervisedGuide

    def __init__(
        self,
        *,
        encoder: Encoder,
        decoder: Decoder,
        prior: Prior,
        likelihood: Likelihood,
        posterior: Posterior,
        num_classes: int,
        label: str = "label",
        num_labels: int | None = None,
        label_seed: int = 0,
        labelled_share: float = 0.1,
        alpha: float = 50.0,
        num_features: int = 256,
    ) -> None:
        _check_numbers(num_classes, num_labels, labelled_share, alpha, num_features)
        encoder = remade(encoder, num_outputs=lambda own: num_features)
        decoder = remade(decoder, latent_dim=lambda own: own + num_classes)
        model = SemiSupervisedModel(prior, decoder, likelihood, num_classes)
        guide = SemiSupervisedGuide(encoder, posterior, num_features, num_classes, alpha)
        super().__init__(model, guide, likelihood, [encoder, decoder])
        prior.use_guide(guide)
        self.optional = (label,)
        self.num_classes, self.num_labels, self.label_seed = num_classes, num_labels, label_seed
        self.labelled_share = labelled_share

    @classmethod
    def for_images(
        cls, data: ImageData | Any, latent_dim: int = 20, *, num_classes: int, **arguments: Any
    ) -> SemiSupervisedVAE:
        """Builds a semi-supervised VAE with sizes that fit a data set.

        Args:
            data: the images, with labels.
            latent_dim: D, the number of latent dimensions.
            num_classes: K.
            **arguments: prior, likelihood, posterior, encoder and decoder, as for
                `VAE.for_images`, and other arguments of the constructor.

        Raises:
            InputError: as the constructor does.
        """
        data = as_image_data(data)
        names = ("prior", "likelihood", "posterior", "encoder", "decoder")
        own = {name: arguments.pop(name) for name in names if name in arguments}
        parts = parts_for(data.image_shape, latent_dim, **own)
        vae = cls(num_classes=num_classes, **parts, **arguments)
        vae.data = data
        return vae

    def inputs(self, attributes: Tensor | None) -> dict[str, Tensor]:
        """The labels, from attributes `(B, 1)`; nothing if there are none."""
        if attributes is None or not attributes.shape[-1]:
            return {}
        return {"labels": attributes[:, 0].to(self.model.logits.device)}

    def lessons(self, split: Split) -> tuple[Split, np.ndarray | None]:
        """The training split with the labels that are used, and the rows of an epoch."""
        (name,), known = self.optional, list(split.attribute_names)
        if name not in known:
            raise InputError(
                f"--program.label: the images have no attribute '{name}'; known: {known or 'none'}"
            )
        labels = self._used(split.attributes[:, known.index(name)])
        seen = replace(split, attributes=labels[:, None], attribute_names=(name,), value_names={})
        rows, used = np.arange(len(labels)), np.flatnonzero(labels >= 0)
        share = self.labelled_share
        times = round(share / (1 - share) * (len(rows) - len(used)) / len(used))
        return seen, np.concatenate([rows, np.repeat(used, max(0, times - 1))])

    def _used(self, labels: np.ndarray) -> np.ndarray:
        """The labels that are used, -1 elsewhere."""
        labels = np.where(np.isnan(labels), -1, labels).astype(np.float32)
        found = labels[labels >= 0]
        if not len(found) or found.max() >= self.num_classes or (found % 1).any():
            got = f"from {found.min():g} to {found.max():g}" if len(found) else "none"
            raise InputError(
                f"{self.optional[0]}: known values are {got}, allowed are the classes 0 to "
                f"{self.num_classes - 1} (--program.num_classes)"
            )
        if self.num_labels is None:
            return labels
        random, used = np.random.default_rng(self.label_seed), np.full_like(labels, -1)
        for own in range(self.num_classes):
            rows = random.permutation(np.flatnonzero(labels == own))
            wanted = (self.num_labels + self.num_classes - 1 - own) // self.num_classes
            if len(rows) < wanted:
                raise InputError(
                    f"--program.num_labels {self.num_labels}: needs {wanted} labels of class "
                    f"{own}, known are {len(rows)}"
                )
            used[rows[:wanted]] = own
        return used

    def check_objective(self, objective: Any) -> None:
        """Raises `InputError` unless the objective sums over the classes."""
        if not isinstance(objective, TraceEnum_ELBO):
            raise InputError(
                f"--objective: {type(objective).__name__} cannot sum over the classes; set "
                "--objective TraceEnum_ELBO"
            )

    def class_probabilities(self, x: Tensor) -> dict[str, Tensor]:
        """q(y given x) of observations `(B, C, H, W)`."""
        return {self.optional[0]: self.guide.class_logits(x).softmax(-1)}

    def determined(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The one-hot classes of given labels."""
        if "labels" not in inputs:
            return {}
        labels = inputs["labels"].to(self.model.logits)
        known = one_hot(labels, self.num_classes)
        for value in labels[~known.bool().any(-1)].tolist():
            most = self.num_classes - 1
            raise InputError(f"{self.optional[0]} {value:g}: allowed are the classes 0 to {most}")
        return {"y": known}


def _check_numbers(
    num_classes: int, num_labels: int | None, share: float, alpha: float, num_features: int
) -> None:
    """Raises `InputError` if a number is not allowed."""
    found: list[tuple[str, Any, bool, str]] = [
        (
            "num_classes",
            num_classes,
            2 <= num_classes <= MOST_CLASSES,
            f"2 to {MOST_CLASSES}, since each step decodes every image once per class",
        ),
        (
            "num_labels",
            num_labels,
            num_labels is None or num_labels >= num_classes,
            f"{num_classes} or more, one per class",
        ),
        ("labelled_share", share, 0 <= share < 1, "0 or more and below 1"),
        ("alpha", alpha, 0 <= alpha < float("inf"), "0 or more"),
        ("num_features", num_features, num_features >= 1, "1 or more"),
    ]
    for name, value, right, allowed in found:
        if not right:
            raise InputError(f"--program.{name} {value}: allowed is {allowed}")
