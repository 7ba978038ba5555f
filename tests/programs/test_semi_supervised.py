"""The semi-supervised VAE: its sums over classes in closed form, its labels, and its commands."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from torch import Tensor

from pyrovae import (
    DiagonalNormal,
    Engine,
    FlowPrior,
    HypersphericalUniform,
    InputError,
    MixtureVAE,
    MLPDecoder,
    MLPEncoder,
    Normal,
    Recipe,
    SemiSupervisedVAE,
    StandardNormal,
    Trainer,
    VonMisesFisher,
)
from pyrovae.commands.train import final_report
from pyrovae.data import ArrayData
from pyrovae.objectives import ScaleLatents, as_objective
from pyrovae.posterior.classification import Classified, calibration_error, classify
from pyrovae.posterior.elbo import image_terms
from pyrovae.priors import Prior
from pyrovae.programs.few_labels import FewLabels
from pyrovae.programs.mixture import MixtureModel
from pyrovae.programs.semi_supervised import SemiSupervisedGuide, SemiSupervisedModel
from pyrovae.runs import RunDirectory
from pyrovae.training import compiling
from tests.support.matrix import POSTERIORS, same_space

SHAPE = (1, 4, 4)
CPU = Engine("cpu", "fp32")


def parts() -> dict[str, Any]:
    return {
        "encoder": MLPEncoder(SHAPE, num_outputs=4, hidden=[16]),
        "decoder": MLPDecoder(SHAPE, latent_dim=2, num_maps=1, hidden=[16]),
        "prior": StandardNormal(2),
        "likelihood": Normal(scale=0.3),
        "posterior": DiagonalNormal(2),
        "num_classes": 3,
    }


def small(**arguments: Any) -> SemiSupervisedVAE:
    return SemiSupervisedVAE(**{**parts(), "num_features": 8, **arguments})


def mixture(**arguments: Any) -> MixtureVAE:
    return MixtureVAE(**{**parts(), **arguments})


both = pytest.mark.parametrize("make", [small, mixture])


def squares(count: int = 90, unknown: float = math.nan) -> ArrayData:
    """Images of a bright row, which is the class; every seventh label is not known."""
    labels = np.arange(count) % 3
    noise = np.random.default_rng(0).integers(0, 60, (count, *SHAPE))
    for image, label in zip(noise, labels, strict=True):
        image[0, label] += 190
    known = np.where(np.arange(count) % 7 == 6, unknown, labels).astype(np.float32)
    return ArrayData(noise.astype(np.uint8), known)


def explicit(
    vae: SemiSupervisedVAE, x: Tensor, labels: Tensor | None, beta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, the rate and the ELBO by a plain sum over classes, at the draws of seed 3."""
    log_q = vae.guide.class_logits(x).log_softmax(-1)
    classes = log_q.shape[-1]
    y = torch.eye(classes)[:, None].expand(classes, len(x), classes)
    torch.manual_seed(3)
    q = vae.guide.z_dist(x, y)
    z = q.rsample()
    rate = q.log_prob(z) - vae.model.prior().log_prob(z) + math.log(classes)
    both = torch.cat([z, y], -1)
    distortion = -vae.likelihood(vae.model.decoder(both)).log_prob(x)
    weights, extra = log_q.exp(), torch.zeros(len(x))
    entropy = -(weights * log_q).sum(-1)
    for row, label in enumerate([] if labels is None else labels.tolist()):
        if label >= 0:
            known = torch.eye(classes)[int(label)]
            extra[row] = -vae.guide.alpha * log_q[row, int(label)]
            weights = torch.where(torch.arange(len(x))[:, None] == row, known, weights)
            entropy = torch.where(torch.arange(len(x)) == row, 0.0, entropy)
    rates = (weights.T * rate).sum(0) - entropy
    distortions = (weights.T * distortion).sum(0)
    loss = (distortions + beta * rates + extra).sum()
    return loss, rates.mean(), -(rates + distortions).mean()


LABELS = {
    "none": None,
    "some": torch.tensor([0.0, -1.0, 2.0, math.nan, 1.0]),
    "all": torch.tensor([0.0, 1.0, 2.0, 0.0, 1.0]),
}


@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize("known", LABELS)
def test_the_enumerated_bound_is_the_plain_sum_over_classes(known: str, beta: float) -> None:
    torch.manual_seed(0)
    vae, x, labels = small(alpha=2.0), torch.rand(5, *SHAPE), LABELS[known]
    loss, rate, elbo = explicit(vae, x, labels, beta)
    expected = torch.autograd.grad(loss, list(vae.parameters()))
    torch.manual_seed(3)
    inputs = {} if labels is None else {"labels": labels}
    objective = as_objective(TraceEnum_ELBO(max_plate_nesting=1))
    with ScaleLatents(beta):
        found = objective.terms_and_grads(beta, vae.model, vae.guide, x, **inputs)
    assert torch.allclose(found.loss, loss / len(x), rtol=1e-6)
    assert torch.allclose(found.rate, rate, rtol=1e-6)
    assert torch.allclose(found.elbo, elbo, rtol=1e-6)
    for parameter, grad in zip(vae.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, grad, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@both
@pytest.mark.parametrize("known", LABELS)
def test_stock_svi_trains_it(known: str, make: Callable[..., FewLabels]) -> None:
    torch.manual_seed(0)
    vae, x, labels = make(), torch.rand(5, *SHAPE), LABELS[known]
    optim = pyro.optim.Adam({"lr": 1e-2})
    svi = pyro.infer.SVI(vae.model, vae.guide, optim, TraceEnum_ELBO(max_plate_nesting=1))
    inputs = {} if labels is None else {"labels": labels}
    losses = [svi.step(x, **inputs) for _ in range(30)]
    assert losses[-1] < losses[0] - 10


@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize("known", LABELS)
def test_the_bound_of_the_mixture_is_that_of_its_density(known: str, beta: float) -> None:
    torch.manual_seed(0)
    vae, x, labels = mixture(alpha=2.0), torch.rand(5, *SHAPE), LABELS[known]
    torch.nn.init.normal_(vae.model.raw)
    torch.manual_seed(3)
    q = vae.guide.z_dist(x)
    z = q.rsample()
    whitening = vae.model.whitening()
    classes = dist.MultivariateNormal(vae.model.loc, precision_matrix=whitening.mT @ whitening)
    each = classes.log_prob(z[:, None])
    log_p, extra = each.logsumexp(-1) - math.log(3), torch.zeros(5)
    for row, label in enumerate([] if labels is None else labels.tolist()):
        if label >= 0:
            own = torch.arange(5) == row
            log_p = torch.where(own, each[row, int(label)] - math.log(3), log_p)
            extra = torch.where(own, -2 * each[row].log_softmax(-1)[int(label)], extra)
    rate = q.log_prob(z) - log_p
    distortion = -vae.likelihood(vae.model.decoder(z)).log_prob(x)
    expected = torch.autograd.grad(
        (distortion + beta * rate + extra).sum(), list(vae.parameters())
    )
    torch.manual_seed(3)
    inputs = {} if labels is None else {"labels": labels}
    objective = as_objective(TraceEnum_ELBO(max_plate_nesting=1))
    with ScaleLatents(beta):
        found = objective.terms_and_grads(beta, vae.model, vae.guide, x, **inputs)
    assert torch.allclose(found.rate, rate.mean(), rtol=1e-5)
    assert torch.allclose(found.elbo, -(rate + distortion).mean(), rtol=1e-5)
    for parameter, grad in zip(vae.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prior", [StandardNormal(2), FlowPrior(2)])
def test_draws_of_a_class_lie_where_the_mixture_has_it(prior: Prior) -> None:
    torch.manual_seed(0)
    model = MixtureModel(prior, torch.nn.Identity(), Normal(), 3, 2)
    model.loc.data = torch.tensor([[-9.0, 0.0], [0.0, 9.0], [9.0, 0.0]])
    y = torch.eye(3).repeat_interleave(50, 0)
    logits = model.class_logits(model.z_dist(y).sample())
    assert torch.equal(logits.argmax(-1), y.argmax(-1))


def test_a_mixture_draws_the_given_class() -> None:
    vae, seen = mixture(), []
    vae.model.loc.data = torch.tensor([[-99.0, 0.0], [0.0, 99.0], [99.0, 0.0]])
    vae.model.decoder.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    vae.sample(2, torch.tensor([[2.0], [0.0]]))
    assert seen[0][0, 0] > 50 and seen[0][1, 0] < -50
    with pytest.raises(InputError, match="label 3: allowed are the classes 0 to 2"):
        vae.sample(1, torch.tensor([[3.0]]))


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_every_posterior_classifies_or_is_refused(posterior: str) -> None:
    q, prior = POSTERIORS[posterior](2), StandardNormal(2)
    arguments = {"posterior": q, "encoder": MLPEncoder(SHAPE, num_outputs=q.num_params)}
    if not same_space("StandardNormal", posterior):
        with pytest.raises(ValueError, match="must live in the same space"):
            mixture(prior=prior, **arguments)
        return
    found = mixture(prior=prior, **arguments).class_probabilities(torch.rand(5, *SHAPE))
    assert torch.allclose(found["label"].sum(-1), torch.ones(5))


def test_priors_of_a_sphere_have_no_affine_map() -> None:
    sphere = {"prior": HypersphericalUniform(3), "posterior": VonMisesFisher(3)}
    with pytest.raises(
        InputError, match="over sphere vectors; the affine map of each class needs"
    ):
        mixture(**sphere)


@both
def test_other_sizes_of_the_latents_are_refused(make: Callable[..., FewLabels]) -> None:
    with pytest.raises(ValueError, match="must have the same latent_dim, got 4 and 2"):
        make(prior=StandardNormal(4))


class Exact(SemiSupervisedGuide):
    """The exact posterior of images N(w z + b_y, s^2), one pixel each."""

    def __init__(self, weight: float, shifts: Tensor, scale: float) -> None:
        super().__init__(torch.nn.Identity(), DiagonalNormal(1), 1, len(shifts), 1.0)
        self.weight, self.shifts, self.scale = weight, shifts, scale

    def forward(self, x: Tensor, num_images: int = 1, *, labels: Tensor | None = None) -> None:
        variance = self.weight**2 + self.scale**2
        with pyro.plate("images", len(x), dim=-1):
            value = x.flatten(-3)
            marginal = dist.Normal(self.shifts, math.sqrt(variance))
            q = dist.OneHotCategorical(logits=marginal.log_prob(value))
            y = pyro.sample("y", q, infer={"enumerate": "parallel"})
            rest = value - (y * self.shifts).sum(-1, keepdim=True)
            loc, scale = self.weight / variance * rest, self.scale / math.sqrt(variance)
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))


class Line(torch.nn.Module):
    """w z + b_y as an image of one pixel."""

    def __init__(self, weight: float, shifts: Tensor) -> None:
        super().__init__()
        self.weight, self.shifts = weight, shifts

    def forward(self, both: Tensor) -> Tensor:
        value = self.weight * both[..., 0] + (both[..., 1:] * self.shifts).sum(-1)
        return value[..., None, None, None]


def test_with_the_exact_posterior_the_bound_is_the_evidence() -> None:
    weight, shifts, scale = 0.7, torch.tensor([-1.0, 0.5, 2.0, 2.5]), 0.4
    likelihood, x = Normal(scale), torch.linspace(-3, 4, 9).reshape(9, 1, 1, 1)
    model = SemiSupervisedModel(StandardNormal(1), Line(weight, shifts), likelihood, 4)
    each = dist.Normal(shifts, math.hypot(weight, scale)).log_prob(x.flatten(1))
    evidence = (each.logsumexp(-1) - math.log(4)).sum()
    guide = Exact(weight, shifts, scale)
    loss = TraceEnum_ELBO(max_plate_nesting=1).loss(model, guide, x)
    assert loss == pytest.approx(-float(evidence), rel=1e-5)


def fit(vae: FewLabels, data: Any, epochs: int = 2, **arguments: Any) -> Any:
    optimizer = partial(torch.optim.Adam, lr=1e-2)
    objective = arguments.pop("objective", TraceEnum_ELBO(max_plate_nesting=1))
    recipe = Recipe(optimizer=optimizer, objective=objective)
    return Trainer(epochs=epochs, batch_size=16).fit(vae, data, recipe, CPU, **arguments)


@pytest.mark.slow
@both
@pytest.mark.parametrize("unknown", [math.nan, -1.0])
def test_few_labels_classify_and_the_rows_of_metrics_say_so(
    unknown: float, make: Callable[..., FewLabels]
) -> None:
    torch.manual_seed(0)
    vae, data = make(num_labels=6, labelled_share=0.3, alpha=50.0), squares(unknown=unknown)
    history = fit(vae, data, 12)
    assert list(history["val_class_accuracy"])[-1] > 0.9
    found = classify(vae, data.split("val"), CPU)
    assert found is not None and len(found.correct) == (data.split("val").attributes >= 0).sum()
    assert found.numbers()["accuracy"] == history["val_class_accuracy"].iloc[-1]


@pytest.mark.slow
@both
def test_the_last_lines_of_training_have_the_error(
    tmp_path: Path, make: Callable[..., FewLabels]
) -> None:
    vae, data = make(), squares()
    fit(vae, data, 1, run=tmp_path / "run")
    said = final_report(RunDirectory(tmp_path / "run"), vae, data, CPU).splitlines()
    assert said[2] == f"  label: {classify(vae, data.split('test'), CPU)}"


def test_predictions_are_summed_up_in_one_line() -> None:
    truth = np.repeat([0, 1, 2, 7], 50)  # There is no class 7 among the probabilities.
    wrong = np.repeat([True, False], [15, 185])
    predicted = np.where(wrong, (truth + 1) % 8, truth) % 3
    probabilities = np.eye(3)[predicted] * 0.85 + 0.05
    found = Classified("kind", probabilities, truth, np.arange(200))
    assert found.correct.sum() == 200 - 15 - 50 and found.chance == 0.25
    assert found.confidence == pytest.approx(0.9)
    assert sorted({*found.log_loss.round(3)}) == [0.105, 2.996, 27.631]
    assert str(found) == (
        "32.50 ± 3.31 % error of 200 images (the most frequent class alone: 75.00 %)"
    )


@both
def test_the_labels_that_are_used_are_balanced_and_follow_their_seed(
    make: Callable[..., FewLabels],
) -> None:
    split = squares().split("train")
    found = []
    for seed in (0, 0, 1):
        vae = make(num_labels=7, label_seed=seed, labelled_share=0.5)
        seen, rows = vae.lessons(split)
        assert rows is not None
        labels = seen.attributes[:, 0]
        assert np.bincount(labels[labels >= 0].astype(int)).tolist() == [3, 2, 2]
        assert (labels[labels >= 0] == split.attributes[labels >= 0, 0]).all()
        assert 0.4 < (labels[rows] >= 0).mean() < 0.6 and set(rows) == set(range(len(split)))
        found.append(labels)
    assert (found[0] == found[1]).all() and (found[0] != found[2]).any()


@both
def test_evaluation_sees_no_label(make: Callable[..., FewLabels]) -> None:
    vae, split = make(), squares().split("val")
    other = replace(split, attributes=(split.attributes + 1) % 3)
    found = [image_terms(vae, own, CPU) for own in (split, other)]
    assert torch.equal(found[0]["rate"], found[1]["rate"])


def test_draws_have_the_given_class_and_edits_keep_z() -> None:
    vae = small()
    with torch.no_grad():
        vae.model.decoder.load_state_dict(
            {name: 0 * value for name, value in vae.model.decoder.state_dict().items()}
        )
    seen: list[Tensor] = []
    vae.model.decoder.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    labels = torch.tensor([[2.0], [0.0]])
    vae.sample(2, labels)
    assert torch.equal(seen[-1][:, 2:].argmax(-1), torch.tensor([2, 0]))
    torch.manual_seed(0)
    vae.reconstruct(torch.rand(2, *SHAPE), torch.full((2, 1), -1.0), labels)
    assert torch.equal(seen[-1][:, 2:].argmax(-1), torch.tensor([2, 0]))
    with pytest.raises(InputError, match="label 3: allowed are the classes 0 to 2"):
        vae.sample(1, torch.tensor([[3.0]]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "num_classes 1: allowed is 2 to 256"),
        ({"num_classes": 1000}, "num_classes 1000: allowed is 2 to 256, since each step sums"),
        ({"num_labels": 2}, "num_labels 2: allowed is 3 or more"),
        ({"labelled_share": 1.0}, "labelled_share 1.0: allowed is 0 or more and below 1"),
        ({"alpha": -1.0}, "alpha -1.0: allowed is 0 or more"),
        ({"label": "age"}, r"no attribute 'age'; known: \['label'\]"),
        ({"num_classes": 2}, "known values are from 0 to 2, allowed are the classes 0 to 1"),
        ({"num_labels": 80}, "num_labels 80: needs 27 labels of class 0, known are"),
    ],
)
@both
def test_wrong_numbers_are_one_clear_line(
    arguments: dict[str, Any], message: str, make: Callable[..., FewLabels]
) -> None:
    with pytest.raises(InputError, match=message):
        fit(make(**arguments), squares())


@both
def test_objectives_that_cannot_sum_are_one_clear_line(make: Callable[..., FewLabels]) -> None:
    with pytest.raises(InputError, match="Trace_ELBO cannot sum over the classes; set --obj"):
        fit(make(), squares(), objective=Trace_ELBO())


@pytest.mark.slow
@both
def test_resuming_reaches_the_very_weights(tmp_path: Path, make: Callable[..., FewLabels]) -> None:
    found = []
    for name, steps in (("whole", [4]), ("half", [2, 4])):
        for epochs in steps:
            torch.manual_seed(0)
            vae = make(num_labels=6)
            fit(vae, squares(), epochs, run=tmp_path / name, resume=epochs == 4 and len(steps) > 1)
        found.append(vae.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


@pytest.mark.slow
@both
def test_traced_steps_are_the_eager_ones(
    monkeypatch: pytest.MonkeyPatch, make: Callable[..., FewLabels]
) -> None:
    built: list[Any] = []
    # Without the compiler, which takes half a minute and does not look at the programs.
    monkeypatch.setattr(compiling, "_compiled", lambda graph, values: built.append(1) or graph)
    found = []
    for compiled in ("off", "on"):
        torch.manual_seed(0)
        vae = make(num_labels=6)
        engine = Engine("cpu", "fp32", compile=compiled)  # type: ignore[arg-type]
        recipe = Recipe(objective=TraceEnum_ELBO(max_plate_nesting=1))
        history = Trainer(epochs=2, batch_size=16).fit(vae, squares(), recipe, engine)
        found.append((vae.state_dict(), history["train_elbo"].tolist()))
    assert built == [1]
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-5)
    for name, value in found[0][0].items():
        assert torch.allclose(value, found[1][0][name], rtol=1e-4, atol=1e-5), name


def test_calibrated_predictions_have_the_error_of_noise_alone() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.4, 1, 20_000)
    calibrated = random.random(20_000) < confidence
    # 15 bins of 1,300 or more images: noise of about 0.01; being wrong by 0.1 is seen.
    assert calibration_error(confidence, calibrated) < 0.02
    assert calibration_error(confidence, random.random(20_000) < confidence - 0.1) > 0.08
