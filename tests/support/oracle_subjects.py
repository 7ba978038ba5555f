"""What the tests of an inspection look at, and what must be as before afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pyro
import torch
from torch import Tensor

from pyrovae import Engine, ModelGuidePair
from pyrovae.data import Split
from pyrovae.inspection.section import Section
from pyrovae.inspection.subject import Budget, Subject
from tests.support.oracles import LinearGaussian
from tests.support.small import small_data
from tests.support.subjects import shortened
from tests.support.tables import changed, snapshot

CPU = Engine("cpu", "fp32")
LITTLE = Budget(120, 3, 150, 2, 20, 1, 50)


def split_of(images: Tensor) -> Split:
    """Images without attributes, named by their places."""
    names = [str(place) for place in range(len(images))]
    return Split(images.numpy(), names, np.zeros((len(images), 0), np.float32))


def as_drawn(programs: ModelGuidePair) -> ModelGuidePair:
    """The programs, looking at images as they are: those that a model draws are no bytes."""
    for likelihood in programs.likelihood.modules():
        for name in ("observe", "dequantize"):
            setattr(likelihood, name, lambda images: images)
    return programs


def subject_of(
    programs: ModelGuidePair, split: Split, budget: Budget = LITTLE, **kwargs: object
) -> Subject:
    kwargs = {"shown": split.take(range(min(3, len(split)))), "engine": CPU} | kwargs
    return Subject(programs, split, budget=budget, **kwargs)  # type: ignore[arg-type]


def linear_subject(linear: LinearGaussian, count: int, draws: int = 1000) -> Subject:
    """Images of a linear model with its exact posterior: the aggregate is the prior."""
    budget = Budget(count, 3, draws, 2, 20, 1, 50)
    linear.shape = (1, 4, 3)
    split, train = (split_of(linear.images(count)) for _ in range(2))
    return subject_of(as_drawn(linear.vae()), split, budget, train=train, held_out=train)


def small_subject(programs: ModelGuidePair, count: int = 120) -> Subject:
    """Any programs of images 16 x 16, with attributes."""
    data = small_data(num_test=count)
    split, train = data.split("test"), data.split("train")
    return subject_of(programs, split, train=train, held_out=train)


@contextmanager
def unchanged(programs: ModelGuidePair) -> Iterator[None]:
    """Fails if anything that lives longer than an inspection is not as it was."""
    before = snapshot(programs), _surroundings(programs)
    yield
    assert not changed(before[0], snapshot(programs))
    assert before[1] == _surroundings(programs)


def sound_section(
    section: Callable[[Subject], Section], programs: ModelGuidePair, whole: bool = True
) -> tuple[Subject, Section]:
    """A section that changes nothing, says the same again, and whose figures can be drawn.

    Args:
        section: makes it.
        programs: what it looks at.
        whole: whether it is made again, and its figures drawn, each of which takes as long as the
            rest. Both depend on the section rather than on the programs.
    """
    subject = small_subject(programs)
    with unchanged(programs), shortened():
        found = section(subject)
        assert not whole or section(small_subject(programs)).says == found.says
    assert all(said.endswith(".") for said in found.says)
    for drawing in found.figures.values():
        if whole:
            drawing.figure.draw_without_rendering()
        assert drawing.caption.endswith(".") and drawing.figure.get_size_inches()[0] <= 7
    return subject, found


def _surroundings(programs: ModelGuidePair) -> list[object]:
    return [
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),  # type: ignore[index]
        sorted(pyro.get_param_store().keys()),
        [part.training for part in programs.modules()],
        [(p.requires_grad, p.grad is None) for p in programs.parameters()],
        torch.is_grad_enabled(),
    ]
