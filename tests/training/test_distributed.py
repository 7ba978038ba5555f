"""Several processes train as one process with all their batches does."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyro import infer
from torch import Tensor
from torch.distributed import run as torchrun

from pyrovae import (
    GECO,
    VAE,
    DiagonalNormal,
    Engine,
    InputError,
    MLPDecoder,
    MLPEncoder,
    Recipe,
    SharedScaleNormal,
    StandardNormal,
    Trainer,
)
from pyrovae.data import Batches
from pyrovae.runs.state import TrainingState
from pyrovae.training import compiling
from pyrovae.utils.process_group import Group, processes
from tests.support.commands import FORKING_TORCHRUN, SCRIPTS, TINY
from tests.support.connected import connected, place_noise, same
from tests.support.processes import run_script
from tests.support.small import VARYING, rows, small_data
from tests.support.steps import at_step

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pages")]

SHAPE = (3, 16, 16)
OBJECTIVES: dict[str, Callable[[], infer.ELBO]] = {
    "Trace_ELBO": infer.Trace_ELBO,
    "TraceMeanField_ELBO": infer.TraceMeanField_ELBO,
    "GECO": partial(GECO, -0.5),
}


def dense_vae(seed: int = 0) -> VAE:
    """Networks without batch norm, whose gradients are means over images."""
    torch.manual_seed(seed)
    return VAE(
        encoder=MLPEncoder(SHAPE, num_outputs=8, hidden=[32]),
        decoder=MLPDecoder(SHAPE, latent_dim=4, num_maps=3, hidden=[32]),
        prior=StandardNormal(4),
        likelihood=SharedScaleNormal(),
        posterior=DiagonalNormal(4),
    )


def fitted(
    trainer: Trainer, run: Any = None, resume: bool = False, recipe: Recipe | None = None
) -> tuple[dict[str, np.ndarray], TrainingState]:
    """Weights and state after a run in this group of processes, which start from other weights."""
    vae, data = dense_vae(processes().rank), small_data()
    data.flip = True
    recipe = recipe or Recipe(optimizer=partial(torch.optim.Adam, lr=1e-3))
    state = trainer.fit(vae, data, recipe, Engine("cpu", "fp32"), run=run, resume=resume).state
    return {name: value.numpy() for name, value in vae.state_dict().items()}, state


def exact_run(batch_size: int, objective: str, run: Path) -> dict[str, np.ndarray]:
    torch.set_default_dtype(torch.float64)
    place_noise()
    recipe = Recipe(partial(torch.optim.AdamW, lr=1e-3), objective=OBJECTIVES[objective]())
    trainer = Trainer(epochs=2, batch_size=batch_size, clip_norm=100.0)
    return fitted(trainer, run / str(batch_size), recipe=recipe)[0]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_two_processes_are_one_with_twice_the_batch(objective: str, tmp_path: Path) -> None:
    (whole,) = connected(1, exact_run, 16, objective, tmp_path)
    first, second = connected(2, exact_run, 8, objective, tmp_path)
    assert same(first, second) and same(whole, first, rtol=1e-11)
    assert not same(whole, {n: v.numpy() for n, v in dense_vae().state_dict().items()}, 1e-4)
    for one, two in zip(rows(tmp_path / "16"), rows(tmp_path / "8"), strict=True):
        for name in set(one) - VARYING:
            assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-11), name


def seed_and_draws() -> tuple[int, list[float]]:
    fitted(Trainer(epochs=1, batch_size=8))
    return torch.initial_seed(), torch.rand(4).tolist()


def test_processes_draw_noise_of_their_own() -> None:
    (alone,), (first, second) = connected(1, seed_and_draws), connected(2, seed_and_draws)
    assert alone[0] == first[0] != second[0]
    assert not set(first[1]) & set(second[1])


def run_of_its_own(root: Path) -> None:
    fitted(Trainer(epochs=1, batch_size=8), root / str(processes().rank))


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    assert connected(2, run_of_its_own, tmp_path) == [None, None]
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    assert len(list((tmp_path / "0" / "tensorboard").iterdir())) == 1


def cut_run(run: Path, step: int, rank: int) -> Any:
    """A run that one process is told to stop in the middle of a step."""
    with pytest.MonkeyPatch.context() as patch:
        if processes().rank == rank:
            at_step(step, lambda: os.kill(os.getpid(), signal.SIGTERM), patch)
        return fitted(Trainer(epochs=2, batch_size=8), run)


def rest_of_run(run: Path) -> tuple[dict[str, np.ndarray], TrainingState, list[int]]:
    """What is left of a run, with the numbers of the images that this process trains on."""
    original, seen = Batches._gathered, []

    def gathered(self: Batches, parts: list[Tensor]) -> Iterator[Tensor]:
        seen.extend(int(row) for rows in parts for row in rows if self.shuffle)
        return original(self, parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batches, "_gathered", gathered)
        return *fitted(Trainer(epochs=2, batch_size=8), run, resume=True), seen


@pytest.fixture(scope="module")
def whole() -> dict[str, np.ndarray]:
    """The weights after a run of two processes that nothing stops."""
    return connected(2, fitted, Trainer(epochs=2, batch_size=8))[0][0]


@pytest.mark.parametrize(("rank", "step"), [(0, 3), (1, 7)])
def test_a_signal_to_one_stops_all_and_the_run_goes_on_exactly(
    rank: int, step: int, whole: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for kind, text in connected(2, cut_run, tmp_path / "cut", step, rank):
        assert kind == "Interrupted"
        assert f"stopped by SIGTERM after step {step} " in text
    (first, state, _), (second, other, _) = connected(2, rest_of_run, tmp_path / "cut")
    assert same(first, second) and same(whole, first)
    assert replace(state, seconds=0) == replace(other, seconds=0) and state.step == 10


@pytest.mark.parametrize(("before", "after", "steps"), [(2, 1, 10 + 10), (1, 2, 5 + 5)])
def test_a_run_goes_on_in_another_number_of_processes(
    before: int, after: int, steps: int, tmp_path: Path
) -> None:
    stopped = connected(before, cut_run, tmp_path, 3, 0)
    assert [kind for kind, _ in stopped] == ["Interrupted"] * before
    found = connected(after, rest_of_run, tmp_path)
    plan = Batches(small_data().split("train"), 8, seed=Trainer().seed).plan(0)[0].tolist()
    # Three steps were taken; where they are no whole number of larger ones, what is left of
    # the last waits, as what is left of an epoch does.
    done = -(-3 * 8 * before // (8 * after)) * 8 * after
    firsts = [row for *_, seen in found for row in seen[: (80 - done) // after]]
    assert sorted(firsts) == sorted(plan[done:])
    for weights, state, _ in found:
        assert same(weights, found[0][0])
        assert (state.epoch, state.batch, state.images_per_step) == (2, 0, 8 * after)
        assert state.step == steps
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2"]


@pytest.mark.parametrize(
    ("size", "batch", "expected"), [(8, 3, 3), (16, 3, 2), (4, 3, 6), (64, 9, 1), (24, 3, 1)]
)
def test_steps_of_another_size_pass_over_no_more_than_one(
    size: int, batch: int, expected: int
) -> None:
    state = TrainingState(80, "", 8, epoch=1, batch=batch, step=10 + batch)
    state.regroup(size, max(1, 80 // size))
    assert (state.batch, state.step, state.images_per_step) == (expected, 10 + expected, size)


def broken_run(error: Callable[[], Exception]) -> None:
    def fail() -> None:
        raise error()

    with pytest.MonkeyPatch.context() as patch:
        if processes().rank == 1:
            at_step(3, fail, patch)
        fitted(Trainer(epochs=2, batch_size=8))


@pytest.mark.parametrize("error", [partial(InputError, "no such image"), partial(OSError, "?")])
def test_when_a_process_fails_the_others_end(error: Callable[[], Exception]) -> None:
    first, second = connected(2, broken_run, error)
    assert first == ("PeerFailed", "another process failed, and this one cannot continue alone")
    assert second == (type(error()).__name__, str(error()))


def run_with_a_bad_batch() -> Any:
    vae, calls = dense_vae(), []

    def hook(module: Any, args: Any, output: Tensor) -> Tensor:
        calls.append(1)
        bad = processes().rank == 1 and len(calls) > 1
        return output * float("nan") if bad and torch.is_grad_enabled() else output

    vae.model.decoder.register_forward_hook(hook)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    try:
        trainer = Trainer(epochs=1, batch_size=8, max_skipped=3)
        trainer.fit(vae, small_data(), Recipe(), Engine("cpu", "fp32"))
    except Exception as error:
        unmoved = all(torch.equal(v, before[n]) for n, v in vae.state_dict().items())
        return type(error).__name__, str(error), unmoved


def test_a_step_that_is_not_finite_in_one_is_skipped_by_all() -> None:
    first, second = connected(2, run_with_a_bad_batch)
    assert first[0] == "Diverged" and first == second
    assert "3 consecutive steps" in first[1]


def traced_run(on: str) -> tuple[dict[str, np.ndarray], list[str]]:
    torch.set_default_dtype(torch.float64)
    graphs: list[Any] = []
    compiling._compiled = lambda graph, values: graphs.append(graph) or graph
    vae, trainer = dense_vae(), Trainer(epochs=1, batch_size=8, clip_norm=100.0)
    recipe = Recipe(objective=GECO(-0.5))
    trainer.fit(vae, small_data(), recipe, Engine("cpu", "fp32", on))  # type: ignore[arg-type]
    names = [str(node.target) for graph in graphs for node in graph.graph.nodes]
    return {name: value.numpy() for name, value in vae.state_dict().items()}, names


def test_compiled_steps_are_the_same_and_exchange_outside_the_graph() -> None:
    (eager, none), _ = connected(2, traced_run, "off")
    (first, names), (second, _) = connected(2, traced_run, "on")
    assert names and not none and not any("reduce_" in name or "c10d" in name for name in names)
    assert same(first, second) and same(eager, first, rtol=1e-11)


def test_readers_share_the_batches_of_one() -> None:
    images = np.arange(22, dtype=np.uint8).repeat(2).reshape(22, 1, 1, 2)
    images[..., 1] += 100
    whole = Batches(images, 6, seed=3, flip=True)
    parts = [Batches(images, 2, seed=3, flip=True, part=(i, 3)) for i in range(3)]
    assert len(whole) == len(parts[0]) == 3
    for batch, *slices in zip(whole.epoch(1, 1), *(p.epoch(1, 1) for p in parts), strict=True):
        assert torch.equal(batch, torch.cat(slices))
    with pytest.raises(
        InputError, match="22 training images are fewer than the 24 images per step: 8 in each"
    ):
        Batches(images, 8, seed=3, part=(2, 3))


def other_images() -> None:
    data = small_data(seed=processes().rank)
    Trainer(epochs=1, batch_size=8).fit(dense_vae(), data, engine=Engine("cpu"))


def test_processes_must_have_the_same_images() -> None:
    refused = ("InputError", "the processes have different training images")
    assert connected(2, other_images) == [refused, refused]


def test_a_process_alone_tells_nobody() -> None:
    group, tensors = Group(), [torch.ones(2), torch.zeros(())]
    assert group.main and group.average(tensors) is tensors and group.gather(3) == [3]
    assert group.largest(2) == 2 and group.from_main(lambda: 5) == 5
    assert group.about(8, ["BatchNorm1d"]) == [] and group.first_to_say("a")
    with group.first_on_machine():
        group.broadcast(tensors)
    group.check(torch.device("cuda:7"))
    group.leave()


@pytest.mark.parametrize("device", ["mps", "cuda"])
def test_a_device_that_is_not_there_for_each_is_refused(device: str) -> None:
    if device == "cuda" and torch.cuda.device_count() > 1:
        pytest.skip("there is a GPU for each")
    with pytest.raises(InputError, match="processes"):
        Group(0, 2).check(torch.device(device))
    Group(0, 2).check(torch.device("cpu"))


#: Trains as the script does, and lists the threads that its connection has left.
ENDINGS = """
import os, sys
from pyrovae.commands import train
from pyrovae.commands.running import run_command
from pyrovae.utils.process_group import processes

def command(arguments):
    train.main(arguments)
    processes().leave()
    names = [open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")]
    sys.stdout.write(f"left: {[name for name in names if 'gloo' in name]}\\n")

run_command(command)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a run of two processes, each a new interpreter, and what they printed."""
    folder = tmp_path_factory.mktemp("torchrun")
    (script := tmp_path_factory.mktemp("script") / "endings.py").write_text(ENDINGS)
    arguments = ["--standalone", "--nproc-per-node=2", str(script), *TINY, "--run_dir=run"]
    # `torchrun` itself need not wait for imports; what it starts does.
    done = run_script(Path(torchrun.__file__), *arguments, "--loggers=[]", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="lists its threads in /proc")
def test_no_thread_of_a_connection_outlives_it(finished: tuple[Path, str]) -> None:
    """One that does can end the process by SIGABRT while the interpreter closes."""
    assert finished[1].count("left: []") == 2, finished[1]


def test_the_script_runs_in_processes_that_torchrun_starts(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    for line in (
        "12,644 parameters",
        "2 processes, 32 images per step",
        "epoch 1/1",
        "test, 16 images",
    ):
        assert printed.count(line) == 1, printed
    assert "computed per process, over its own 16 images: BatchNorm2d" in printed
    assert [path.name for path in folder.iterdir()] == ["run"]
    arguments = ["--standalone", "--nproc-per-node=2", str(SCRIPTS / "train.py"), "--resume=run"]
    refused = run_script(FORKING_TORCHRUN, *arguments, "--trainer.seed=2", folder=folder)
    assert refused.returncode != 0 and "pyrovae/" not in refused.stderr
    assert re.findall(r"exitcode +: (-?\d+)", refused.stderr)[-1] == "2", refused.stderr
    assert refused.stderr.count("error: --trainer.seed: a resumed run keeps its options") == 1


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"WORLD_SIZE": "two"}, "must be numbers"),
        ({"WORLD_SIZE": "2"}, "cannot connect 2 processes, which torchrun starts together"),
    ],
)
def test_places_that_torchrun_did_not_give_are_one_line(
    places: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    processes.cache_clear()
    with pytest.raises(InputError, match=message) as caught:
        processes()
    assert "\n" not in str(caught.value)
