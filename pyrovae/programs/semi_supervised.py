"""The semi-supervised VAE: a class and a vector per image, with few known classes."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from pyrovae.likelihoods import Likelihood
from pyrovae.networks import Decoder, Encoder
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from pyrovae.programs.few_labels import FewLabels, Labels, check_number, given_classes
from pyrovae.programs.observing import count
from pyrovae.programs.vae import Program
from pyrovae.utils.arguments import remade

__all__ = ["SemiSupervisedGuide", "SemiSupervisedModel", "SemiSupervisedVAE"]


class SemiSupervisedModel(Program):
    r"""The generative program: a class and a latent vector, then an image given both.

    $$y \sim \text{uniform}(0, \dots, K - 1), \qquad z \sim p(z), \qquad
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
            labels: classes `(B,)`; any other value, such as -1 or NaN, means unknown. None if all
                are unknown.
        """
        with pyro.plate("images", count(x), dim=-1):
            h = self.encoder(x)
            logits = given_classes(self.classifier(silu(h)), labels, self.alpha)
            q = dist.OneHotCategorical(logits=logits)
            y = pyro.sample("y", q, infer={"enumerate": "parallel"})
            return pyro.sample("z", self._z_dist(h, y))


class SemiSupervisedVAE(FewLabels):
    r"""A VAE with a class per image, which is known for some of the training images (M2).

    $$L(x, y) = \mathbb{E}_{q(z \mid x, y)}\left[\log p(x \mid z, y) + \log p(y) + \log p(z) -
    \log q(z \mid x, y)\right], \qquad U(x) = \sum_y q(y \mid x) \left(L(x, y) -
    \log q(y \mid x)\right)$$

    The loss is $-U(x)$ of an image whose class is unknown, and
    $-L(x, y) - \alpha \log q(y \mid x)$ of an image whose class is known. The sum over y is exact,
    so training needs `--objective TraceEnum_ELBO`. The reported ELBO lacks the last term.

    Use it to classify images if few of them have labels. Labels are used only in training.
    Validation and evaluation score U(x), and compare q(y given x) with the labels. The encoder is
    rebuilt with `num_features` outputs, and the decoder gets the one-hot class together with z.

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
        num_labels: the number of training images whose label is used, as equal as possible per
            class; None uses all known labels.
        label_seed: seed of the choice of these images.
        labelled_share: the share of images with a label in an epoch, below 1, up to rounding;
            larger if a larger share of the images has one.
        alpha: the weight of the classification loss of an image with a label, at least 0.
        num_features: the number of outputs of the encoder.

    Raises:
        InputError: if a number is not allowed.
        ValueError: if prior and posterior do not fit each other.

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
        labels = Labels(num_classes, label, num_labels, label_seed, labelled_share)
        check_number("alpha", alpha, 0 <= alpha < float("inf"), "0 or more")
        check_number("num_features", num_features, num_features >= 1, "1 or more")
        encoder = remade(encoder, num_outputs=lambda own: num_features)
        decoder = remade(decoder, latent_dim=lambda own: own + num_classes)
        model = SemiSupervisedModel(prior, decoder, likelihood, num_classes)
        guide = SemiSupervisedGuide(encoder, posterior, num_features, num_classes, alpha)
        super().__init__(model, guide, likelihood, [encoder, decoder], labels)

    def class_logits(self, x: Tensor) -> Tensor:
        """The logits of q(y given x), `(B, K)`, for observations `(B, C, H, W)`."""
        return self.guide.class_logits(x)
