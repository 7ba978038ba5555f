"""Likelihoods of the seen pixels: against formulas, and the exact Gaussian of linear models."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import softplus

from pyrovae import IWAE, VAE, Engine, InputError, StandardNormal
from pyrovae.distributions import MaskedPixels
from pyrovae.evaluation import psnr, reconstructions
from pyrovae.evaluation.baselines import log_evidence_of_ppca, log_evidence_without_latent
from pyrovae.inspection.dispersion import dispersion
from pyrovae.inspection.scales import scale_of
from pyrovae.likelihoods import (
    Bernoulli,
    DiscretizedLogisticMixture,
    Likelihood,
    Masked,
    Normal,
    OptimalScaleNormal,
    PixelwiseNormal,
    SharedScaleNormal,
    ThresholdBinarization,
)
from pyrovae.posterior import evaluate
from pyrovae.posterior.encoding import encode
from pyrovae.posteriors import FullRankNormal
from pyrovae.programs.vae import Model
from pyrovae.training.initialization import ProbabilisticPCA
from tests.support.oracles import LinearDecoder, LinearEncoder, LinearGaussian, covariance_features
from tests.support.small import small_data, small_vae
from tests.support.tables import FALSE_ALARM, Z_LIMIT

WHOLE: dict[str, Callable[[], Likelihood]] = {
    "Normal": lambda: Normal(0.3),
    "PixelwiseNormal": PixelwiseNormal,
    "Bernoulli": lambda: Bernoulli(ThresholdBinarization()),
    "DiscretizedLogisticMixture": lambda: DiscretizedLogisticMixture(2),
}


def images(count: int = 4) -> Tensor:
    return torch.from_numpy(np.array(small_data().split("train").images[:count]))


def holes(x: Tensor, share: float = 0.5) -> Tensor:
    """The observations with NaN for a share of their pixels."""
    return torch.where(torch.rand(len(x), 1, *x.shape[-2:]) < share, torch.nan, x)


@pytest.mark.parametrize("make", WHOLE.values(), ids=WHOLE.keys())
def test_a_score_is_the_sum_over_seen_pixels(make: Callable[[], Likelihood]) -> None:
    own = make()
    h = torch.randn(3, 2, own.num_maps(3), 4, 5)
    x = own.observe(torch.randint(256, (2, 3, 4, 5)))
    seen = torch.rand(2, 4, 5) < 0.5
    found = Masked(own)(h).log_prob(torch.where(seen.unsqueeze(1), x, torch.nan))
    # Each pixel alone: an image of one pixel has the same likelihood.
    alone = torch.zeros(3, 2)
    for b, row, column in seen.nonzero().tolist():
        place = (..., slice(row, row + 1), slice(column, column + 1))
        alone[:, b] += own(h[:, b][place]).log_prob(x[b][place])
    torch.testing.assert_close(found, alone)
    assert torch.equal(found, MaskedPixels(own(h), seen).log_prob(x))


def test_missing_pixels_have_no_gradient_and_stay_hidden_from_the_encoder() -> None:
    vae = small_vae(likelihood=Masked())
    x = holes(vae.observe(images()))
    loss = pyro.infer.Trace_ELBO().differentiable_loss(vae.model, vae.guide, x)
    loss.backward()
    gradients = [p.grad for p in vae.parameters() if p.grad is not None]
    assert loss.isfinite() and gradients and all(g.isfinite().all() for g in gradients)
    vae.eval()
    filled = vae.encode(x.nan_to_num(0.0))
    for own in (vae, copy.deepcopy(vae)):
        assert torch.equal(own.encode(x).mean, filled.mean)


def test_iwae_is_the_bound_of_miwae() -> None:
    vae = small_vae(likelihood=Masked(Normal(0.3))).eval()
    x = holes(vae.observe(images()))
    seen = ~x.isnan()
    drawn: list[Tensor] = []

    def guide(x: Tensor) -> None:
        drawn.append(vae.guide(x))

    found = -IWAE(5).loss(vae.model, guide, x)
    z = drawn[-1].detach().reshape(5, 4, -1)
    q = small_vae(likelihood=Normal(0.3)).eval().encode(torch.where(seen, x, 0.0))
    loc = vae.model.decoder(z)
    pixels = -0.5 * ((x - loc) / 0.3) ** 2 - math.log(0.3 * math.sqrt(2 * math.pi))
    fit = torch.where(seen, pixels, 0.0).sum((-3, -2, -1))
    log_w = fit + dist.Normal(0, 1).log_prob(z).sum(-1) - q.log_prob(z)
    bound = log_w.logsumexp(0) - math.log(5)
    assert found == pytest.approx(bound.sum().item(), rel=1e-5)


@pytest.mark.slow
def test_the_bound_of_an_exact_posterior_is_the_evidence_of_the_seen_pixels() -> None:
    made = LinearGaussian()
    seen = torch.tensor([[True, False], [False, True], [True, True]])
    rows = seen.expand(made.shape).flatten()
    weight, variance = made.weight * rows[:, None], made.sigma**2
    covariance = torch.linalg.inv(torch.eye(2).double() + weight.T @ weight / variance)
    q = FullRankNormal(2)
    vae = VAE(
        encoder=LinearEncoder(
            covariance @ weight.T / variance,
            made.bias * rows,
            covariance_features(q, covariance),
        ),
        decoder=LinearDecoder(made.weight, made.bias, made.shape),
        prior=StandardNormal(2).double(),
        likelihood=Masked(Normal(made.sigma)),
        posterior=q,
    )
    x = torch.where(seen, made.images(5), torch.nan)
    known = made.weight[rows]
    exact = dist.MultivariateNormal(
        made.bias[rows], known @ known.T + variance * torch.eye(int(rows.sum())).double()
    ).log_prob(x.flatten(1)[:, rows])
    for bound in (pyro.infer.Trace_ELBO(), IWAE(3)):
        found = -bound.loss(vae.model, vae.guide, x)
        assert found == pytest.approx(float(exact.sum()), rel=1e-9)


class ExactGuide(torch.nn.Module):
    """The exact posterior of a linear model given the seen pixels of each image."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = (model,)

    def forward(self, x: Tensor) -> None:
        (model,) = self.model
        weight, bias = model.decoder.weight.detach(), model.decoder.bias.detach()
        noise = model.likelihood.noise_scale().detach() ** 2
        seen = ~x.flatten(1).isnan()
        own = seen[..., None] * weight
        precision = torch.eye(weight.shape[1]).to(weight) + own.mT @ own / noise
        gap = torch.where(seen, x.flatten(1) - bias, 0.0)
        mean = torch.linalg.solve(precision, (own.mT @ gap[..., None] / noise).squeeze(-1))
        with pyro.plate("images", len(x), dim=-1):
            pyro.sample("z", dist.MultivariateNormal(mean, precision_matrix=precision))


@pytest.mark.slow
def test_training_on_half_of_the_pixels_finds_the_loadings_and_the_noise() -> None:
    """With stock SVI; the angle and the scale are within 5 % of those of the truth.

    The standard error of the scale is 1 / sqrt(2 * 1000 * 6) = 0.9 %, that of a loading about
    0.5 / sqrt(500) / |w| = 1.5 %. The fit without the mask, of zeros, is off by more than 30 %.
    """
    made = LinearGaussian()
    x = holes(made.images(1000))
    found = {}
    for name, data in {"missing": x, "zeros": x.nan_to_num(0.0)}.items():
        decoder = LinearDecoder(torch.randn(12, 2).double(), torch.zeros(12).double(), made.shape)
        model = Model(StandardNormal(2).double(), decoder, Masked(SharedScaleNormal(1.0)).double())
        svi = pyro.infer.SVI(
            model,
            ExactGuide(model),
            pyro.optim.ClippedAdam({"lr": 0.05, "lrd": 0.01 ** (1 / 200)}),
            pyro.infer.Trace_ELBO(),
        )
        with pyro.get_param_store().scope():
            for _ in range(200):
                svi.step(data)
        bases = [torch.linalg.qr(own.detach())[0] for own in (decoder.weight, made.weight)]
        sine = (1 - torch.linalg.svdvals(bases[0].T @ bases[1]).min() ** 2).clamp(min=0).sqrt()
        scale = model.likelihood.noise_scale()
        found[name] = sine.item(), abs(scale.item() / made.sigma - 1)
    assert max(found["missing"]) < 0.05, found
    assert found["zeros"][1] > 0.3, found


def test_training_alone_drops_pixels() -> None:
    likelihood = Masked(drop=0.6)
    grey = torch.zeros(400, 3, 16, 16, dtype=torch.uint8)
    missing = likelihood.scored(grey).isnan()
    assert torch.equal(missing.all(1), missing.any(1))  # Whole pixels.
    share = missing[:, 0].double().mean((1, 2))
    # A uniform share of the image, and pixels at random: the mean is half of the largest share.
    assert abs(float(share.mean()) - 0.3) < Z_LIMIT * math.sqrt((0.6**2 / 12 + 0.25 / 256) / 400)
    uniform = scipy.stats.uniform(0, 0.6).cdf
    assert scipy.stats.kstest(share.numpy(), uniform).pvalue > FALSE_ALARM
    assert share.max() < 0.6 + Z_LIMIT * math.sqrt(0.25 / 256)
    assert not likelihood.eval().scored(grey).isnan().any()
    assert not likelihood.train().observe(grey).isnan().any()
    vae, plain = (small_vae(likelihood=own) for own in (Masked(drop=0.9), SharedScaleNormal()))
    split = small_data().split("val")
    both = [evaluate(own.train(), split, Engine("cpu")).elbo for own in (vae, plain)]
    assert both[0] == pytest.approx(both[1], rel=1e-6)


def write_mask(path: Path, size: tuple[int, int] = (16, 16)) -> str:
    mask = np.zeros(size[::-1], np.uint8)
    mask[:, : size[0] // 2] = 255
    Image.fromarray(mask).save(path)
    return str(path)


def test_a_mask_hides_its_white_pixels(tmp_path: Path) -> None:
    vae = small_vae(likelihood=Masked(Normal(0.3), mask=write_mask(tmp_path / "m.png"))).eval()
    x = Normal(0.3).observe(images())
    assert torch.equal(vae.observe(images()).isnan(), torch.arange(16).lt(8).expand_as(x))
    other = x.clone()
    other[..., :8] = 1 - x[..., :8]
    assert torch.equal(vae.encode(x).mean, vae.encode(other).mean)
    p = vae.decode(torch.zeros(4, 4))
    assert torch.equal(p.log_prob(x), p.log_prob(other))
    torch.testing.assert_close(
        p.log_prob(x),
        Normal(0.3)(vae.model.decoder(torch.zeros(4, 4))[..., 8:]).log_prob(x[..., 8:]),
    )
    own = small_vae(likelihood=vae.likelihood, shortcut=True)
    assert "starts from" in ProbabilisticPCA()(own, small_data().split("train").images, False)
    whole = Normal(0.3)
    assert vae.likelihood.bits_per_dim(-100.0, 768) == whole.bits_per_dim(-100.0, 384)


def test_a_grey_value_can_stand_for_missing() -> None:
    likelihood = Masked(Normal(0.3), missing=0)
    grey = torch.tensor([[0, 0, 7], [0, 9, 7]], dtype=torch.uint8).reshape(1, 2, 1, 3)
    for x in (likelihood.observe(grey), likelihood.scored(grey)):
        assert x.isnan().flatten().tolist() == [True, False, False] * 2
    assert likelihood.bits_per_dim(-1.0, 6) is None
    vae = small_vae(likelihood=likelihood, shortcut=True)
    some = np.array(small_data().split("train").images)
    some[0, :, 5:9] = 0
    with pytest.raises(InputError, match="pixels are missing"):
        ProbabilisticPCA()(vae, some, False)


def test_what_is_not_allowed_is_one_line(tmp_path: Path) -> None:
    cases: dict[str, Callable[[], object]] = {
        "drop must lie": lambda: Masked(drop=1.0),
        "missing must lie": lambda: Masked(missing=256),
        "depend on each other": lambda: Masked(OptimalScaleNormal()),
        "no such file": lambda: Masked(mask=str(tmp_path / "none.png")).check(images()),
        "give all arguments to one": lambda: Masked(Masked()),
        "cannot be read as an image": lambda: Masked(mask=__file__),
        r"is 16x8 \(height x width\), the images are 16x16": lambda: Masked(
            mask=write_mask(tmp_path / "m.png", (8, 16))
        ).check(images()),
    }
    for message, run in cases.items():
        with pytest.raises(InputError, match=message):
            run()


@pytest.mark.parametrize("wrong", ["Normal", Normal, StandardNormal(3)])
def test_the_likelihood_of_whole_images_must_be_one(wrong: Any) -> None:
    with pytest.raises(TypeError, match="likelihood must be "):
        Masked(wrong)


def test_a_run_has_its_mask_and_opens_without_the_file(tmp_path: Path) -> None:
    path = write_mask(tmp_path / "m.png")
    vae = small_vae(likelihood=Masked(Normal(0.3), mask=path))
    weights = vae.state_dict()
    Path(path).unlink()
    again = small_vae(seed=1, likelihood=Masked(Normal(0.3), mask=path))
    again.load_state_dict(weights)
    assert torch.equal(again.likelihood.seen, vae.likelihood.seen)
    again.likelihood.check(images())
    x = vae.observe(images())
    assert torch.equal(again.encode(x).mean, vae.encode(x).mean)


def test_pixels_under_the_mask_are_grey_and_do_not_count_as_errors(tmp_path: Path) -> None:
    vae = small_vae(likelihood=Masked(Normal(0.3), mask=write_mask(tmp_path / "m.png"))).eval()
    shown = vae.sample(2)
    assert (shown[..., :8] == 0.5).all() and not (shown[..., 8:] == 0.5).all()
    split, engine = small_data().split("test"), Engine("cpu", "fp32")
    whole = small_vae(likelihood=Normal(0.3)).eval()
    other = np.array(split.images)
    other[..., :8] = 255 - other[..., :8]
    scores = [reconstructions(vae, x, engine)["psnr"] for x in (np.array(split.images), other)]
    assert np.allclose(*scores)
    assert not np.allclose(reconstructions(whole, other, engine)["psnr"], scores[0])
    half = vae.reconstruct(torch.from_numpy(np.array(split.images)))[..., 8:]
    pixels = torch.from_numpy(np.array(split.images))[..., 8:] / 255
    assert psnr(pixels, half).mean() == pytest.approx(scores[0].mean(), abs=0.5)


def test_shown_images_are_whole() -> None:
    own = DiscretizedLogisticMixture(2)
    h = torch.randn(2, own.num_maps(3), 4, 4)
    masked = Masked(own)
    twice = MaskedPixels(masked(h), torch.zeros(4, 4, dtype=torch.bool))
    for p in (masked(h), twice, masked(h).expand((3, 2))):
        assert torch.equal(
            masked.to_images(p)[-1],
            own.to_images(own(h))[-1 if p.batch_shape == (2,) else slice(None)],
        )
    assert softplus(masked(h).sample()).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("option", ["mask", "missing"])
def test_scores_of_evaluation_leave_missing_pixels_out(option: str, tmp_path: Path) -> None:
    grey = np.array(small_data().split("train").images).clip(1)
    other = grey.copy()
    other[..., :8] = 255 - other[..., :8]
    if option == "mask":
        own = Masked(Normal(0.3), mask=write_mask(tmp_path / "m.png"))
    else:
        own = Masked(Normal(0.3), missing=0)
        grey[..., :8] = other[..., :8] = 0
    vae, found = small_vae(likelihood=own), []
    for data in (grey, other):
        engine = Engine("cpu", "fp32")
        encoded = encode(vae, data, engine)
        found += [
            log_evidence_of_ppca(own, data, data, 2).mean()[None],
            log_evidence_without_latent(own, data, data),
            torch.from_numpy(encoded.squared_error),
            torch.tensor(dispersion(vae, data, engine).value),
            torch.tensor(scale_of(own, data)),
        ]
    assert all(values.isfinite().all() for values in found)
    for first, second in zip(found[:5], found[5:], strict=True):
        torch.testing.assert_close(first, second)
    whole = log_evidence_of_ppca(Normal(0.3), grey, grey, 2)
    assert not torch.allclose(found[0], whole.mean())
    assert own.num_scored(768) == (384 if option == "mask" else 768)
