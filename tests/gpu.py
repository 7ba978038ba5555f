"""All checks that need a GPU, in one table: `python tests/gpu.py [CHECK ...] [--out DIR]`.

Each check runs in a process of its own with a limit, so that none takes the others with it. What
it prints goes into a file under `--out`; the table names the card, the figures and the goals.
With `--device cpu` the checks themselves are tried without a GPU.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


class Figures(dict[str, "float | str"]):
    """What a check found; each figure is in a file at once, whatever ends the check."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __setitem__(self, name: str, value: float | str) -> None:
        super().__setitem__(name, value)
        self.file.write_text(json.dumps(self))


#: What is measured, in which seconds at most.
LIMITS = {
    "tests": 900,
    "speed": 500,
    "epoch": 200,
    "iwae": 200,
    "default": 200,
    "inspect": 500,
    "kernels": 200,
    "variants": 500,
    "processes": 200,
}
GOALS = {
    "tests failed": "0",
    "conv: of the best by hand": ">= 1.00",
    "mlp: of the best by hand": ">= 1.10",
    "CelebA-sized epoch, s": "<= 1.0",
    "IWAE recipe, us per step": "<= 110",
    "default run, s": "<= 20",
    "inspect --quick, s": "<= 30",
    "inspect, s": "<= 120",
}


def tests(device: str, out: Path, found: Figures) -> None:
    """The tests of `test_gpu.py`."""
    report = out / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "tests/test_gpu.py", f"--junitxml={report}"]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"PYROVAE_GPU_DEVICE": device})
    import xml.etree.ElementTree as tree

    (suite,) = tree.parse(report).getroot().iter("testsuite")
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    skipped = int(suite.get("skipped", 0))
    passed = int(suite.get("tests", 0)) - failed - skipped
    found["tests passed"], found["tests skipped"], found["tests failed"] = passed, skipped, failed


def speed(device: str, out: Path, found: Figures) -> None:
    """The steps of the benchmark."""
    folder = out / "benchmark"
    _script(
        "benchmark", "--sections=steps", "--rounds=15", f"--device={device}", f"--out={folder}"
    )
    with open(folder / "benchmark.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["quantity"] == "time over pyrovae's" and row["loop"] == "hand_best":
                found[f"{row['case']}: of the best by hand"] = float(row["value"])
            if row["quantity"] in ("speed", "compile", "break-even"):
                name = f"{row['case']}: {row['name']}, {row['quantity']}, {row['unit']}"
                found[name] = float(row["value"])


def epoch(device: str, out: Path, found: Figures) -> None:
    """Epochs of as many images as CelebA trains on, batch 256."""
    import numpy as np
    import torch
    from benchmarking.cases import CASES, data_of

    from pyrovae import Engine, Recipe, Trainer

    count = 162_770 if device != "cpu" else 2_048
    data = data_of(CASES["conv"].images(count), flip=True)
    recipe = Recipe(partial(torch.optim.Adam, lr=1e-4))
    for compile in ("off", "on") if device != "cpu" else ("off",):
        run, engine = out / f"epoch_{compile}", Engine(device, compile=compile)  # type: ignore[arg-type]
        Trainer(epochs=4, batch_size=256).fit(
            CASES["conv"].vae(), data, recipe, engine, run=run, progress=True
        )
        with open(run / "metrics.csv", newline="") as file:
            rates = [float(row["images_per_second"]) for row in csv.DictReader(file)]
        words = "CelebA-sized epoch" + ", not compiled" * (compile == "off")
        found[f"{words}, s"] = count / float(np.median(rates[1:]))
    if device.startswith("cuda"):
        found["peak memory of an epoch, GB"] = torch.cuda.max_memory_allocated() / 1e9


def iwae(device: str, out: Path, found: Figures) -> None:
    """The recipe of the IWAE paper: small steps, which wait for the host."""
    import torch
    from benchmarking.cases import CASES, data_of

    from pyrovae import (
        VAE,
        Bernoulli,
        DiagonalNormal,
        DynamicBinarization,
        Engine,
        MLPDecoder,
        MLPEncoder,
        Recipe,
        StandardNormal,
        Trainer,
    )

    data = data_of(CASES["mlp"].images(50_000 if device != "cpu" else 2_000))
    for compile in ("off", "on") if device != "cpu" else ("off",):
        vae = VAE(
            encoder=MLPEncoder((1, 28, 28), 100, hidden=(200, 200)),
            decoder=MLPDecoder((1, 28, 28), 50, 1, hidden=(200, 200)),
            prior=StandardNormal(50),
            likelihood=Bernoulli(binarization=DynamicBinarization()),
            posterior=DiagonalNormal(50),
        )
        run, engine = out / f"iwae_{compile}", Engine(device, "fp32", compile)  # type: ignore[arg-type]
        recipe = Recipe(partial(torch.optim.Adam, lr=1e-3))
        Trainer(epochs=4, batch_size=20).fit(vae, data, recipe, engine, run=run, progress=True)
        with open(run / "metrics.csv", newline="") as file:
            rates = [float(row["images_per_second"]) for row in csv.DictReader(file)]
        words = "IWAE recipe" + ", not compiled" * (compile == "off")
        found[f"{words}, us per step"] = 20e6 / sorted(rates)[-2]


def default(device: str, out: Path, found: Figures) -> None:
    """The run that `train.py` does without options."""
    started = time.monotonic()
    _script("train", f"--engine.device={device}", f"--run_dir={out / 'default'}")
    found["default run, s"] = time.monotonic() - started


def inspect(device: str, out: Path, found: Figures) -> None:
    """The report on the default run, on the device and on the CPU."""
    if not (run := out / "default").exists():
        default(device, out, found)
    for where in dict.fromkeys(["auto" if device != "cpu" else "cpu", device, "cpu"]):
        for options in (["--quick"], []):
            words = " ".join(["inspect", *options]) + f", {where}" * (where != "auto")
            started = time.monotonic()
            _script("inspect_posterior", str(run), f"--device={where}", *options)
            found[f"{words}, s"] = time.monotonic() - started


def kernels(device: str, out: Path, found: Figures) -> None:
    """The device's time and launches of a step, ours and the one by hand."""
    import torch
    from benchmarking.cases import CASES
    from benchmarking.loops import LOOPS, Loop, Setting
    from torch.profiler import ProfilerActivity, profile

    kind = ProfilerActivity.CUDA if device != "cpu" else ProfilerActivity.CPU
    for case in CASES:
        for name in ("pyrovae", "pyrovae_eager", "hand_whole"):
            loop = Loop(LOOPS[name], Setting(CASES[case], torch.device(device), "bf16"))
            with loop.active():
                for _ in range(60 if device != "cpu" else 5):
                    loop.step()
                with profile(activities=[kind]) as seen:
                    for _ in range(20):
                        loop.step()
                    if device != "cpu":
                        torch.cuda.synchronize()
            events = sorted(seen.key_averages(), key=lambda e: -e.self_device_time_total)
            total = sum(event.self_device_time_total for event in events) / 20
            found[f"{case}: {name}, us of the device per step"] = total
            found[f"{case}: {name}, launches per step"] = sum(e.count for e in events) / 20
            for event in events[:25]:
                print(
                    f"{case} {name} {event.self_device_time_total / 20:9.2f} us {event.key[:90]}"
                )
            loop.close()


def variants(device: str, out: Path, found: Figures) -> None:
    """The compiled step under other options of the compiler, and of cuDNN."""
    import torch
    from benchmarking.cases import CASES
    from benchmarking.loops import LOOPS, Loop, Setting
    from benchmarking.timing import synchronize

    from pyrovae.training import compiling

    settings: dict[str, tuple[dict[str, Any], bool]] = {
        "as it is": ({}, False),
        "combo_kernels": ({"combo_kernels": True}, False),
        "max_autotune": ({"max_autotune": True}, False),
        "coordinate_descent": ({"coordinate_descent_tuning": True}, False),
        "cudnn.benchmark": ({}, True),
    }
    for case in CASES:
        for name, (options, tuned) in settings.items():
            torch.backends.cudnn.benchmark = tuned
            compiling.OPTIONS.update(options)
            loop = Loop(LOOPS["pyrovae"], Setting(CASES[case], torch.device(device), "bf16"))
            with loop.active():
                for _ in range(50 if device != "cpu" else 5):
                    loop.step()
                synchronize(torch.device(device))
                started, count = time.perf_counter(), 500 if device != "cpu" else 5
                for _ in range(count):
                    loop.step()
                synchronize(torch.device(device))
                found[f"{case}: {name}, us per step"] = (
                    1e6 * (time.perf_counter() - started) / count
                )
            loop.close()
            for key in options:
                del compiling.OPTIONS[key]


def processes(device: str, out: Path, found: Figures) -> None:
    """Two processes with NCCL where two GPUs are at hand, else with gloo on the CPU."""
    import torch

    count = torch.cuda.device_count() if device != "cpu" else 0
    where = device if count > 1 else "cpu"
    run = out / "processes"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--"]
    options = [f"--engine.device={where}", f"--run_dir={run}", "--trainer.epochs=2"]
    small = ["--data.num_train=1024", "--data.num_val=64", "--data.num_test=64"]
    done = subprocess.run(
        [*command, str(ROOT / "scripts" / "train.py"), *options, *small],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    print(done.stdout, done.stderr)
    recorded = "recorded" in done.stdout and "one by one" not in done.stdout
    words = f"two processes on {where}"
    found[words], found[f"{words}, recorded"] = f"exit code {done.returncode}", str(recorded)


CHECKS: dict[str, Callable[[str, Path, Figures], None]] = {
    check.__name__: check
    for check in (tests, speed, epoch, iwae, default, inspect, kernels, variants, processes)
}


def _script(name: str, *arguments: str) -> None:
    command = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *arguments]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    subprocess.run(command, check=True, env=environment)


def card(device: str) -> str:
    """The name of the device."""
    import torch

    return torch.cuda.get_device_name() if device.startswith("cuda") else f"no GPU, {device}"


def run_check(name: str, device: str, out: Path) -> tuple[dict[str, float | str], str]:
    """The figures of a check, and what went wrong."""
    result = out / f"{name}.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, __file__, name, "--device", device, "--out", str(out), "--alone"]
    wrong = ""
    with open(out / f"{name}.log", "w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(LIMITS[name])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            code, wrong = 0, f"ended after {LIMITS[name]} s"
    if code:
        lines = (out / f"{name}.log").read_text().strip().splitlines()
        wrong = f"exit code {code}: {lines[-1] if lines else 'no output'}"
    return json.loads(result.read_text()) if result.exists() else {}, wrong


def table(rows: list[tuple[str, str, str]], title: str) -> str:
    """Rows as a table of Markdown."""
    lines = [f"## {title}", "", "| figure | found | goal |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def main() -> None:
    """Runs the checks and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the checks")
    parser.add_argument("--out", type=Path, help="where files go (default: a temporary folder)")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if wrong := set(options.checks) - set(CHECKS):
        parser.error(f"unknown: {', '.join(sorted(wrong))}; known are {', '.join(CHECKS)}")
    out = options.out or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    if options.alone:
        (name,) = options.checks
        CHECKS[name](options.device, out, Figures(out / f"{name}.json"))
        return
    rows: list[tuple[str, str, str]] = []
    for name in options.checks or CHECKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        figures, wrong_with = run_check(name, options.device, out)
        for figure, value in figures.items():
            shown = value if isinstance(value, str) else f"{value:,.4g}"
            rows.append((figure, shown, GOALS.get(figure, "")))
        if wrong_with:
            rows.append((name, f"FAILED: {wrong_with}", ""))
    text = table(rows, card(options.device))
    (out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
