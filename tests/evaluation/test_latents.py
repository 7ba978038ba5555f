"""What the latents hold, against closed forms and naive loops."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyro
import pytest
import torch

from pyrovae import Engine, InputError, evaluate
from pyrovae.evaluation import aggregate, scoring
from pyrovae.posterior.view import PosteriorView
from tests.support.matrix import same_space
from tests.support.oracle_subjects import split_of
from tests.support.programs import MAKERS
from tests.support.small import small_data, small_vae
from tests.support.tables import POSTERIORS, PRIORS, make_images, make_vae

CPU = Engine("cpu", "fp32")
CASES = [(p, "DiagonalNormal") for p in PRIORS] + [("StandardNormal", q) for q in POSTERIORS]
CASES = [parts for parts in CASES if same_space(*parts)]


@pytest.mark.parametrize("parts", CASES, ids=map("-".join, CASES))
def test_the_two_parts_add_up_to_the_rate_of_the_draws(parts: tuple[str, str]) -> None:
    torch.manual_seed(0)
    vae = make_vae("Normal", *parts)
    view = PosteriorView(vae, split_of(make_images(vae.likelihood, 120)), CPU, seed=1)
    both, found = aggregate(view), view.encoded
    total = both["mutual_information"].value + both["aggregate_kl"].value
    assert total == pytest.approx(float((found.log_q - found.log_p).mean()), rel=1e-4, abs=1e-4)
    assert both["mutual_information"].value <= both["limit"].value + 1e-4
    assert both["limit"].value == pytest.approx(math.log(120))


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_the_mixture_is_a_naive_double_loop(name: str) -> None:
    programs, split = MAKERS[name](), small_data(num_test=7).split("test")
    view = PosteriorView(programs, split, CPU)
    x = programs.observe(torch.from_numpy(split.images.copy()))
    columns = split.table()[list(programs.attributes)].to_numpy() if programs.attributes else None
    log_mixture = []
    for i in range(7):
        scores = []
        for j in range(7):
            inputs = {} if columns is None else {"attributes": torch.tensor(columns[j : j + 1])}
            own = {site: z[i : i + 1] for site, z in view.draws.items()}
            guide = pyro.condition(programs.guide, data=own)
            trace = pyro.poutine.trace(guide).get_trace(x[j : j + 1], **inputs)
            scores.append(float(trace.log_prob_sum().detach()))
        log_mixture.append(np.logaddexp.reduce(scores) - math.log(7))
    both = aggregate(view)
    assert both["aggregate_kl"].value == pytest.approx(
        float(np.mean(log_mixture - view.encoded.log_p)), abs=1e-2
    )


def test_distinct_posteriors_tell_the_image_and_equal_ones_nothing() -> None:
    vae, split = small_vae().eval(), small_data(num_test=50).split("test")
    spread = torch.linspace(-300, 300, 50)[:, None].expand(50, 4)
    for loc, expected in ((spread, math.log(50)), (torch.zeros(50, 4), 0.0)):
        features = vae.guide.posterior.features(loc, torch.full_like(loc, 0.5))
        vae.guide.encoder.forward = lambda x, features=features: features[: len(x)]  # type: ignore[method-assign]
        both = aggregate(PosteriorView(vae, split, CPU))
        assert both["mutual_information"].value == pytest.approx(expected, abs=1e-4)
    assert both["aggregate_kl"].value == pytest.approx(
        evaluate(vae, split, CPU).rate, abs=4 * both["aggregate_kl"].error
    )


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    view = PosteriorView(small_vae().eval(), small_data().split("test"), CPU)
    whole = aggregate(view)
    monkeypatch.setattr("pyrovae.evaluation.latents.BLOCK", 300)
    again = aggregate(view)
    for name, estimate in whole.items():
        assert again[name].value == pytest.approx(estimate.value, rel=1e-5)


def test_units_are_active_where_their_means_vary() -> None:
    scale = np.array([0.05, 0.099, 0.101, 2.0])
    means = scale * np.tile([-1.0, 1.0], 5_000)[:, None]
    view = PosteriorView(small_vae(), small_data().split("test"), CPU)
    found = replace(view.encoded, mean_shift=means, noise=0 * means, prior_scale=np.ones(4))
    assert list(found.active) == [False, False, True, True]
    sphere = replace(found, prior_scale=np.full(4, 0.1**0.5))
    assert sphere.active.all()
    noisy = replace(found, noise=np.full((20, 4), 0.0005))
    assert list(noisy.active) == [False, False, False, True]


def test_one_image_is_too_few() -> None:
    view = PosteriorView(small_vae(), small_data().split("test").take([0]), CPU)
    with pytest.raises(InputError, match="active units need at least 2 images, got 1"):
        _ = view.encoded.active
    with pytest.raises(InputError, match="aggregate posterior needs at least 2 images, got 1"):
        aggregate(view)


def test_several_sites_are_scored_on_some_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "LAYERED_IMAGES", 5)
    for make, images in ((small_vae, 12), (MAKERS["two latents"], 5)):
        programs = make()
        view = PosteriorView(programs, small_data(num_test=12).split("test"), CPU)
        found = scoring._latents(SimpleNamespace(view=view, progress=False))
        assert found["limit"].value == math.log(images)
        assert found["latent_dims"].value == len(view.encoded.names)
