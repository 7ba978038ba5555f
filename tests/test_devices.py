"""Everything that runs on a GPU, on a pretended one: nothing may lie on the CPU by mistake.

Parts and objectives come from the tables of `test_matrix.py`, sections from the package's own: a
new one is tested by being there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from torch import Tensor

from pyrovae import SVI, VAE, Engine, GroupedOptimizer, Recipe, SyntheticFaces, Trainer
from pyrovae.commands import sample
from pyrovae.data import Split
from pyrovae.evaluation import evaluate, factor_scores, scoring
from pyrovae.inspection import (
    SECTIONS,
    Budget,
    Subject,
    climbing,
    mcmc,
    modes,
    refinement,
    tracing,
)
from pyrovae.objectives import Progress
from pyrovae.posterior.encoding import _densities, dimension_divergences
from tests.support.commands import TINY, run
from tests.support.matrix import (
    INDEPENDENT,
    LIKELIHOODS,
    OBJECTIVES,
    POSTERIORS,
    PRIORS,
    in_turn,
    make,
    same_space,
)
from tests.support.pretended import DEVICE, Pretended, pretending, strictly
from tests.support.programs import CLASSES
from tests.support.small import adam, same_weights, small_data, small_vae
from tests.support.subjects import SUBJECTS, subject

pytestmark = pytest.mark.usefixtures("without_pages")

ENGINE = Engine("meta", "fp32")
SHAPE = (1, 8, 8)
FACES = (3, 16, 16)
#: What reads numbers within a step, and so cannot be recorded.
WAITS = {"RenyiELBO", "VonMisesFisher"}
#: Objectives that take posteriors apart: gradients of paths with several particles, divergences
#: by dimension and in closed form, kernels between draws. The others ask for draws and densities.
WITH_ALL = {"DReG", "FreeBits", "TraceMeanField_ELBO", "MMD"}


@pytest.fixture(autouse=True)
def pretended() -> Iterator[None]:
    with pretending():
        yield


def prior_beside(posterior: str, prior: str) -> str:
    """A prior, or where it does not fit a posterior one that does."""
    if same_space(prior, posterior):
        return prior
    return "HypersphericalUniform" if posterior == "VonMisesFisher" else "StandardNormal"


def pairs() -> Iterator[tuple[str, str]]:
    """Objectives with the posteriors they are tried with."""
    turn = itertools.cycle(POSTERIORS)
    for objective in OBJECTIVES:
        own = POSTERIORS if objective in WITH_ALL else itertools.islice(turn, 2)
        fitting = sorted(INDEPENDENT) if objective == "BetaTC" else own
        yield from ((objective, name) for name in fitting)


def steps() -> Iterator[tuple[str, str, str, str]]:
    """Objectives with posteriors, beside the other parts in turn."""
    others = zip(itertools.cycle(PRIORS), itertools.cycle(LIKELIHOODS), strict=False)
    for (objective, posterior), (prior, likelihood) in zip(pairs(), others, strict=False):
        yield objective, posterior, prior_beside(posterior, prior), likelihood


PARTS = list(in_turn())
#: Until each prior and each posterior was there once: gaps depend on them most, and take long.
WITH_GAPS = PARTS[: max(len(PRIORS), len(POSTERIORS))]
every_part = pytest.mark.parametrize(("prior", "likelihood", "posterior", "objective"), PARTS)


def test_the_selection_has_every_part() -> None:
    chosen = list(zip(*steps(), strict=True))
    tables = (OBJECTIVES, POSTERIORS, PRIORS, LIKELIHOODS)
    assert [set(names) for names in chosen] == [set(table) for table in tables]
    chosen = list(zip(*PARTS, strict=True))
    tables = (PRIORS, LIKELIHOODS, POSTERIORS, OBJECTIVES)
    assert [set(names) for names in chosen] == [set(table) for table in tables]
    # Latents on a sphere cannot be moved freely.
    free = [set(PRIORS) - {"HypersphericalUniform"}, set(POSTERIORS) - {"VonMisesFisher"}]
    priors, _, posteriors, _ = zip(*WITH_GAPS, strict=True)
    assert [set(priors), set(posteriors)] == free


def images(count: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8)


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "posterior", "prior", "likelihood"), list(steps()))
def test_a_step_can_be_recorded(
    objective: str, posterior: str, prior: str, likelihood: str
) -> None:
    vae = make(prior, likelihood, posterior, SHAPE, layers=1).to(DEVICE)
    x, beta = images(2).to(DEVICE), torch.full((), 0.5, device=DEVICE)
    optimizer = GroupedOptimizer(partial(torch.optim.Adam, lr=1e-3), clip_norm=10.0)
    svi = SVI(vae.model, vae.guide, optimizer, OBJECTIVES[objective](), observe=vae.scored)
    with pyro.validation_enabled(False):
        svi.advance(x, beta)  # The first finds out what there is, and places all state.
        svi.objective.begin_step(Progress(1, 10, 10, 20))
        if {objective, posterior} & WAITS:
            terms = svi.advance(x, beta)
        else:
            with strictly():
                terms = svi.advance(x, beta)
    assert all(isinstance(term, Pretended) for term in terms) and terms.finite


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_a_step_of_classes_can_be_recorded(name: str) -> None:
    vae = CLASSES[name]().to(DEVICE)
    x, beta = images(2, FACES).to(DEVICE), torch.full((), 0.5, device=DEVICE)
    given = vae.inputs(torch.tensor([[1.0], [-1.0]]))
    optimizer, objective = GroupedOptimizer(adam().optimizer), TraceEnum_ELBO(max_plate_nesting=1)
    svi = SVI(vae.model, vae.guide, optimizer, objective, observe=vae.scored)
    with pyro.validation_enabled(False):
        svi.advance(x, beta, given)
        with strictly():
            terms = svi.advance(x, beta, given)
    assert all(isinstance(term, Pretended) for term in terms) and terms.finite
    assert vae.sample(2, torch.zeros(2, 1)).shape == x.shape
    (found,) = vae.class_probabilities(vae.scored(x)).values()
    assert isinstance(found, Pretended) and found.shape == (2, 2)


@pytest.mark.slow
def test_a_step_computes_what_it_does_on_the_cpu() -> None:
    x, found = images(4, FACES), []
    for device in ("cpu", DEVICE):
        vae = small_vae().to(device)
        optimizer = GroupedOptimizer(partial(torch.optim.Adam, lr=1e-3), clip_norm=10.0)
        with pyro.get_param_store().scope():
            svi = SVI(vae.model, vae.guide, optimizer, pyro.infer.Trace_ELBO())
            torch.manual_seed(3)
            found.append([svi.step(vae.observe(x.to(device))) for _ in range(3)])
    assert found[0] == pytest.approx(found[1], rel=1e-6) and found[0][0] != found[0][2]


def faces() -> SyntheticFaces:
    return small_data(num_train=10, num_val=4, num_test=4)


def fit(
    vae: VAE, data: SyntheticFaces, recipe: Recipe, epochs: int, root: Path, resume: bool = False
) -> None:
    trainer = Trainer(epochs=epochs, batch_size=10, clip_norm=10.0)
    # Loggers get numbers and pictures that are the same whatever the parts: see the scripts.
    how: dict[str, Any] = {"run": root, "resume": resume, "loggers": ()}
    state = trainer.fit(vae, data, recipe, ENGINE, **how).state
    assert state.epoch == epochs and not state.skipped
    assert all(isinstance(value, Pretended) for value in vae.state_dict().values())


@pytest.mark.slow
@every_part
def test_parts_train_resume_and_are_evaluated(
    prior: str, likelihood: str, posterior: str, objective: str, tmp_path: Path
) -> None:
    recipe, data = replace(adam(), objective=OBJECTIVES[objective]()), faces()
    first, vae = (make(prior, likelihood, posterior, FACES, layers=1) for _ in range(2))
    fit(first, data, recipe, 1, tmp_path / "run")
    fit(vae, data, recipe, 2, tmp_path / "run", resume=True)
    assert not same_weights(first, vae)
    options = scoring.Options(num_samples=2)
    scorer = scoring.Scorer(vae, data, options, ENGINE)
    for section in ("elbo", "latents", "reconstruction", "evidence"):
        assert scorer.section(section) or section == "classes"  # This program has none.
    assert evaluate(vae, data.split("test"), ENGINE).num_images == 4
    x = images(3, FACES).to(DEVICE)
    assert vae.sample(3).shape == vae.reconstruct(x).shape == x.shape


@pytest.mark.slow
@pytest.mark.parametrize("section", scoring.SECTIONS)
def test_every_section_of_scores(section: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "factor_scores", partial(factor_scores, num_splits=1))
    options = scoring.Options(num_samples=2)
    scorer = scoring.Scorer(small_vae().to(DEVICE), small_data(), options, ENGINE)
    assert scorer.section(section) or section == "classes"  # This program has none.


@pytest.mark.slow
@pytest.mark.parametrize(
    "choice",
    [{}, {"reconstruct": ["test"]}, {"interpolate": ["test:0", "test:1"]}]
    + [{"traverse": [0, 1]}, {"traverse": [0], "image": "test:2"}],
    ids=str,
)
def test_pictures_of_the_script(choice: dict[str, Any]) -> None:
    options = sample.parser().parse_args(["run", "--out=x.png"])
    options.num = options.steps = 3
    for name, value in choice.items():
        options[name] = value
    picture = sample.draw(options, small_vae().to(DEVICE), small_data(), DEVICE)
    assert picture.dtype == torch.uint8 and not isinstance(picture, Pretended)


#: What takes long, and asks of programs with other sites nothing that "gaps" does not.
SLOW = {"attributes", "factors", "mcmc"}
ASKED = [
    (section, kind)
    for kind in ("vae", "two latents", "conditional")
    for section in sorted(set(SECTIONS) - {"classes"})
    if kind == "vae" or section not in SLOW
]
EFFORT = Budget(
    images=20,
    shown=1,
    draws=100,
    refined=1,
    steps=4,
    importance_draws=10,
    tree_depth=1,
    starts=2,
    num_splits=1,
)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each operation a few times: they are looked at, not their results."""
    monkeypatch.setattr(climbing, "DRAWS", 2)
    monkeypatch.setattr(climbing, "ROUNDS", 1)
    monkeypatch.setattr(refinement, "UNIT_DRAWS", 2)
    monkeypatch.setattr(refinement, "CHOOSING_DRAWS", 4)
    monkeypatch.setattr(modes, "STEPS", 2)
    monkeypatch.setattr(mcmc, "FITTING_STEPS", 2)
    monkeypatch.setattr(mcmc, "GUIDE_DRAWS", 200)


@pytest.mark.slow
@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("section", "kind"), ASKED)
def test_every_section_of_an_inspection(
    section: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The few times are enough to go over to the graph, which runs on the device too. Other
    # programs are traced in the section that traces their model and guide alike.
    if kind == "vae" or section == "gaps":
        monkeypatch.setattr(tracing, "OFTEN", 2)
    data = small_data()
    asked = subject(SUBJECTS[kind]().to(DEVICE), EFFORT)
    asked = replace(asked, train=data.split("train"), factors=tuple(data.factors)[:2])
    assert SECTIONS[section](replace(asked, engine=ENGINE)).says


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_inspected(name: str) -> None:
    split = small_data().split("train")
    worn = (split.attributes[:, :1] > 0).astype("float32")
    split = replace(split, attributes=worn, attribute_names=("glasses",))
    vae = CLASSES[name]().to(DEVICE)
    asked = Subject(vae, split, ENGINE, shown=split.take([3]), budget=EFFORT)
    assert SECTIONS["classes"](asked).says


@pytest.mark.slow
@pytest.mark.usefixtures("short")
@every_part
def test_parts_are_inspected(prior: str, likelihood: str, posterior: str, objective: str) -> None:
    vae = make(prior, likelihood, posterior, SHAPE, layers=1).to(DEVICE)
    names, nothing = [f"image {i}" for i in range(20)], np.zeros((20, 0), np.float32)
    split = Split(images(20).numpy(), names, nothing)
    asked = Subject(vae, split, ENGINE, shown=split.take([3]), budget=EFFORT)
    sections = ["calibration", "traversals"]
    if (prior, likelihood, posterior, objective) in WITH_GAPS:
        sections.append("gaps")
    for section in sections:
        assert SECTIONS[section](asked).says


class Dense(dist.Normal):
    """A Normal whose density nobody knows."""

    def log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError


def test_divergences_that_are_not_known_lie_on_the_device() -> None:
    loc = torch.zeros(4, 2, device=DEVICE)
    q = dist.MultivariateNormal(loc, scale_tril=torch.eye(2, device=DEVICE))
    found, exact = dimension_divergences(q, dist.Cauchy(loc, torch.ones_like(loc)).to_event(1))
    assert found.device == DEVICE and found.isnan().all() and not exact
    unknown = Dense(loc, torch.ones_like(loc)).to_event(1)
    node, p = {"fn": unknown, "value": loc}, dist.Cauchy(loc, torch.ones_like(loc)).to_event(1)
    for closed in (True, False):
        found = _densities(node, p, closed)
        assert all(own.device == DEVICE and own.isnan().all() for own in found)


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_the_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrovae.commands.inspect.QUICK", EFFORT)
    root, device = tmp_path / "run", "meta"
    given = [option for option in TINY if "engine.device" not in option]
    train = [*given, f"--engine.device={device}", f"--run_dir={root}"]
    assert run("train", train, monkeypatch) == 0
    asked = {
        "train": [f"--resume={root}", "--trainer.epochs=2"],
        "evaluate": [str(root), "--sections", "elbo", f"--device={device}"],
        "inspect_posterior": [str(root), "--quick", "--sections", "gaps", f"--device={device}"],
        "sample": [str(root), "--num=2", f"--out={tmp_path / 'x.png'}", f"--device={device}"],
    }
    for name, arguments in asked.items():
        assert run(name, arguments, monkeypatch) == 0
    assert list(root.glob("**/gaps_gaps.csv")), "a section that fails is left out of the report"
