"""Means over seeds of training, and tests of their differences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.seeds import Sweep
from tests.support.commands import run
from tests.support.scored import unscored

FLOW = {"prior": "pyrovae.FlowPrior", "prior.num_layers": 4, "beta.value": 1.0}
VAMP = {"prior": "pyrovae.VampPrior", "prior.num_components": 50, "beta.value": 1.0}
#: Validation scores of runs of two models.
FLOWS, VAMPS = np.array([-80.0, -81.0, -82.5]), np.array([-84.0, -85.5])


def seeded(seed: int, **options: object) -> dict[str, object]:
    return {**options, "trainer.seed": seed}


@pytest.fixture
def sweep() -> Sweep:
    flows = {f"flow_{seed}": seeded(seed, **FLOW) for seed in range(3)}
    return Sweep(flows | {f"vamp_{seed}": seeded(seed, **VAMP) for seed in range(2)})


@pytest.fixture
def scores() -> dict[str, dict[str, Estimate]]:
    values = {f"flow_{seed}": value for seed, value in enumerate(FLOWS)}
    values |= {f"vamp_{seed}": value for seed, value in enumerate(VAMPS)}
    size = {"latent_dims": Estimate(8.0)}
    return {name: {"elbo": Estimate(value, 0.3), **size} for name, value in values.items()}


def test_means_have_the_errors_of_seeds(
    sweep: Sweep, scores: dict[str, dict[str, Estimate]]
) -> None:
    found = sweep.means(scores)
    assert list(found) == ["prior FlowPrior", "prior VampPrior"]
    for own, values in zip(found.values(), (FLOWS, VAMPS), strict=True):
        assert own["elbo"].value == pytest.approx(values.mean())
        assert own["elbo"].error == pytest.approx(stats.sem(values))
        assert own["latent_dims"] == Estimate(8.0)  # No ± 0.


def test_differences_are_tested_by_welchs_test(
    sweep: Sweep, scores: dict[str, dict[str, Estimate]]
) -> None:
    table = sweep.table(scores).set_index(["model", "score"])
    row = table.loc[("prior VampPrior", "elbo")]
    assert row.p_value == pytest.approx(stats.ttest_ind(VAMPS, FLOWS, equal_var=False).pvalue)
    assert row.minus_first == pytest.approx(VAMPS.mean() - FLOWS.mean())
    assert (row.seeds, row.lowest, row.highest) == (2, -85.5, -84.0)
    assert table.p_value.notna().sum() == 1  # Neither of the first model, nor of constants.
    said = sweep.tested(sweep.table(scores), "elbo", "ELBO, nats")
    assert len(said) == 1 and "of prior VampPrior, minus that of prior FlowPrior: -3.58" in said[0]


def test_a_repeated_seed_counts_once_and_is_named() -> None:
    runs = {"a": seeded(0, **FLOW), "b": seeded(1, **FLOW), "again": seeded(1, **FLOW)}
    sweep = Sweep(runs)
    assert list(sweep.models.values()) == [["a", "b"]]
    assert "repeated seed: again" in sweep.said()[-1]
    assert sweep.places == {"a": 0, "b": 0, "again": 0}


def test_runs_of_one_seed_are_no_sweep_and_unknown_options_no_model() -> None:
    assert not Sweep({"a": seeded(0, **FLOW), "b": seeded(0, **VAMP)}).has_seeds
    assert not Sweep({"a": {}, "b": {}}).has_seeds
    assert list(Sweep({"a": {}, "b": {}, "c": FLOW}).models) == ["a", "b", "c"]


def test_long_lists_of_options_leave_the_name_to_the_first_run() -> None:
    many = {f"trainer.option_{place}": 0 for place in range(9)}
    sweep = Sweep({"a": {**many}, "b": dict.fromkeys(many, 1)})
    assert list(sweep.models) == ["a", "b"]
    assert sweep.said()[0].endswith("and 3 more")


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("engine.precision", ("32-true", "bf16")),
        ("callbacks", ([], ["Mine"])),
        ("loggers", (None, ["CSVLogger"])),
        ("objective.jit_options", (None, {})),
        ("objective.jit_options.optimize", (None, True)),
        ("data.root", ("here", "there")),
        ("data.images.cache_dir", ("here", "there")),
        ("data.download", (True, False)),
    ],
)
def test_options_beside_the_model_make_no_other_model(
    option: str, values: tuple[Any, Any]
) -> None:
    runs = {f"f{place}": seeded(place, **FLOW) | {option: own} for place, own in enumerate(values)}
    sweep = Sweep(runs)
    assert sweep.models == {"all runs": ["f0", "f1"]} and sweep.has_seeds
    assert sweep.heading("all runs") == "all runs\n2 seeds"
    assert sweep.said() == ["f0: trainer.seed 0", "f1: trainer.seed 1"]
    assert option in sweep.changed  # comparison.csv has it.


@pytest.mark.parametrize("option", ["trainer.epochs", "init_from", "data.grey", "optimizer.lr"])
def test_other_options_make_another_model(option: str) -> None:
    sweep = Sweep({"a": seeded(0, **FLOW) | {option: 1}, "b": seeded(0, **FLOW) | {option: 2}})
    assert sweep.models == {f"{option} 1": ["a"], f"{option} 2": ["b"]}


def test_the_first_run_of_each_seed_counts_in_the_order_given() -> None:
    sweep = Sweep({name: seeded(seed, **FLOW) for name, seed in (("a", 0), ("b", 1), ("c", 0))})
    assert sweep.models == {"all runs": ["a", "b"]}
    assert sweep.said()[-1].endswith("repeated seed: c")


def test_arguments_of_a_part_are_named_where_its_class_does_not_tell_runs_apart() -> None:
    runs = {"vamp10": {**VAMP, "prior.num_components": 10}, "vamp50": VAMP, "flow": FLOW}
    assert list(Sweep(runs).models) == [
        "prior VampPrior, prior.num_components 10",
        "prior VampPrior, prior.num_components 50",
        "prior FlowPrior",
    ]


def test_a_heading_has_a_line_per_option() -> None:
    wide = {**FLOW, "encoder.hidden": [64, 64]}
    sweep = Sweep({"a": wide, "b": {**VAMP, "encoder.hidden": [32, 32]}})
    headings = [sweep.heading(model).splitlines() for model in sweep.models]
    assert headings[0] == ["prior FlowPrior", "encoder.hidden [64, 64]", "1 seed"]


def test_a_run_without_options_says_so_and_changes_nothing() -> None:
    sweep = Sweep({"a": seeded(0, **FLOW), "b": {}, "c": seeded(1, **FLOW)})
    assert sweep.changed == {"trainer.seed": {"a": "0", "c": "1"}}
    assert sweep.title("b") == "options cannot be read"
    assert [*sweep.models.values()] == [["a", "c"], ["b"]]


@pytest.mark.slow
def test_the_command_compares_models_over_seeds(
    tiny_run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    variants = {
        "a0": ["--trainer.seed=0"],
        "a1": ["--trainer.seed=1"],
        "b0": ["--prior=GaussianMixture", "--trainer.seed=0"],
        "b1": ["--prior=GaussianMixture", "--trainer.seed=1"],
    }
    for name, options in variants.items():
        unscored(tiny_run(*options), tmp_path / name)
    words = [
        str(tmp_path / "a0"),
        "--compare",
        *(str(tmp_path / own) for own in ("a1", "b0", "b1")),
    ]
    sections = ["--sections", "elbo", "without_latent", "--device=cpu"]
    assert run("evaluate", [*words, *sections], monkeypatch) == 0
    said = capsys.readouterr().out
    assert "prior GaussianMixture" in said and said.count("2 seeds") == 2
    assert "Welch's t test over seeds" in said and "no latent" in said
    each = pd.read_csv(tmp_path / "a0" / "comparison.csv").query("score == 'elbo'")
    each = each[each.run.isin([*variants])].set_index("run")
    assert list(each["trainer.seed"]) == [0, 1, 0, 1]
    means = pd.read_csv(tmp_path / "a0" / "comparison_seeds.csv").query("score == 'elbo'")
    assert list(means.value) == pytest.approx(
        [each.value[["a0", "a1"]].mean(), each.value[["b0", "b1"]].mean()]
    )
    # A later comparison leaves no means of other runs behind.
    assert run("evaluate", [*words[:3], *sections], monkeypatch) == 0
    assert (tmp_path / "a0" / "comparison_seeds.csv").exists()
    assert run("evaluate", [words[0], "--compare", words[3], *sections], monkeypatch) == 0
    assert not (tmp_path / "a0" / "comparison_seeds.csv").exists()
