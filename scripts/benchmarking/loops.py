"""The training loops that a benchmark compares; each is a function that takes one step."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyro
import torch
from torch import nn

from benchmarking.cases import Case, data_of
from benchmarking.handwritten import captured_step, lean_step, plain_step
from benchmarking.reasons import NotRun, explain
from pyrovae.data import ImageData
from pyrovae.data.feed import Feed, HostFeed
from pyrovae.engine import Engine
from pyrovae.training.callbacks import Callback, Callbacks
from pyrovae.training.recipe import Recipe
from pyrovae.training.session import Session
from pyrovae.training.trainer import Trainer
from pyrovae.utils.process_group import Group

__all__ = [
    "LOOPS",
    "REFERENCE",
    "Loop",
    "LoopKind",
    "Setting",
    "current",
    "opened_session",
]

#: Small, so that no loop diverges on one batch that is repeated without end.
LEARNING_RATE = 1e-4
REFERENCE = "pyrovae"

Step = Callable[[], Any]


def current(device: torch.device) -> AbstractContextManager[Any]:
    """Makes a GPU the current one in the context: streams and graphs use the current GPU."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@dataclass(frozen=True)
class Setting:
    """Case, device and precision of a run.

    Attributes:
        case: networks and batch.
        device: the device that computes.
        precision: precision of the networks, in loops that choose it by the hardware.
    """

    case: Case
    device: torch.device
    precision: str

    def engine(self, compiled: bool) -> Engine:
        """The engine of pyrovae for this device."""
        return Engine(str(self.device), compile="on" if compiled else "off")


class Silent(Callback):
    """Shows nothing; raises an error if a step cannot be compiled or recorded."""

    def message(self, text: str) -> None:
        """Raises `NotRun` if the session would fall back to a slower step."""
        if text.startswith(("cannot be compiled", "not recorded")):
            raise NotRun(text)


class SameBatch(Feed):
    """A feed that repeats one batch at fixed addresses.

    Args:
        images: uint8 `(B, C, H, W)` on the device, in the engine's memory format.
    """

    images: torch.Tensor
    attributes: torch.Tensor

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("images", images)
        self.register_buffer("attributes", torch.empty(len(images), 0, device=images.device))

    def begin(self, epoch: int, start: int = 0) -> None:
        """Does nothing."""

    def stage(self) -> None:
        """Does nothing."""

    def forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch."""
        return self.images, self.attributes

    def last(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch."""
        return self()

    def keep_addresses(self) -> None:
        """Does nothing."""


@contextmanager
def opened_session(
    setting: Setting, data: ImageData, compiled: bool, same: bool = False
) -> Iterator[Session]:
    """A training session at its first step, as `Trainer.fit` sets it up.

    Args:
        setting: case, device and precision.
        data: the images.
        compiled: whether the step is compiled.
        same: whether every step uses the single batch of the case.
    """
    vae, engine, silent = setting.case.vae(), setting.engine(compiled), Callbacks([Silent()])
    recipe = Recipe(optimizer=partial(torch.optim.Adam, lr=LEARNING_RATE))
    trainer = Trainer(epochs=1_000_000, batch_size=setting.case.batch_size)
    with engine.running(vae, vae.networks()):
        session = Session(trainer, vae, data, recipe, engine, None, silent, Group())
        # Batches come through the host, so that a section can replace them.
        session.feed = HostFeed(session.batches, engine.place)
        if same:
            session.feed = SameBatch(engine.place(setting.case.batch(setting.device)))
        session.begin(resume=False)
        silent.begin_epoch(1, 1, 0)
        vae.train()
        try:
            yield session
        finally:
            silent.end("finished")


@contextmanager
def session_loop(setting: Setting, compiled: bool) -> Iterator[Step]:
    """The step of pyrovae in a full training session."""
    data = data_of(setting.case.images(setting.case.batch_size))
    with opened_session(setting, data, compiled, same=True) as session:

        def step() -> float:
            session.state.begin_epoch()
            session.step()
            return session.state.loss

        yield step


@contextmanager
def stock_pyro(setting: Setting) -> Iterator[Step]:
    """Pyro's SVI with Pyro's Adam, with validation off, which is faster."""
    vae = setting.case.vae().to(setting.device).train()
    images = setting.case.batch(setting.device)
    optimizer = pyro.optim.Adam({"lr": LEARNING_RATE})
    svi = pyro.infer.SVI(vae.model, vae.guide, optimizer, pyro.infer.Trace_ELBO())
    yield lambda: svi.step(vae.scored(images)) / len(images)


@contextmanager
def plain_eager(setting: Setting) -> Iterator[Step]:
    """The same VAE in plain PyTorch, without optimisation for speed."""
    vae = setting.case.vae().to(setting.device)
    images = setting.case.batch(setting.device)
    yield plain_step(setting.case.by_hand(vae).train(), images, LEARNING_RATE)


@contextmanager
def by_hand(
    setting: Setting, compile_module: Callable[[Any], Any], precision: str | None = None
) -> Iterator[Step]:
    """The same VAE in an optimised hand-written loop.

    Args:
        setting: case, device and precision.
        compile_module: returns the function that computes the loss of a module.
        precision: precision of the networks; by default that of `setting`.
    """
    bf16 = (precision or setting.precision) == "bf16"
    vae = setting.case.vae().to(setting.device).to(memory_format=torch.channels_last)
    module = setting.case.by_hand(vae, bf16).train()
    images = setting.case.batch(setting.device)
    images = images.contiguous(memory_format=torch.channels_last)
    compute = compile_module(module)
    make = captured_step if setting.device.type == "cuda" else lean_step
    yield make(compute, module, images, LEARNING_RATE)


def whole(module: nn.Module) -> Any:
    """Compiles the whole loss."""
    return torch.compile(module)


def networks(module: Any) -> Any:
    """Compiles the two networks of the loss."""
    module.encoder.compile()
    module.decoder.compile()
    return module


def nothing(module: nn.Module) -> nn.Module:
    """Returns the loss without compilation."""
    return module


@contextmanager
def pythae_loop(setting: Setting) -> Iterator[Step]:
    """Pythae's VAE and trainer."""
    if importlib.util.find_spec("pythae") is None:
        raise NotRun("pythae is not installed; pip install 'pyrovae[bench]'")
    from benchmarking.pythae import trainer_step

    with trainer_step(setting.case, setting.device, LEARNING_RATE) as step:
        yield step


@dataclass(frozen=True)
class LoopKind:
    """A kind of training loop.

    Attributes:
        title: the name in tables and the chart.
        open: a context manager that yields the step.
        compiled: whether the loop uses a compiler.
        hand: whether it is a candidate for the best hand-written loop.
        bf16_only: whether to run it only if the other loops run in bf16.
        records: whether a step on a GPU is a recorded CUDA graph; the title then says so.
    """

    title: str
    open: Callable[[Setting], AbstractContextManager[Step]]
    compiled: bool = False
    hand: bool = False
    bf16_only: bool = False
    records: bool = False

    def title_on(self, device: torch.device) -> str:
        """The title on a device: CUDA graphs are recorded on a GPU only."""
        return self.title + ", recorded" * (self.records and device.type == "cuda")


def _by_hand(
    title: str, compiled: bool = False, bf16_only: bool = False, **options: Any
) -> LoopKind:
    """A hand-written loop; `options` are those of `by_hand`."""
    return LoopKind(title, partial(by_hand, **options), compiled, True, bf16_only, records=True)


LOOPS = {
    REFERENCE: LoopKind("pyrovae", partial(session_loop, compiled=True), compiled=True),
    "pyrovae_eager": LoopKind("pyrovae, not compiled", partial(session_loop, compiled=False)),
    "hand_whole": _by_hand("hand-written, compiled", True, compile_module=whole),
    "hand_whole_fp32": _by_hand(
        "hand-written, compiled, fp32", True, True, compile_module=whole, precision="fp32"
    ),
    "hand_networks": _by_hand("hand-written, networks compiled", True, compile_module=networks),
    "hand_eager": _by_hand("hand-written, not compiled", compile_module=nothing),
    "pyro": LoopKind("stock Pyro", stock_pyro),
    "plain": LoopKind("plain PyTorch", plain_eager),
    "pythae": LoopKind("pythae", pythae_loop),
}


class Loop:
    """A loop that is ready to step, with its own parameter store.

    Args:
        kind: the kind of loop.
        setting: case, device and precision.

    Raises:
        NotRun: if the loop cannot be built.
    """

    def __init__(self, kind: LoopKind, setting: Setting) -> None:
        self.kind, self.device = kind, setting.device
        self._stack = ExitStack()
        self._store: Any = {"params": {}, "constraints": {}}
        with self.active(), self._explained():
            self.step = self._stack.enter_context(kind.open(setting))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Makes Pyro's global store hold the parameters of this loop only."""
        with (
            pyro.get_param_store().scope(self._store),
            pyro.validation_enabled(False),
            current(self.device),
        ):
            yield

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Closes the loop after an error, and raises the error as `NotRun`."""
        try:
            yield
        except Exception as error:  # Compilers and other people's code fail in many ways.
            self.close()
            raise explain(error) from error

    def first(self) -> None:
        """Takes a step that may fail: the first steps compile and record.

        Raises:
            NotRun: if the step fails.
        """
        with self.active(), self._explained():
            self.step()

    def close(self) -> None:
        """Releases the resources of the loop."""
        self._stack.close()
