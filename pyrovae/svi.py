"""The step: Pyro's SVI with one optimiser for all parameters, and where and how it computes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from pyrovae.errors import InputError
from pyrovae.objectives import state_of
from pyrovae.programs import run_both

__all__ = ["SVI", "Engine", "GroupedOptimizer", "first_bad_site", "loss_per_image"]

OptimizerFactory = Callable[[Iterable[Tensor]], torch.optim.Optimizer]


class GroupedOptimizer(pyro.optim.PyroOptim):
    """One torch optimiser over all parameters, where `PyroOptim` makes one for each tensor.

    One fused update replaces one a tensor, and clipping can be by the global norm. Parameters
    are sorted by their names in Pyro's store, so that their order, and with it the saved state,
    is the same in every process.

    Args:
        factory: makes a torch optimiser from a list of parameters, as `partial(Adam, lr=1e-3)`.
        clip_norm: largest global norm of the gradient, of the loss in nats per image; None
            leaves gradients as they are.

    Raises:
        ValueError: if `clip_norm` is not positive.

    Example:
        >>> from functools import partial
        >>> optimizer = GroupedOptimizer(partial(torch.optim.Adam, lr=1e-3), clip_norm=100.0)
    """

    def __init__(self, factory: OptimizerFactory, clip_norm: float | None = None) -> None:
        super().__init__(factory, {})
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"clip_norm must be positive or null, got {clip_norm}")
        self.factory = factory
        self.clip_norm = clip_norm
        self.torch_optimizer: torch.optim.Optimizer | None = None

    def __call__(self, params: Iterable[Tensor], *args: Any, **kwargs: Any) -> None:
        """Clips the gradients of these parameters and updates them."""
        params = list(params)
        self.register(params)
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(params, self.clip_norm)
        assert self.torch_optimizer is not None
        self.torch_optimizer.step()

    def register(self, params: Iterable[Tensor]) -> None:
        """Takes in parameters that were not seen before, sorted by name."""
        known = set() if self.torch_optimizer is None else set(self.parameters())
        new = sorted((p for p in params if p not in known), key=pyro.get_param_store().param_name)
        if self.torch_optimizer is None:
            self.torch_optimizer = self.factory(new)
            closure = inspect.signature(self.torch_optimizer.step).parameters.get("closure")
            if closure is not None and closure.default is inspect.Parameter.empty:
                name = type(self.torch_optimizer).__name__
                raise ValueError(
                    f"{name} needs the loss again within a step, which SVI cannot give"
                )
            self._base_rates = [group["lr"] for group in self.torch_optimizer.param_groups]
        elif new:
            self.torch_optimizer.param_groups[0]["params"] += new

    def parameters(self) -> list[Tensor]:
        """All parameters, in the order of their state."""
        assert self.torch_optimizer is not None
        return [p for group in self.torch_optimizer.param_groups for p in group["params"]]

    def scale_learning_rate(self, factor: float) -> float:
        """Sets the learning rate to that multiple of the chosen one, and returns it."""
        assert self.torch_optimizer is not None
        for group, rate in zip(self.torch_optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * factor
        return self._base_rates[0] * factor

    def state_tensors(self) -> dict[str, Tensor]:
        """The optimiser's state, one tensor a parameter and quantity, named by position."""
        assert self.torch_optimizer is not None
        return {
            f"{i}.{key}": torch.as_tensor(value)
            for i, p in enumerate(self.parameters())
            for key, value in self.torch_optimizer.state.get(p, {}).items()
            if value is not None
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Puts back what `state_tensors` gave; parameters must be registered."""
        assert self.torch_optimizer is not None
        packed = self.torch_optimizer.state_dict() | {"state": {}}
        for name, value in tensors.items():
            position, key = name.split(".", 1)
            packed["state"].setdefault(int(position), {})[key] = value
        # Torch knows which type and device each quantity needs.
        self.torch_optimizer.load_state_dict(packed)
        for p, state in self.torch_optimizer.state.items():
            for key, value in state.items():
                # Fused updates walk through memory: a state must be laid out as its parameter is.
                if key != "step" and value.shape == p.shape:
                    state[key] = torch.empty_like(p).copy_(value)


class SVI(pyro.infer.SVI):
    """Stock SVI, in nats per image, that skips a step whose loss or gradient is not finite.

    Loss and gradients are divided by the number of images, the length of the first argument, so
    that clipping thresholds and learning rates do not depend on the batch size. A skipped step
    changes neither parameters nor buffers (such as batch norm's statistics) nor the
    objective's state.

    Args:
        model: the generative program.
        guide: the inference program.
        optim: a `GroupedOptimizer`, or any `PyroOptim`.
        loss: any ELBO of `pyro.infer`.

    Attributes:
        skipped: whether the last step was skipped.
    """

    def __init__(
        self,
        model: nn.Module,
        guide: nn.Module,
        optim: pyro.optim.PyroOptim,
        loss: pyro.infer.ELBO,
    ) -> None:
        super().__init__(model, guide, optim, loss)
        self.objective = loss
        self.skipped = False
        self._modules = [m for m in (model, guide) if isinstance(m, nn.Module)]

    def step(self, *args: Any, **kwargs: Any) -> float:
        """Takes a step, unless it would not be finite; returns the loss in nats per image."""
        buffers = [buffer for module in self._modules for buffer in module.buffers()]
        before, state = [buffer.clone() for buffer in buffers], dict(state_of(self.objective))
        loss, params = self.gradients(*args, **kwargs)
        grads = [p.grad for p in params if p.grad is not None]
        torch._foreach_mul_(grads, 1 / len(args[0]))
        norm = torch.nn.utils.get_total_norm(grads)
        self.skipped = not (math.isfinite(loss) and math.isfinite(norm))
        if self.skipped:
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            state_of(self.objective).update(state)
        else:
            self.optim(params)
        pyro.infer.util.zero_grads(params)
        return loss

    def gradients(self, *args: Any, **kwargs: Any) -> tuple[float, list[Tensor]]:
        """The loss in nats per image, and the parameters, with gradients of the batch's sum."""
        with poutine.trace(param_only=True) as capture:
            loss = self.loss_and_grads(self.model, self.guide, *args, **kwargs)
        params = {site["value"].unconstrained() for site in capture.trace.nodes.values()}
        by_name = sorted(params, key=pyro.get_param_store().param_name)
        return loss_per_image(loss, len(args[0])), by_name


def loss_per_image(loss: Any, num_images: int) -> float:
    """Any loss that an ELBO of Pyro returns, in nats per image; several are added up."""
    parts = loss if isinstance(loss, tuple) else (loss,)
    return sum(pyro.infer.util.torch_item(part) for part in parts) / num_images


@torch.no_grad()
def first_bad_site(
    model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
) -> str:
    """Names the first site of the programs whose value or log density is not finite."""
    with pyro.validation_enabled(False):
        guide_trace, model_trace = run_both(model, guide, *args, **kwargs)
        for program, trace in (("guide", guide_trace), ("model", model_trace)):
            for name, site in trace.nodes.items():
                if site["type"] == "sample" and not _finite(site["value"]):
                    return f"the value of site '{name}' in the {program}"
                if site["type"] == "sample" and not _finite(site["fn"].log_prob(site["value"])):
                    return f"the log density of site '{name}' in the {program}"
    return "the gradient, while all sites are finite"


def _finite(value: Any) -> bool:
    return not isinstance(value, Tensor) or bool(value.isfinite().all())


class Engine:
    """Where a program runs, and in which precision its networks compute.

    Args:
        device: "auto" (cuda, else mps, else cpu), or a device's name such as "cuda:1".
        precision: "fp32", "bf16" (networks under autocast; log densities, gradients and the
            optimiser stay in fp32), or "auto": bf16 where the hardware multiplies it.

    Raises:
        InputError: if the device is not there.
        ValueError: if the precision has another name.
    """

    def __init__(
        self, device: str = "auto", precision: Literal["auto", "fp32", "bf16"] = "auto"
    ) -> None:
        if precision not in ("auto", "fp32", "bf16"):
            raise ValueError(f"precision must be auto, fp32 or bf16, got {precision}")
        self.device = _find_device(device)
        bf16 = _multiplies_bf16(self.device) if precision == "auto" else precision == "bf16"
        self.precision = "bf16" if bf16 else "fp32"

    @contextmanager
    def running(self, program: nn.Module, networks: Iterable[nn.Module]) -> Iterator[None]:
        """Moves a program to the device and lets its networks compute in the precision."""
        program.to(self.device).to(memory_format=torch.contiguous_format)
        wrapped = list(networks) if self.precision == "bf16" else []
        for network in wrapped:
            network.forward = _in_bf16(network.forward, self.device.type)
        try:
            yield
        finally:
            for network in wrapped:
                del network.forward
            program.to(memory_format=torch.contiguous_format)

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
    return device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
