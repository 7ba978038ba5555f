"""The loops of the benchmark compute the same, and the script says what it measured."""

from __future__ import annotations

import csv
import gc
import importlib.util
import math
import runpy
import sys
import weakref
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarking import chart, figures, memory, suite, timing
from benchmarking.cases import data_of
from benchmarking.feeding import Given, feed, mapped_images
from benchmarking.handwritten import captured_step
from benchmarking.loops import LOOPS, Loop, Setting
from benchmarking.preparation import photographs, prepare
from benchmarking.statistics import Spread, break_even, ratio, spread
from benchmarking.workers import Workers
from PIL import Image

from pyrovae.utils.memory import status_bytes
from tests.support.commands import SCRIPTS
from tests.support.forked_workers import forked_workers  # noqa: F401
from tests.support.settings import SMALL, setting
from tests.support.works import feed_mlp_only, train_on_few_images

pytestmark = pytest.mark.slow


EAGER = [name for name, kind in LOOPS.items() if not kind.compiled and name != "pythae"]


every_case = pytest.mark.parametrize("case", SMALL)


@pytest.fixture(autouse=True)
def one_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops that choose bf16 by the hardware are compared in fp32."""
    monkeypatch.setattr(
        Setting, "engine", lambda self, compiled: suite.Engine("cpu", "fp32", "off")
    )


def losses(name: str, case: str, steps: int = 3) -> list[float]:
    loop = Loop(LOOPS[name], setting(case))
    found = []
    with loop.active():
        for seed in range(steps):
            torch.manual_seed(seed)
            found.append(float(loop.step()))
    loop.close()
    return found


@every_case
@pytest.mark.parametrize("name", [name for name in EAGER if name != "pyro"])
def test_every_loop_computes_what_stock_pyro_does(name: str, case: str) -> None:
    expected = losses("pyro", case)
    assert losses(name, case) == pytest.approx(expected, rel=1e-4)
    assert len(set(expected)) == 3


def test_compiling_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda module: module)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: None)
    expected = losses("pyro", "mlp")
    for name in ("hand_whole", "hand_whole_fp32", "hand_networks"):
        assert losses(name, "mlp") == pytest.approx(expected, rel=1e-4)


class FakeStream:
    def wait_stream(self, other: FakeStream) -> None:
        pass


class FakeGraph:
    def __init__(self) -> None:
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1


class FakeAdam(torch.optim.Adam):
    made: list[weakref.ref[FakeAdam]] = []

    def __init__(self, params: Any, lr: float, fused: bool, capturable: bool) -> None:
        super().__init__(params, lr=lr, fused=fused)  # Capturable it cannot be on a CPU.
        self.made.append(weakref.ref(self))


@pytest.fixture
def fake_recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    """What records a step runs on a CPU, where nothing is recorded."""
    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "current_stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: nullcontext())
    monkeypatch.setattr(torch.optim, "Adam", FakeAdam)


def recorded_step() -> tuple[Any, dict[str, weakref.ref[Any]]]:
    """A step of which nothing else is held, and what its graph would refer to."""
    module, images = torch.nn.Linear(3, 1), torch.rand(3)
    compute = torch.nn.Sequential(module)
    step = captured_step(compute, module, images, 1e-3)
    gc.collect()
    optimizer = FakeAdam.made.pop()()
    assert optimizer is not None, "the optimiser is gone, and its state with it"
    used = {"optimizer": optimizer, "module": module, "compute": compute, "images": images}
    used |= {"gradient": module.weight.grad, **optimizer.state[module.weight]}
    module.zero_grad(set_to_none=True)
    return step, {name: weakref.ref(value) for name, value in used.items()}


def test_a_recorded_step_keeps_what_its_graph_refers_to(fake_recorder: None) -> None:
    step, used = recorded_step()
    gc.collect()
    assert {"exp_avg", "exp_avg_sq", "step"} < set(used)
    assert [name for name, reference in used.items() if reference() is None] == []
    assert step().shape == (1,) and step.graph.replays == 1
    del step
    gc.collect()
    assert [name for name, reference in used.items() if reference() is not None] == []


def test_pythae_trains_the_same_networks() -> None:
    pytest.importorskip("pythae")
    found, expected = losses("pythae", "mlp"), losses("pyro", "mlp")
    # Its divergence is exact, ours drawn: they differ by noise of about a nat.
    assert found == pytest.approx(expected, abs=8)


def test_a_loop_keeps_its_parameters_to_itself() -> None:
    both = [Loop(LOOPS[name], setting("mlp")) for name in ("pyrovae_eager", "pyro")]
    for _ in range(2):
        for loop in both:
            loop.first()
    stores = [set(loop._store["params"]) for loop in both]
    assert all(stores) and not stores[0] & stores[1]


def test_statistics() -> None:
    assert spread([2.0]) == Spread(2.0, 2.0, 2.0)
    assert Spread(2.0, 1.0, 4.0).per(8) == Spread(4.0, 2.0, 8.0)
    assert ratio([1.0, 30.0, 2.0], [1.0, 10.0, 1.0]) == Spread(2.0, 1.5, 2.5)
    assert break_even(6.0, 0.5, 0.2) == pytest.approx(20)
    assert break_even(6.0, 0.2, 0.2) == math.inf
    timed = timing.Timed(LOOPS["plain"], worker=None, first_seconds=10.0)  # type: ignore[arg-type]
    assert timed.compile_seconds(1.0) == 10.0 - timing.WARM_UP
    assert timed.compile_seconds(100.0) == 0.0


@every_case
def test_cases_are_the_same_at_every_call(case: str) -> None:
    first, second = (SMALL[case].vae().state_dict() for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.values(), second.values(), strict=True))
    images = SMALL[case].images(300)
    assert images.shape == (300, *SMALL[case].image_shape) and images.dtype == np.uint8
    assert (images == SMALL[case].images(300)).all()
    if SMALL[case].binary:
        assert set(np.unique(images)) == {0, 255}


def test_images_from_disk_are_those_of_the_case() -> None:
    with mapped_images(SMALL["mlp"], 1100) as images:
        assert isinstance(images, np.memmap) and (images[:1024] == SMALL["mlp"].images(1024)).all()
        assert (images[1024:] == images[:76]).all()
        data = data_of(images)
        assert len(data.split("val")) == 8
        assert np.shares_memory(data.split("train").images, images)
    batches = Given(lambda epoch: iter([(epoch, i) for i in range(9)]), 2, 8)  # type: ignore[arg-type,misc]
    assert list(batches.labelled(5)) == [(5, 0), (5, 1)] and len(batches) == 2


def test_both_ways_of_feeding_are_timed() -> None:
    fed, repeated = feed(setting("mlp"), False, rounds=2, steps=3)
    assert len(fed) == len(repeated) == 2 and min(fed + repeated) > 0


def test_photographs_are_prepared_and_decoded() -> None:
    count, prepared, decoded = prepare(3, 2, rounds=2)
    assert count == 6 and len(prepared) == len(decoded) == 2
    with photographs(2, 3) as folder:
        files = sorted(folder.iterdir())
        with Image.open(files[0]) as image:
            assert len(files) == 6 and image.size == (178, 218) and image.format == "JPEG"


def test_a_break_even_that_never_comes_is_an_empty_cell(tmp_path: Path) -> None:
    rows = figures.Figures()
    rows.add("steps", "conv", "pyrovae", "break-even", math.inf, "steps")
    rows.add("steps", "conv", "pyrovae", "compile", 20.0, "s")
    rows.add("steps", "conv", "pyrovae", "step", 2.0, "ms")
    rows.add("steps", "conv", "pyrovae_eager", "step", 1.0, "ms")
    rows.add("steps", "conv", "pyrovae", "speed", Spread(2, 1, 3), "images/s")
    rows.write(tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[1] == "steps,conv,pyrovae,break-even,,,,steps"
    assert lines[-1] == "steps,conv,pyrovae,speed,2,1,3,images/s"
    chart.draw(rows, "nothing compiled", tmp_path / "a.png", torch.device("cpu"))
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.size[0] > 1000


@pytest.mark.skipif(status_bytes("VmRSS") is None, reason="the system does not tell memory")
def test_memory_is_that_of_the_loop_alone() -> None:
    # Inherited from this process, the peak would be hundreds of megabytes more.
    small = memory.peak_bytes("plain", setting("mlp"))
    assert 2**20 < small < 2**28


def stop_of(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> object:
    """Runs the script in this process, as starting one would take long; returns how it stops."""
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPTS / "benchmark.py"), run_name="__main__")
    return stopped.value.code


@pytest.mark.usefixtures("forked_workers")
def test_the_script_prints_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = ["--quick", "--rounds=1", "--batch_size=4", "--compile=off", "--cases", "mlp"]
    assert not stop_of([*tiny, f"--out={tmp_path}/found"], monkeypatch)
    printed = capsys.readouterr().out
    for wanted in ("torch", "steps, mlp", "stock Pyro", "best hand-written", "input, mlp"):
        assert wanted in printed
    if importlib.util.find_spec("pythae") is None:
        assert "not run: pythae is not installed" in printed
    with open(tmp_path / "found" / "benchmark.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == "section case loop quantity value low high unit".split()
    assert {"pyro", "plain", "hand_best"} <= {row["loop"] for row in rows}
    assert all(float(row["low"]) <= float(row["high"]) for row in rows)
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == [
        "benchmark.csv",
        "benchmark.png",
    ]


@pytest.mark.usefixtures("forked_workers")
def test_a_case_that_fails_leaves_the_other_cases_of_a_section_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "feed", feed_mlp_only)
    monkeypatch.setattr(suite, "seconds_an_image", train_on_few_images)
    found = figures.Figures()
    engine = suite.Engine("cpu", "fp32", "off")
    plan = suite.Plan(engine, ("conv", "mlp"), tuple(LOOPS), rounds=1, compiled=False)
    suite.run(plan, ["input", "scaling"], found)
    printed = capsys.readouterr().out
    assert "input, conv: not run: its process ended with SIGKILL\n" in printed
    assert set(found.find("input", "mlp", "speed")) == {"memory map", "one batch"}
    assert printed.count("not run: RuntimeError: no memory\n") == 2
    assert len(found.find("scaling", "conv", "speed")) == 7


def test_what_was_measured_is_written_though_a_later_section_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(plan: suite.Plan, found: figures.Figures, workers: Workers) -> None:
        found.add("steps", "mlp", "plain", "speed", 2.0, "images/s")

    def stop(plan: suite.Plan, found: figures.Figures, workers: Workers) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(suite, "SECTIONS", {"steps": measure, "input": stop})
    assert stop_of([f"--out={tmp_path}", "--device=cpu"], monkeypatch) == 130
    assert (tmp_path / "benchmark.csv").read_text().endswith("plain,speed,2,2,2,images/s\n")


def test_a_gpu_is_named_and_what_it_records(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda:1")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Card of {device}")
    assert figures.header(gpu, "bf16").startswith("cuda (Card of cuda:1), torch ")
    assert LOOPS["hand_eager"].title_on(gpu) == "hand-written, not compiled, recorded"
    assert LOOPS["hand_eager"].title_on(cpu) == "hand-written, not compiled"
    assert LOOPS["plain"].title_on(gpu) == LOOPS["plain"].title_on(cpu)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--sections", "speed"], "--sections: allowed are steps, input, data, scaling, memory"),
        (["--cases", "mlp", "big"], "--cases: allowed are conv, mlp, got big"),
        (["--loops", "fastest"], "--loops: allowed are pyrovae"),
        (["--rounds", "-1"], "--rounds: must be at least 0, got -1"),
        (["--batch_size", "x"], "--batch_size"),
        (["--compile", "maybe"], "--compile"),
        (["--device", "abacus"], "no device 'abacus' here"),
        (["--quik"], "did you mean --quick?"),
    ],
)
def test_bad_options_are_one_line(
    arguments: list[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert stop_of(arguments, monkeypatch) == 2
    told = capsys.readouterr().err
    assert expected in told and told.count("\n") == 1
