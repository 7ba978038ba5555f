"""Programs of `torch.export` compute what encoder, posterior, decoder and likelihood compute."""

from __future__ import annotations

import io
import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from pyrovae import (
    VAE,
    Bernoulli,
    DiscretizedLogisticMixture,
    Encoder,
    FlowPrior,
    FullRankNormal,
    HouseholderFlow,
    InputError,
    LowRankNormal,
    MLPDecoder,
    MLPEncoder,
    likelihoods,
    priors,
)
from pyrovae.programs import exporting
from pyrovae.programs.exporting import Exported, export_programs, prior_code
from tests.support.programs import two_latents
from tests.support.small import small_data, small_vae

PARTS: list[dict[str, Any]] = [
    {"posterior": FullRankNormal, "likelihood": likelihoods.StudentT},
    {"posterior": LowRankNormal, "likelihood": partial(DiscretizedLogisticMixture, 2)},
    {"likelihood": Bernoulli},
]


def vae_of(**parts: Any) -> VAE:
    torch.manual_seed(3)
    nets = {"encoder": partial(MLPEncoder, hidden=[8]), "decoder": partial(MLPDecoder, hidden=[8])}
    return VAE.for_images(small_data(), 4, **(nets | parts))


def opened(program: Exported | InputError) -> Any:
    assert isinstance(program, Exported)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch 2.6 warns of its own internals.
        return torch.export.load(io.BytesIO(program.content)).module()


@pytest.mark.slow
@pytest.mark.parametrize("parts", PARTS)
def test_exported_programs_return_parameters_and_the_image(parts: dict[str, Any]) -> None:
    vae = vae_of(**parts)
    made = dict(export_programs(vae))
    encoder, decoder = opened(made["encoder"]), opened(made["decoder"])
    for count in (1, 7):
        x, z = torch.rand(count, 3, 16, 16), torch.randn(count, 4)
        q, found = encoder(x), decoder(z)
        expected = vae.encode(x)
        rebuilt = type(expected)(**q) if "loc" in vars(expected) else expected.base_dist
        at = torch.randn(count, 4)
        torch.testing.assert_close(
            rebuilt.log_prob(at).reshape(count, -1).sum(-1), expected.log_prob(at)
        )
        torch.testing.assert_close(found.pop("image"), vae.show(z))
        pixels: Any = vae.decode(z)
        pixels = getattr(pixels, "base_dist", pixels)
        for name, value in found.items():
            torch.testing.assert_close(value, getattr(pixels, name))


@pytest.mark.slow
def test_networks_are_exported_as_in_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = small_vae()
    vae.data = small_data()
    vae.train()
    made = dict(export_programs(vae))
    assert vae.training and vae.guide.encoder.layers[1].training
    x = torch.rand(3, 3, 16, 16)
    q: Any = vae.eval().encode(x)
    torch.testing.assert_close(opened(made["encoder"])(x)["loc"], q.base_dist.loc)
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    assert "differs from the programs by" in str(dict(export_programs(vae))["decoder"])


class ValueEncoder(Encoder):
    """Branches on values, which a traced program cannot do."""

    def __init__(self, image_shape: tuple[int, int, int], num_outputs: int) -> None:
        super().__init__()
        self.inner = MLPEncoder(image_shape, num_outputs, [8])

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if x.sum() > 0 else self.inner(-x)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"posterior": HouseholderFlow}, "HouseholderFlow cannot be exported: the distribution"),
        ({"encoder": ValueEncoder}, "ValueEncoder and DiagonalNormal cannot be exported: "),
    ],
)
def test_a_part_that_cannot_be_exported_leaves_the_other(
    parts: dict[str, Any], reason: str
) -> None:
    made = dict(export_programs(vae_of(**parts)))
    assert isinstance(made["encoder"], InputError) and isinstance(made["decoder"], Exported)
    assert reason in str(made["encoder"]) and "\n" not in str(made["encoder"])


def test_missing_pixels_leave_the_parameters_of_whole_images() -> None:
    vae = vae_of(likelihood=likelihoods.Masked(likelihoods.SharedScaleNormal()))
    made = dict(export_programs(vae))["decoder"]
    assert isinstance(made, Exported) and made.family == "Normal"
    assert {*made.returns} == {"image", "loc", "scale"}


def test_draws_of_a_prior_that_torch_has() -> None:
    code = prior_code(vae_of(prior=partial(priors.StudentT, df=5.0)))
    assert code == "torch.distributions.StudentT(df=5.0, loc=0.0, scale=1.0).sample((4, 4))"
    assert prior_code(vae_of(prior=FlowPrior)) == ""


def test_programs_of_several_latents_are_refused() -> None:
    with pytest.raises(InputError, match="only VAE and its subclasses are exported"):
        dict(export_programs(two_latents()))
