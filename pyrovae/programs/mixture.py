"""The mixture VAE: each class is a component of the prior of z."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import softplus

from pyrovae.distributions import Transformed, WhiteningInverse
from pyrovae.distributions.latent import innermost
from pyrovae.distributions.moments import moments
from pyrovae.likelihoods import Likelihood
from pyrovae.networks import Decoder, Encoder
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from pyrovae.programs.few_labels import FewLabels, Labels, check_number, given_classes
from pyrovae.programs.observing import count
from pyrovae.programs.vae import Program
from pyrovae.utils.errors import InputError

__all__ = ["MixtureGuide", "MixtureModel", "MixtureVAE"]

#: The standard deviation of the initial centres of the classes.
SPREAD = 0.3
#: softplus of this is 1.
ONE = 0.5413248546129181


class MixtureModel(Program):
    r"""The generative program: a class, a latent vector given the class, an image given both.

    $$y \sim \text{uniform}(0, \dots, K - 1), \qquad z = \mu_y + A_y^{-1} \epsilon, \quad
    \epsilon \sim \text{prior}, \qquad x \sim p(x \mid z) = \text{likelihood}(\text{decoder}(z))$$

    The vectors $\mu_y$ and the lower triangular matrices $A_y$ are learned.

    Args:
        prior: the distribution of $\epsilon$.
        decoder: the network from z to the likelihood's maps.
        likelihood: p(x given the decoder's output).
        num_classes: K.
        latent_dim: D.
    """

    logits: Tensor

    def __init__(
        self,
        prior: Prior,
        decoder: nn.Module,
        likelihood: Likelihood,
        num_classes: int,
        latent_dim: int,
    ) -> None:
        super().__init__()
        self.prior, self.decoder, self.likelihood = prior, decoder, likelihood
        self.register_buffer("logits", torch.zeros(num_classes))
        self.loc = nn.Parameter(SPREAD * torch.randn(num_classes, latent_dim))
        raw = torch.zeros(num_classes, latent_dim, latent_dim)
        raw.diagonal(dim1=-2, dim2=-1).fill_(ONE)
        self.raw = nn.Parameter(raw)

    def whitening(self) -> Tensor:
        """The matrices A, `(K, D, D)`."""
        diagonal = softplus(self.raw.diagonal(dim1=-2, dim2=-1))
        return self.raw.tril(-1) + torch.diag_embed(diagonal)

    def z_dist(self, y: Tensor) -> dist.TorchDistribution:
        """p(z given one-hot classes y `(*, K)`): batch shape `*`, event shape `(D,)`."""
        loc, whitening = y @ self.loc, torch.einsum("...k,kij->...ij", y, self.whitening())
        return Transformed(self.prior(), [WhiteningInverse(loc, whitening)])

    def class_logits(self, z: Tensor) -> Tensor:
        """The logits of p(y given z), `(*, K)`, for z `(*, D)`."""
        classes = torch.eye(len(self.logits), dtype=z.dtype, device=z.device)
        return self.z_dist(classes).log_prob(z.unsqueeze(-2)) + self.logits

    def forward(
        self, x: Tensor | None = None, num_images: int = 1, *, labels: Tensor | None = None
    ) -> Tensor:
        """Runs the program, conditioned on `x`, or draws images; `labels` are not used."""
        with pyro.plate("images", num_images if x is None else count(x), dim=-1):
            y = pyro.sample("y", dist.OneHotCategorical(logits=self.logits))
            z = pyro.sample("z", self.z_dist(y))
            return pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)


class MixtureGuide(Program):
    r"""The inference program: a latent vector per image, then its class given the vector.

    $$z \sim q(z \mid x) = \text{posterior}(\text{encoder}(x)), \qquad y \sim p(y \mid z)$$

    The class given z is exact. If the class is known, y is that class.

    Args:
        encoder: the network from images to the posterior's parameters.
        posterior: the family of q(z given x).
        model: the generative program, which gives p(y given z).
        alpha: the weight of the classification loss of images whose class is known.
    """

    def __init__(
        self, encoder: nn.Module, posterior: Posterior, model: MixtureModel, alpha: float
    ) -> None:
        super().__init__()
        self.encoder, self.posterior, self._model, self.alpha = encoder, posterior, (model,), alpha

    def z_dist(self, x: Tensor) -> dist.TorchDistribution:
        """q(z given x) for x `(*, C, H, W)`: batch shape `*`, event shape `(D,)`."""
        return self.posterior(self.encoder(x))

    def forward(self, x: Tensor, num_images: int = 1, *, labels: Tensor | None = None) -> Tensor:
        """Runs the program for observations `x`.

        Args:
            x: observations `(B, C, H, W)`.
            num_images: not used.
            labels: classes `(B,)`; any other value, such as -1 or NaN, means unknown. None if all
                are unknown.
        """
        with pyro.plate("images", count(x), dim=-1):
            z = pyro.sample("z", self.z_dist(x))
            logits = given_classes(self._model[0].class_logits(z), labels, self.alpha)
            q = dist.OneHotCategorical(logits=logits)
            return pyro.sample("y", q, infer={"enumerate": "parallel"})


class MixtureVAE(FewLabels):
    r"""A VAE whose prior has one component per class; only a few images need labels.

    $$L(x, y) = \mathbb{E}_{q(z \mid x)}\left[\log p(x \mid z) + \log p(z \mid y) + \log p(y) -
    \log q(z \mid x)\right], \qquad U(x) = \mathbb{E}_{q(z \mid x)}\left[\log p(x \mid z) +
    \log \sum_y p(y) p(z \mid y) - \log q(z \mid x)\right]$$

    where $p(y) = 1 / K$ and $z = \mu_y + A_y^{-1} \epsilon$ given y; $\epsilon$ is a draw of the
    prior, $\mu_y$ and the lower triangular $A_y$ are learned. The loss is $-U(x)$ of an image
    whose class is unknown, and $-L(x, y) - \alpha\, \mathbb{E}_{q(z \mid x)} \log p(y \mid z)$
    of an image whose class is known. Bayes' rule gives p(y given z) exactly, and the sum over y is
    exact, so training needs `--objective TraceEnum_ELBO`. The reported ELBO lacks the last term.

    Use it to classify images if few of them have labels and classes form clusters, as digits do:
    images without labels form the clusters, and the labels name them. A step decodes each image
    once; a step of `SemiSupervisedVAE` decodes it once per class. `SemiSupervisedVAE` is better if
    z should encode only the style. Labels are used only in training. Validation and evaluation
    score U(x), and compare p(y given z), at the mean of q(z given x), with the labels.

    An epoch has each image once, and repeats images with a label until their share of the epoch
    is about `labelled_share`. Their L(x, y) counts as often.

    Args:
        encoder: network from images to the posterior's parameters.
        decoder: network from latents to `likelihood.num_maps(C)` maps.
        prior: the distribution of $\epsilon$, over real vectors.
        likelihood: p(x given the decoder's output).
        posterior: q(z given the encoder's output).
        num_classes: K, the number of classes, from 2 to 256.
        label: the attribute of the data that holds the class 0, 1, ...; NaN or a negative number
            where it is unknown.
        num_labels: the number of training images whose label is used, as equal as possible per
            class; None uses all known labels.
        label_seed: seed of the choice of these images.
        labelled_share: the share of images with a label in an epoch, below 1, up to rounding;
            larger if a larger share of the images has one.
        alpha: the weight of the classification loss of an image with a label, at least 0.

    Raises:
        InputError: if a number is not allowed.
        ValueError: if prior and posterior do not fit each other.

    References:
        Variational Deep Embedding (Jiang et al., 2017), https://arxiv.org/abs/1611.05148;
        Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014, equation 9)

    Example:
        >>> from pyrovae import DiagonalNormal, MLPDecoder, MLPEncoder, Normal, StandardNormal
        >>> vae = MixtureVAE(
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

    model: MixtureModel
    guide: MixtureGuide

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
        alpha: float = 5.0,
    ) -> None:
        labels = Labels(num_classes, label, num_labels, label_seed, labelled_share)
        check_number("alpha", alpha, 0 <= alpha < float("inf"), "0 or more")
        model = MixtureModel(prior, decoder, likelihood, num_classes, posterior.latent_dim)
        guide = MixtureGuide(encoder, posterior, model, alpha)
        super().__init__(model, guide, likelihood, [encoder, decoder], labels)
        _check_affine(prior)

    def class_logits(self, x: Tensor) -> Tensor:
        """The logits of p(y given z) at the mean of q(z given x), `(B, K)`.

        Without a closed form, the mean is that of 200 draws.
        """
        return self.model.class_logits(moments(self.guide.z_dist(x))[0])


def _check_affine(prior: Prior) -> None:
    """Raises `InputError` unless an affine map keeps vectors in the space of the prior."""
    space = type(innermost(prior().support))
    if space is not type(constraints.real):
        raise InputError(
            f"--prior {type(prior).__name__}: over {space.__name__.strip('_').lower()} vectors; "
            "the affine map of each class needs a prior over real vectors"
        )
