"""The device of a run, and the precision and compilation of its steps."""

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
    """The device of a run, and the precision and compilation of its steps.

    Args:
        device: "auto" (cuda, else mps, else cpu), or the name of a device such as "cuda:1".
        precision: "fp32", "tf32" (on a GPU, fp32 matrix products and convolutions round their
            factors to 10 bits), "bf16" (networks run under autocast; log densities, gradients
            and the optimiser stay in fp32), or "auto": bf16 where the hardware supports it.
        compile: whether a step is traced and compiled as one graph: "on", "off", or "auto", which
            compiles where the run is long enough to save time. On a CPU, that is a run of at
            least 2,000 steps. On a GPU, a run switches to compiled steps where more than 80 s of
            steps are left. A step runs as it is if attributes of its modules or objective change
            from step to step, or a hook would not be called. Changes of global variables are not
            seen: turn it off for them.
        resident_gb: on a GPU, the largest training split in GB that is copied to it once; larger
            splits are read from the cache batch by batch. 0 always reads batch by batch; -1
            allows half of the free memory.
        record: whether a GPU records a step once, as a CUDA graph, and replays it. Steps that
            cannot be compiled because their Python state changes are not recorded either.

    Raises:
        InputError: if the device does not exist, or does not support the precision.
        ValueError: if an argument has a value that is not allowed.
    """

    #: On two CPU cores, compiling saved time after 577 steps (convolutions, 64x64 pixels) and
    #: after 2,091 steps (small fully connected networks).
    BREAK_EVEN_STEPS = 2_000
    #: On an H200, compiling these two took 17 s and 7 s, and made a recorded step 1.27 and 1.47
    #: times as fast: it saved time after 80 s and 22 s of recorded steps.
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
    def threads(self) -> int:
        """Number of CPU threads that compute one operation together; 0 if a GPU does."""
        return torch.get_num_threads() if self.device.type == "cpu" else 0

    @property
    def decides_by_time(self) -> bool:
        """Whether a run measures the time of its steps before it decides to compile."""
        return self.compile == "auto" and self.device.type == "cuda"

    def compiles(self, steps: int) -> tuple[bool, str]:
        """Whether a run of that many steps compiles from its first step on, and the reason.

        On a CPU this depends only on the length of the whole run, so that a resumed run makes the
        same choice, unless it is lengthened. On a GPU, "auto" depends on the time per step and on
        the number of remaining steps.
        """
        if self.compile != "auto":
            return self.compile == "on", f"--engine.compile {self.compile}"
        if self.decides_by_time:
            return (
                False,
                f"auto: compiles if more than {self.BREAK_EVEN_SECONDS:.0f} s of steps are left",
            )
        if self.device.type != "cpu":
            return False, f"not on {self.device.type}"
        why = f"auto: compiles from {self.BREAK_EVEN_STEPS:,} steps on, this run has {steps:,}"
        return steps >= self.BREAK_EVEN_STEPS, why

    def fetch(self, images: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Copies the images of a split to the GPU if they fit, else returns them unchanged."""
        if self.device.type != "cuda" or isinstance(images, Tensor):
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
        """The feed of the batches: it stays on the device if the images are on a GPU."""
        resident = self.device.type == "cuda" and isinstance(batches.images, Tensor)
        return (DeviceFeed if resident else HostFeed)(batches, self.place)

    @contextmanager
    def running(self, program: nn.Module, networks: Iterable[nn.Module]) -> Iterator[None]:
        """Context with the program on the device, and its networks in the chosen precision.

        Networks in float64 keep their precision.
        """
        program.to(self.device).to(memory_format=torch.contiguous_format)
        rounded = networks if self.precision == "bf16" else ()
        wrapped = [own for own in rounded if not any(map(_is_double, own.parameters()))]
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
        """Context that allows TF32 on a GPU if the precision is "tf32", and forbids it else."""
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
        """Converts the weights to channels last, the fastest layout for convolutions.

        Call it after the parameters are in Pyro's parameter store. The store copies a parameter
        that is not contiguous, and the module's parameter would silently never train.
        """
        program.to(memory_format=torch.channels_last)

    def place(self, images: Tensor) -> Tensor:
        """Moves a batch to the device, in the channels last layout."""
        return images.to(self.device).contiguous(memory_format=torch.channels_last)


def _is_double(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float64


def _in_bf16(forward: Callable[..., Any], device_type: str) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        with torch.autocast(device_type, torch.bfloat16):
            return _as_floats(forward(*args))

    return run


def _as_floats(found: Any) -> Any:
    """The output of a network, one tensor or several, in single precision."""
    return found.float() if isinstance(found, Tensor) else tuple(map(_as_floats, found))


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
    except AttributeError:  # A private name of torch.
        return False
