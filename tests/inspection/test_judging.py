"""The judge: causes from evidence, their order, and advice that can be followed."""

from __future__ import annotations

import math
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from pyrovae.config.options import parse_run, train_parser
from pyrovae.inspection import judge
from pyrovae.inspection.causes import CAUSES
from pyrovae.inspection.judge import Advice, Evidence, Finding, Options
from pyrovae.inspection.judge.limits import SURE

NESTED: dict[str, Any] = {
    "data": {"class_path": "pyrovae.ImageFolder", "init_args": {"root": "x", "augment": None}},
    "prior": {"class_path": "pyrovae.StandardNormal", "init_args": {"latent_dim": 10}},
    "likelihood": {"class_path": "pyrovae.SharedScaleNormal"},
    "posterior": {"class_path": "pyrovae.DiagonalNormal"},
    "encoder": {"class_path": "pyrovae.ConvEncoder", "init_args": {"channels": [16, 32]}},
    "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 2e-3}},
    "beta": {"value": 1.0, "schedule": None},
    "trainer": {"epochs": 50, "patience": None, "restore_best": False},
}
#: 1,000 nats are gained by latents: findings cost 10 nats at least, faults 50.
HEALTHY = Evidence(
    options=Options(NESTED),
    train_images=5000,
    epochs=50,
    steps=4000,
    val_fall=1.0,
    train_fall=0.0,
    rise=2.0,
    skipped=0.0,
    elbo=2000.0,
    elbo_error=3.0,
    train_elbo=2010.0,
    train_error=3.0,
    no_latent=1000.0,
    ppca=1900.0,
    dims=10,
    active=9,
    carriers=8,
    rate=20.0,
    weakest=0.1,
    weight=1.0,
    weight_error=0.05,
    spread_gain=0.1,
    ignored=0.0,
    prior_gain=-1.0,
    prior_gain_error=0.1,
    dispersion=1.0,
    train_dispersion=1.0,
    noise_cost=0.0,
    pixel_gain=1.0,
    residual_gain=5.0,
    amortisation=1.0,
    approximation=0.5,
    gap_error=0.1,
    missed_mode=0.0,
    missed_error=0.1,
    shift_p=0.5,
    duplicates=0.0,
    constant=0.0,
    distinct=1.0,
    memorised=1.0,
)


def options(**changed: Any) -> Options:
    return Options({**NESTED, **changed})


NORMAL = {"class_path": "pyrovae.Normal", "init_args": {"scale": 0.1}}
FIXED = {"options": options(likelihood=NORMAL), "fixed_scale": 0.1, "noise_cost": 200.0}
FIXED |= {"noise_factor": 1.5}

HIGH = options(optimizer={"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.1}})

CASES: list[tuple[str, dict[str, Any]]] = [
    ("diverged", {"train_fall": 500.0, "val_fall": 500.0}),
    ("diverged", {"skipped": 0.1}),
    ("overfitting", {"train_elbo": 2300.0, "val_fall": 200.0}),
    ("overfitting", {"train_elbo": 2300.0, "weight": 0.2, "spread_gain": 20.0}),
    ("undertrained", {"rise": 200.0}),
    ("undertrained", {"rise": 200.0, "amortisation": 100.0}),
    ("collapsed", {"active": 0, "elbo": 1001.0, "train_elbo": 1001.0}),
    ("collapsed", {"active": 3, "elbo": 1400.0, "train_elbo": 1400.0, "prior_gain": 30.0}),
    ("beta_too_high", {"weight": 8.0, "spread_gain": 60.0}),
    ("beta_too_high", {"options": options(beta={"value": 8.0}), "spread_gain": 20.0}),
    ("beta_too_low", {"weight": 0.1, "spread_gain": 60.0}),
    ("beta_too_low", {"options": options(beta={"value": 0.1}), "prior_gain": 30.0}),
    ("noise_too_small", {**FIXED, "dispersion": 9.0}),
    ("noise_too_large", {**FIXED, "dispersion": 0.1}),
    ("noise_too_small", {"noise_cost": 80.0, "dispersion": 4.0}),
    ("diverged", {"elbo": -500.0, "train_elbo": -500.0, "options": HIGH}),
    ("diverged", {"elbo": 1100.0, "train_elbo": 1100.0, "rise": 9000.0, "options": HIGH}),
    ("collapsed", {"elbo": 1100.0, "train_elbo": 1100.0, "active": 3, "options": HIGH}),
    ("unfitted_noise", {"has_scale": False, "dispersion": 3.0}),
    ("too_few_latents", {"weakest": 3.0, "residual_gain": 300.0}),
    ("small_encoder", {"amortisation": 100.0, "approximation": 5.0, "gap_error": 2.0}),
    ("narrow_family", {"amortisation": 5.0, "approximation": 100.0, "gap_error": 2.0}),
    ("prior_mismatch", {"prior_gain": 80.0, "prior_gain_error": 1.0}),
    ("missed_mode", {"missed_mode": 0.69, "missed_error": 0.05}),
    ("ignored_latents", {"ignored": 60.0, "num_ignored": 5}),
    ("data_shift", {"shift_p": 1e-4, "train_elbo": 2400.0}),
    # The source of the training images is known from held-out images.
    ("data_shift", {"train_elbo": 2400.0, "held_elbo": 2350.0, "held_error": 4.0}),
    ("overfitting", {"train_elbo": 2400.0, "held_elbo": 2010.0, "held_error": 4.0}),
    ("overfitting", {"train_elbo": 2400.0, "held_elbo": 2010.0, "held_error": 4, "shift_p": 1e-4}),
    ("duplicates", {"duplicates": 0.2, "duplicate_gain": 100.0}),
    (
        "duplicates",
        {"duplicates": 0.2, "duplicate_gain": 9.0, "held_elbo": 1900.0, "held_error": 4},
    ),
    ("constant_images", {"constant": 0.3}),
    ("constant_images", {"distinct": 0.01, "active": 0, "elbo": 1000.0}),
]


def test_every_cause_has_a_case() -> None:
    assert {cause for cause, _ in CASES} | {"one_scale", "overconfident_guide"} == set(CAUSES)


@pytest.mark.parametrize(("cause", "change"), CASES, ids=[cause for cause, _ in CASES])
def test_the_right_cause_is_first(cause: str, change: dict[str, Any]) -> None:
    found = judge(replace(HEALTHY, **change))
    assert found.faults[0].cause == cause, found
    assert found.faults[0].title in str(found) and found.first is not None


def test_nothing_follows_from_health_or_from_nothing() -> None:
    for evidence in (HEALTHY, Evidence(), Evidence(dims=10, active=9, rate=20.0)):
        found = judge(evidence)
        assert not found.findings and "No fault found" in str(found), found


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"rise": 30.0}, "undertrained"),
        ({"pixel_gain": 500.0}, "one_scale"),
        ({"tarp_p": 1e-9, "coverage_90": 0.3}, "overconfident_guide"),
        ({"prior_gain": 20.0, "prior_gain_error": 1.0}, "prior_mismatch"),
    ],
)
def test_small_costs_and_choices_are_improvements(change: dict[str, Any], cause: str) -> None:
    found = judge(replace(HEALTHY, **change))
    assert [own.cause for own in found.findings] == [cause] and not found.faults
    assert found.first is not None and "No fault found" in str(found)
    (own,) = found.findings
    title = own.title[:1].lower() + own.title[1:]
    assert found.line == f"{found} What may be improved: {title} ({own.nats})."


@pytest.mark.parametrize(("below", "error"), [(2000.0, 100.0), (2000.0, 900.0), (40.0, 1.0)])
def test_one_scale_is_a_fault_where_a_model_with_more_of_them_is_far_better(
    below: float, error: float
) -> None:
    few = replace(HEALTHY, groups=2.0, weakest=3.0, residual_gain=300.0)
    found = judge(replace(few, pixel_gain=1500.0, below=below, below_error=error))
    first, second = (own.cause for own in found.findings)
    blamed = below == 2000.0 and error == 100.0
    assert first == ("one_scale" if blamed else "too_few_latents"), found.findings
    assert [own.cause for own in found.faults] == [first, second][: 1 + blamed]


@pytest.mark.parametrize("gain", [100.0, 400.0])
def test_an_improvement_hides_no_larger_one(gain: float) -> None:
    both = judge(replace(HEALTHY, weakest=3.0, residual_gain=200.0, pixel_gain=gain))
    causes = [own.cause for own in both.findings]
    assert causes == (["one_scale", "too_few_latents"] if gain > 200 else ["too_few_latents"])


@pytest.mark.parametrize(
    ("amortisation", "approximation", "spread_gain", "title", "first"),
    [
        (-0.5, 0.0, 0.0, "miss the true latents", "Use draws of MCMC"),
        (1.9, 0.1, 0.1, "miss the true latents", "Use draws of MCMC"),
        (9.0, 0.1, 0.1, "miss the true latents", "Use draws of MCMC"),
        (0.1, 9.0, 0.1, "miss the true latents", "Use draws of MCMC"),
        (math.nan, math.nan, 50.0, "uncertainty is too small", "Use draws of MCMC"),
        (27.5, 0.06, 0.03, "locations are wrong", "Use a larger encoder"),
        (27.5, 0.06, 20.0, "uncertainty is too small", "Use draws of MCMC"),
        (0.5, 50.0, 0.1, "uncertainty is too small", "Use draws of MCMC"),
        (27.5, 0.06, math.nan, "miss the true latents", "Use draws of MCMC"),
        (math.nan, math.nan, math.nan, "miss the true latents", "Use draws of MCMC"),
    ],
)
def test_intervals_that_miss_are_explained_by_what_was_measured(
    amortisation: float, approximation: float, spread_gain: float, title: str, first: str
) -> None:
    gaps = {"amortisation": amortisation, "approximation": approximation}
    own = {"tarp_p": 1e-9, "coverage_90": 0.3, "spread_gain": spread_gain, "gap_error": 3.0}
    finding = CAUSES["overconfident_guide"](replace(HEALTHY, **gaps, **own))
    assert finding is not None and not finding.fault and title in finding.title
    assert finding.advice[0].text.startswith(first)
    costs = (0, 2, 9, 28, 50)
    assert finding.nats in ("unknown cost", *(f"about {own} nats per image" for own in costs))
    assert math.isnan(finding.cost) == math.isnan(amortisation)


def test_the_gain_of_more_latents_is_that_of_ten() -> None:
    (finding,) = judge(replace(HEALTHY, weakest=3.0, residual_gain=300.0)).findings
    assert "ten more linear latents alone would gain 300 nats" in finding.advice[0].effect


SIMPLER = "probabilistic PCA of 729 training images"
MODEL = "nats below log p(x) of a simpler model, "


@pytest.mark.parametrize(
    ("change", "below"),
    [
        ({"below": 4.0, "below_error": 1.0}, True),
        ({"below": 4.0, "below_error": 2.0}, False),
        ({"below": 1.0, "below_error": 0.1}, False),
        ({"below": -40.0, "below_error": 1.0}, False),
    ],
)
def test_a_run_below_a_simpler_model_is_not_acquitted(change: dict[str, Any], below: bool) -> None:
    found = judge(replace(HEALTHY, simpler=SIMPLER, **change))
    assert not found.faults and ("No fault found" in str(found)) != below
    assert (f"below log p(x) of a simpler model, {SIMPLER}; no cause" in str(found)) == below


def test_what_costs_an_unknown_number_of_nats_is_no_reason_for_a_low_elbo() -> None:
    unknown: dict[str, Any] = {"amortisation": math.nan, "approximation": math.nan}
    own = {"tarp_p": 1e-9, "coverage_90": 0.3, "below": 40.0, "below_error": 1.0}
    found = judge(replace(HEALTHY, simpler=SIMPLER, **own, **unknown))
    assert len(found.findings) == 1 and "no cause was found" in str(found)


def test_a_short_run_below_a_simpler_model_stopped_early() -> None:
    # 5 nats are less than a hundredth of the gain, but the run is surely below.
    low: dict[str, Any] = {
        "elbo": 1895.0,
        "train_elbo": 1895.0,
        "below": 5.0,
        "simpler": SIMPLER,
        "amortisation": 0.0,
    }
    low |= {"approximation": 0.0, "steps": 44, "rise": 1.0}
    found = judge(replace(HEALTHY, below_error=1.0, **low))
    assert [own.cause for own in found.findings] == ["undertrained"] and not found.faults
    assert "5 nats below log p(x) of a simpler model, prob" in found.findings[0].reason
    assert "no fault, but smaller costs: longer training would help (about 5 nats" in str(found)
    assert not judge(replace(HEALTHY, below_error=3.0, **low)).findings


@pytest.mark.parametrize(
    ("optimizer", "further"),
    [
        ({"class_path": "torch.optim.Adagrad", "init_args": {"lr": 0.1}}, {}),
        ({"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}}, {"beta": {"value": 4.0}}),
    ],
)
def test_a_high_rate_alone_is_no_divergence(
    optimizer: dict[str, Any], further: dict[str, Any]
) -> None:
    """Rates of other optimisers mean other steps, and another beta another loss."""
    given = options(optimizer=optimizer, **further)
    slow = replace(HEALTHY, elbo=1500.0, train_elbo=1500.0, rise=60.0, options=given)
    assert "diverged" not in [own.cause for own in judge(slow).findings]
    steady = options(optimizer={"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}})
    assert judge(replace(slow, options=steady)).faults[0].cause == "undertrained"
    assert judge(replace(slow, options=steady, rise=0.0)).faults[0].cause == "diverged"


def test_another_optimiser_is_not_blamed_for_its_rate_while_the_elbo_rises() -> None:
    sgd = options(optimizer={"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05}})
    below = replace(HEALTHY, elbo=-500.0, train_elbo=-500.0, rise=600.0, options=sgd)
    assert "diverged" not in [own.cause for own in judge(below).findings]
    assert judge(replace(below, rise=0.0)).faults[0].cause == "diverged"
    unknown = judge(replace(below, rise=math.nan, epochs=math.nan))
    assert "diverged" not in [own.cause for own in unknown.findings]
    adam = options(optimizer={"class_path": "torch.optim.Adam", "init_args": {"lr": 0.05}})
    assert judge(replace(below, options=adam)).faults[0].cause == "diverged"
    collapsed = replace(HEALTHY, elbo=1100.0, train_elbo=1100.0, active=3)
    lower = "Lower the learning rate"
    for given, advised in ((adam, True), (sgd, False)):
        found = judge(replace(collapsed, options=given)).faults[0]
        assert found.cause == "collapsed" and (found.advice[0].text == lower) == advised


def test_a_rising_run_of_small_steps_is_to_take_larger_ones() -> None:
    adam = {"class_path": "torch.optim.Adam", "init_args": {"lr": 1e-5}}
    slow = replace(HEALTHY, rise=200.0, options=options(optimizer=adam))
    raised, longer = judge(slow).faults[0].advice
    assert raised.changes == {"optimizer.lr": 1e-3} and not raised.resumes
    assert longer.text == "Train for longer"
    adam["init_args"] = {"lr": 5e-4}
    assert [longer] == [*judge(replace(slow, options=options(optimizer=adam))).faults[0].advice]
    tuned = options(optimizer={**adam, "init_args": {"lr": 1e-5}}, init_from="runs/a")
    assert [longer] == [*judge(replace(slow, options=tuned)).faults[0].advice]
    sgd = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1e-5}}  # Its steps scale with it.
    assert [longer] == [*judge(replace(slow, options=options(optimizer=sgd))).faults[0].advice]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"elbo": -500.0, "below": 2000.0, "simpler": SIMPLER}, f"2,000 {MODEL}{SIMPLER}."),
        ({"elbo": -500.0, "below": 1.0, "simpler": SIMPLER}, f"1,500 {MODEL}without structure."),
        ({"elbo": -500.0}, f"1,500 {MODEL}without structure."),
    ],
)
def test_a_rate_that_keeps_the_elbo_low_names_the_simpler_model(
    change: dict[str, Any], said: str
) -> None:
    worst, *_ = judge(replace(HEALTHY, options=HIGH, train_elbo=-500.0, **change)).faults
    assert worst.cause == "diverged" and said in worst.reason


def test_a_run_of_few_steps_that_no_longer_rises_is_not_said_to_rise() -> None:
    early = replace(HEALTHY, elbo=-501.5, train_elbo=-501.5, ppca=-9000.0, steps=3, rise=0.0)
    worst, *_ = judge(replace(early, dispersion=9.0, noise_cost=900.0)).faults
    assert worst.cause == "undertrained" and worst.cost == 1500
    assert "rising" not in worst.reason
    assert worst.reason.startswith("After 3 steps (epochs: 50) the ELBO is 1,500 nats below")
    assert worst.reason.endswith("of a simpler model, without structure.")
    assert worst.advice[0].effect == "The validation ELBO rises by about 1,500 nats"


def test_inspected_images_may_score_higher_than_training_images() -> None:
    (found,) = judge(replace(HEALTHY, shift_p=1e-4, train_elbo=1600.0)).faults
    assert found.cause == "data_shift" and "is 400 nats lower." in found.reason


def test_a_high_weight_explains_a_collapse_during_training() -> None:
    high = Options({"beta": {"value": 20.0}})
    (found,) = judge(Evidence(options=high, finished=False, dims=20, active=0, rate=0.4)).faults
    assert found.cause == "beta_too_high" and "nan" not in found.advice[0].effect


def test_another_aim_may_lower_the_elbo() -> None:
    fallen = replace(HEALTHY, train_fall=500.0)
    assert [own.cause for own in judge(fallen).findings] == ["diverged"]
    assert not judge(replace(fallen, maximises_elbo=False)).findings
    skipped = replace(fallen, maximises_elbo=False, skipped=0.1)
    assert [own.cause for own in judge(skipped).findings] == ["diverged"]


def test_a_guide_that_is_wide_by_its_objective_is_not_a_fault() -> None:
    assert not judge(replace(HEALTHY, weight=3.0, spread_gain=60.0, wide=True)).findings


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"missed_mode": 5.0}, "missed_error"),
        ({"train_elbo": 2300.0}, "elbo_error"),
        ({"train_elbo": 2300.0, "shift_p": 1e-6}, "train_error"),
        ({"amortisation": 100.0}, "gap_error"),
        ({"approximation": 100.0}, "gap_error"),
        ({"prior_gain": 100.0}, "prior_gain_error"),
    ],
)
def test_nothing_follows_from_a_value_of_unknown_error(
    change: dict[str, float], error: str
) -> None:
    assert judge(replace(HEALTHY, **change)).findings
    assert not judge(replace(HEALTHY, **change, **{error: float("nan")})).findings


def test_findings_are_in_the_order_of_their_cost() -> None:
    change = {"missed_mode": 5.0, "prior_gain": 200.0, "ignored": 80.0, "duplicates": 0.1}
    causes = [own.cause for own in judge(replace(HEALTHY, **change)).faults]
    assert causes == ["duplicates", "prior_mismatch", "ignored_latents", "missed_mode"]


def findings() -> list[Finding]:
    changes = [change for _, change in CASES] + [{"pixel_gain": 500.0}]
    found = [look(replace(HEALTHY, **change)) for change in changes for look in CAUSES.values()]
    return [own for own in found if own is not None]


def test_findings_name_causes_that_exist() -> None:
    for own in findings():
        assert CAUSES[own.cause] and own.explains <= set(CAUSES) - {own.cause}
        assert own.advice and own.reason.endswith(".") and not own.title.endswith(".")


@pytest.mark.slow
def test_advice_names_options_that_exist(tmp_path: Path) -> None:
    parser, seen = train_parser(), dict[tuple[str, str], Advice]()
    data = ["--data", "ImageFolder", "--data.root", "x", "--likelihood", "Normal"]
    where = ["--run_dir", str(tmp_path / "run")]
    for own in findings():
        for advice in own.advice:
            assert not advice.text.endswith(".") and "nan" not in advice.effect
            if advice.changes:
                assert advice.command("runs/a").startswith("pyrovae train --") and advice.python()
                seen |= {(name, str(v)): advice for name, v in advice.changes.items()}
    for advice in {id(own): own for own in seen.values()}.values():  # Parsing takes a while.
        words = shlex.split(advice.command("x"))[2:]
        start = words.index("x/config.yaml") + 1 if "x/config.yaml" in words else 2
        parse_run(
            parser,
            [*data, *words[start:], *where],
            "default",
        )


def test_the_advised_scale_is_the_one_that_was_measured() -> None:
    """Not that of the squared residuals, which a heavy tail makes much larger."""
    _, scale = judge(replace(HEALTHY, **FIXED, dispersion=400.0)).faults[0].advice
    assert scale.changes == {"likelihood.scale": 0.15}


def test_no_advice_repeats_what_the_run_has() -> None:
    has = options(
        beta={"value": 1.0, "schedule": {"class_path": "pyrovae.Warmup"}},
        prior={"class_path": "pyrovae.FlowPrior", "init_args": {"latent_dim": 10}},
        likelihood={"class_path": "pyrovae.PixelwiseNormal"},
        posterior={"class_path": "pyrovae.FullRankNormal"},
        objective={"class_path": "pyrovae.FreeBits"},
        trainer={"epochs": 50, "patience": 10, "restore_best": True},
    )
    for _, change in CASES:
        if "options" not in change:
            for own in judge(replace(HEALTHY, **change, options=has)).findings:
                for advice in own.advice:
                    for name, value in advice.changes.items():
                        assert value not in (has.get(name), has.part(name)), own.cause


def test_every_known_measurement_is_in_the_table() -> None:
    numbers = {own.name for own in fields(Evidence)} - {
        "options",
        "finished",
        "wide",
        "maximises_elbo",
        "has_scale",
    }
    table = HEALTHY.table()
    assert set(table["measurement"]) <= numbers and len(table) > 30
    assert Evidence().table()["measurement"].tolist() == [
        "dims",
        "active",
        "carriers",
        "num_ignored",
    ]


def test_a_verdict_without_the_history_of_training_says_so() -> None:
    assert "length of training" not in str(judge(HEALTHY))
    unknown = replace(HEALTHY, epochs=math.nan, rise=math.nan)
    collapsed = replace(unknown, active=0, elbo=1001.0, train_elbo=1001.0)
    for evidence in (unknown, collapsed):
        assert str(judge(evidence)).endswith("without metrics.csv, or history= in Python.")


@pytest.mark.parametrize(("named", "flag"), [("FlowPrior", ""), ("my_parts.Cauchy", " --trust")])
def test_commands_for_a_run_with_a_class_of_the_user_have_the_flag_that_opens_it(
    tmp_path: Path, named: str, flag: str
) -> None:
    (tmp_path / "config.yaml").write_text(f"prior:\n  class_path: {named}\n")
    changes = {"trainer.epochs": 40}
    for resumes in (False, True):
        command = Advice("Train for longer", changes, resumes=resumes).command(str(tmp_path))
        assert command.endswith(flag) and ("--trust" in command) == bool(flag)


def test_few_groups_need_a_larger_difference() -> None:
    assert HEALTHY.certain == SURE
    many, few = replace(HEALTHY, groups=1e6), replace(HEALTHY, groups=4.0)
    assert many.certain == pytest.approx(SURE, abs=1e-3) and few.certain > 10
    overfitted = {"train_elbo": HEALTHY.elbo + 150, "elbo_error": 20.0, "train_error": 20.0}
    assert judge(replace(many, **overfitted)).findings != judge(HEALTHY).findings
    assert judge(replace(few, **overfitted)).findings == judge(HEALTHY).findings


def test_few_active_dimensions_of_a_ladder_are_no_collapse_but_empty_layers_are() -> None:
    low = {"elbo": 1100.0, "train_elbo": 1100.0, "dims": 300, "active": 20}
    names = [own.cause for own in judge(replace(HEALTHY, **low, silent=0.0)).findings]
    assert "collapsed" not in names
    empty = judge(replace(HEALTHY, **low, silent=280.0)).findings
    assert "collapsed" in [own.cause for own in empty]


def test_a_difference_of_unknown_error_is_not_sure() -> None:
    assert replace(HEALTHY, below=50.0, below_error=1.0).is_below
    assert not replace(HEALTHY, below=50.0, below_error=math.nan).is_below
    assert not replace(HEALTHY, below=50.0, below_error=1.0, groups=1.0).is_below


@pytest.mark.parametrize(("held_elbo", "shifted"), [(2500.0, True), (1900.0, False)])
def test_copies_explain_a_higher_elbo_only(held_elbo: float, shifted: bool) -> None:
    own = replace(HEALTHY, duplicates=0.1, held_elbo=held_elbo, held_error=4.0)
    causes = [found.cause for found in judge(own).findings]
    assert "duplicates" in causes and ("data_shift" in causes) == shifted
