"""Where a program runs, and in which precision its networks compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from pyrovae.data import Batches, to_device
from pyrovae.data.feed import DeviceFeed, Feed, HostFeed
from pyrovae.utils.arguments import Recorded
from pyrovae.utils.errors import InputError

__all__ = ["Engine"]


class Engine(Recorded):
    """Where a program runs, and in which precision its networks compute.

    Args:
        device: "auto" (cuda, else mps, else cpu), or a device's name such as "cuda:1".
        precision: "fp32", "tf32" (on a GPU, fp32 products of matrices and convolutions round
            their factors to 10 bits), "bf16" (networks under autocast; log densities, gradients
            and the optimiser stay in fp32), or "auto": bf16 where the hardware multiplies it.
        compile: whether a step is traced to one graph and compiled: "on", "off", or "auto":
            where a run earns back the time that compiling takes. On a CPU, that is a run of at
            least `Engine.BREAK_EVEN_STEPS` steps. On a GPU, a run goes over to compiled steps
            where more than `Engine.BREAK_EVEN_SECONDS` of steps are left.
        resident_gb: on a GPU, up to how many GB of training images are copied to it once; larger
            splits are read from the cache batch by batch. 0 always reads; -1 takes half of the
            memory that is free.
        record: whether a GPU records a step once, as a CUDA graph, and replays it. Turn it off
            for programs that keep something in Python from one step to the next.

    Raises:
        InputError: if the device is not there, or does not have the precision.
        ValueError: if precision or compile has another name.
    """

    #: On two CPU cores, compiling was earned back after 577 steps (convolutions, 64x64 pixels)
    #: and 2,091 steps (small fully connected networks).
    BREAK_EVEN_STEPS = 2_000
    #: On an H200, compiling took 17 s and 7 s for these two, and a recorded step became 1.27 and
    #: 1.47 times as fast: that is earned back after 80 s and 22 s of recorded steps.
    BREAK_EVEN_SECONDS = 80.0

    def __init__(
        self,
        device: str = "auto",
        precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto",
        compile: Literal["auto", "on", "off"] = "auto",
        resident_gb: float = -1.0,
        record: bool = True,
    ) -> None:
        if precision not in ("auto", "fp32", "tf32", "bf16"):
            raise ValueError(f"precision must be auto, fp32, tf32 or bf16, got {precision}")
        if compile not in ("auto", "on", "off"):
            raise ValueError(f"compile must be auto, on or off, got {compile}")
        if not (resident_gb >= 0 or resident_gb == -1):
            raise ValueError(f"resident_gb must be at least 0, or -1, got {resident_gb}")
        self.compile, self.resident_gb, self.record = compile, resident_gb, record
        self.device = _find_device(device)
        if precision == "tf32" and self.device.type != "cuda":
            raise InputError(f"precision tf32 needs a CUDA GPU, got {self.device}")
        if precision == "auto":
            precision = "bf16" if _multiplies_bf16(self.device) else "fp32"
        self.precision = precision

    @property
    def decides_by_time(self) -> bool:
        """Whether a run decides about compiling once it knows how long its steps take."""
        return self.compile == "auto" and self.device.type == "cuda"

    def compiles(self, steps: int) -> tuple[bool, str]:
        """Whether a run of that many steps is compiled from its first step on, and why, in words.

        On a CPU it follows from the length of the whole run alone, so that a run that was
        interrupted goes on as it began, unless it is lengthened. On a GPU, "auto" depends on the
        time of a step and on the steps that are left.
        """
        if self.compile != "auto":
            return self.compile == "on", f"--engine.compile {self.compile}"
        if self.decides_by_time:
            return (
                False,
                f"auto: until more than {self.BREAK_EVEN_SECONDS:.0f} s of steps are left",
            )
        if self.device.type != "cpu":
            return False, f"not on {self.device.type}"
        why = f"auto: from {self.BREAK_EVEN_STEPS:,} steps on, this run has {steps:,}"
        return steps >= self.BREAK_EVEN_STEPS, why

    def fetch(self, images: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Images to draw batches from: copied to the device if they fit, else as they are."""
        if self.device.type != "cuda" or isinstance(images, Tensor):  # A CPU reads the map itself.
            return images
        limit = self.resident_gb * 1e9
        if self.resident_gb < 0:
            limit = torch.cuda.mem_get_info(self.device)[0] / 2
        if images.nbytes > limit:
            return images
        try:
            return to_device(images, self.device)
        except torch.OutOfMemoryError:
            size = f"{images.nbytes / 1e9:.1f} GB of training images"
            raise InputError(
                f"--engine.resident_gb {self.resident_gb}: {size} do not fit into {self.device}"
            ) from None

    def feed(self, batches: Batches) -> Feed:
        """Gives the batches: by the device alone if the images lie on a GPU."""
        resident = self.device.type == "cuda" and isinstance(batches.images, Tensor)
        return (DeviceFeed if resident else HostFeed)(batches, self.place)

    @contextmanager
    def running(self, program: nn.Module, networks: Iterable[nn.Module]) -> Iterator[None]:
        """Moves a program to the device and lets its networks compute in the precision."""
        program.to(self.device).to(memory_format=torch.contiguous_format)
        wrapped = list(networks) if self.precision == "bf16" else []
        for network in wrapped:
            network.forward = _in_bf16(network.forward, self.device.type)
        try:
            with self.arithmetic():
                yield
        finally:
            for network in wrapped:
                del network.forward
            program.to(memory_format=torch.contiguous_format)

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Lets a GPU use TF32 where the precision says so, and nowhere else."""
        switches: tuple[Any, Any] = (torch.backends.cuda.matmul, torch.backends.cudnn)
        before = [switch.allow_tf32 for switch in switches]
        try:
            for switch in switches:
                switch.allow_tf32 = self.precision == "tf32"
            yield
        finally:
            for switch, value in zip(switches, before, strict=True):
                switch.allow_tf32 = value

    def lay_out(self, program: nn.Module) -> None:
        """Lays weights out as convolutions are fastest on.

        Only once Pyro's parameter store knows the parameters: it copies a parameter that is not
        contiguous, and the module's own would silently never train.
        """
        program.to(memory_format=torch.channels_last)

    def place(self, images: Tensor) -> Tensor:
        """A batch on the device, in the layout that convolutions are fastest on."""
        return images.to(self.device).contiguous(memory_format=torch.channels_last)


def _in_bf16(forward: Callable[..., Tensor], device_type: str) -> Callable[..., Tensor]:
    def run(*args: Any) -> Tensor:
        with torch.autocast(device_type, torch.bfloat16):
            return forward(*args).float()

    return run


def _find_device(name: str) -> torch.device:
    if name == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        found = "cuda, " * torch.cuda.is_available() + "mps, " * torch.backends.mps.is_available()
        reason = str(error).splitlines()[0].split(". ")[0].rstrip(".")
        raise InputError(f"no device '{name}' here ({reason}); there is {found}cpu") from None
    return device


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    try:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except AttributeError:  # A name that torch keeps to itself.
        return False
