"""Programs with few labels: the labels that are used, training, and refusals."""

from __future__ import annotations

import copy
import math
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from torch import Tensor

from pyrovae import (
    Engine,
    InputError,
    Recipe,
    Trainer,
)
from pyrovae.commands.train import final_report
from pyrovae.data import SPLITS, ArrayData
from pyrovae.posterior.classification import classify
from pyrovae.posterior.elbo import image_terms
from pyrovae.programs.few_labels import FewLabels
from pyrovae.runs import RunDirectory
from pyrovae.training import compiling
from tests.support.classes import CPU, SHAPE, both, small, squares
from tests.support.small import same_weights
from tests.support.steps import at_step

pytestmark = pytest.mark.usefixtures("without_pages")


def fit(vae: FewLabels, data: Any, epochs: int = 2, **arguments: Any) -> Any:
    optimizer = partial(torch.optim.Adam, lr=1e-2)
    objective = arguments.pop("objective", TraceEnum_ELBO(max_plate_nesting=1))
    recipe = Recipe(optimizer=optimizer, objective=objective)
    return Trainer(epochs=epochs, batch_size=16).fit(
        vae, data, recipe, CPU, loggers=(), **arguments
    )


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
    found = classify(vae, data.split("val"), CPU, draws=1)
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
    # The baseline has as many dimensions as the continuous latents, without those of the class.
    assert "latent dimensions: 2:" in said[3]


@pytest.mark.slow
@both
def test_a_run_that_stops_among_repeated_labels_resumes_there(
    make: Callable[..., FewLabels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch has more steps than images, since labels are repeated."""
    torch.manual_seed(0)
    data, how = squares(), {"num_labels": 6, "labelled_share": 0.6}
    whole = make(**how)
    start = copy.deepcopy(whole.state_dict())
    torch.manual_seed(1)
    steps = fit(whole, data, 1, run=tmp_path / "whole").state.step
    assert steps > len(data.split("train")) // 16 + 1
    cut = make(**how)
    cut.load_state_dict(start)
    torch.manual_seed(1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        at_step(steps - 1, lambda: signal.raise_signal(signal.SIGINT), patch)
        fit(cut, data, 1, run=tmp_path / "cut")
    assert fit(cut, data, 1, run=tmp_path / "cut", resume=True).state.step == steps
    assert same_weights(whole, cut)


@both
def test_the_labels_that_are_used_are_balanced_and_follow_their_seed(
    make: Callable[..., FewLabels],
) -> None:
    split = squares().split("train")
    found = []
    for seed in (0, 0, 1):
        vae = make(num_labels=7, label_seed=seed, labelled_share=0.5)
        seen, rows = vae.training_rows(split)
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
        ({"label": "age"}, "label: the images have no attribute age; known are label"),
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
def test_labels_of_minus_one_and_one_are_refused(make: Callable[..., FewLabels]) -> None:
    """Minus one stands for unknown, so that all known labels would be of one class."""
    data = squares()
    known = np.where(np.arange(90) % 3 == 1, 1.0, -1.0).astype(np.float32)
    signs = ArrayData(np.concatenate([data.split(n).images for n in SPLITS])[:90], known)
    message = "label: all known labels are of class 1 .a negative number means unknown"
    with pytest.raises(InputError, match=message):
        fit(make(num_classes=2), signs)


@pytest.mark.slow
@both
def test_a_run_resumes_on_labels_of_one_class(
    tmp_path: Path, make: Callable[..., FewLabels], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions trained on these."""
    ones = ArrayData(squares().split("train").images, np.ones(len(squares().split("train"))))
    with monkeypatch.context() as earlier:
        earlier.setattr(FewLabels, "check_inputs", lambda *_: None)
        fit(make(num_classes=2), ones, 1, run=tmp_path / "run")
    fit(make(num_classes=2), ones, 2, run=tmp_path / "run", resume=True)
    assert RunDirectory(tmp_path / "run").weights_of("last")[1] == 2


@both
def test_objectives_that_cannot_sum_are_one_clear_line(make: Callable[..., FewLabels]) -> None:
    with pytest.raises(InputError, match="Trace_ELBO cannot sum over the classes; set --obj"):
        fit(make(), squares(), objective=Trace_ELBO())
    with pytest.raises(InputError, match=r"^--objective.max_plate_nesting 0: allowed is 1 or "):
        fit(make(), squares(), objective=TraceEnum_ELBO(max_plate_nesting=0))


@pytest.mark.slow
@both
def test_resuming_reaches_the_very_weights(tmp_path: Path, make: Callable[..., FewLabels]) -> None:
    found = []
    for name, steps in (("whole", [2]), ("half", [1, 2])):
        for epochs in steps:
            torch.manual_seed(0)
            vae = make(num_labels=6)
            fit(vae, squares(), epochs, run=tmp_path / name, resume=epochs == 2 and len(steps) > 1)
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
