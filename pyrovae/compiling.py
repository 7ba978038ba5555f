"""The gradients of one batch as one graph, traced from the programs and compiled."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro
import torch
from torch import Tensor
from torch._functorch.compile_utils import fx_graph_cse
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)
from torch.func import functional_call, functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae.gradients import BatchGradients, Compute, Gradients, Terms
from pyrovae.objectives import state_of
from pyrovae.objectives.stock import innermost

__all__ = ["CompiledGradients", "compile_gradients"]


def compile_gradients(gradients: Gradients, params: list[Tensor]) -> Compute:
    """The same gradients from one compiled graph, made when it is first called.

    What processes tell each other, and what follows from it, stays outside the graph.
    """
    if gradients.group.size == 1:
        return CompiledGradients(gradients, params)
    return partial(gradients, batch=CompiledGradients(gradients.batch, params))


class CompiledGradients:
    r"""Runs model, guide, effects, objective and backward pass as one compiled graph.

    The programs run once under a tracer, as in an ordinary step; what they did with tensors is
    the graph. Parameters, buffers, beta and the objective's state are its inputs, so that all of
    them stay live, and random numbers are drawn by it as the programs would draw them. Batches
    of another shape than the first are given to the programs themselves.

    Args:
        gradients: what to compile.
        params: the parameters whose gradients are wanted.

    Raises:
        NotImplementedError: if a parameter is Pyro's alone, or if the objective's `begin_step`
            has no `state` to fill; on the first call, if what the programs do depends on values.
    """

    def __init__(self, gradients: Gradients | BatchGradients, params: list[Tensor]) -> None:
        self.gradients = gradients
        names: dict[Tensor, str] = {p: name for name, p in gradients.named_parameters()}
        if any(p not in names for p in params):
            raise NotImplementedError("a parameter belongs to none of the programs' modules")
        _check_objective(gradients.objective)
        self.params = params
        self.names = [names[p] for p in self.params]
        self.buffers = dict(gradients.named_buffers())
        self.shapes: Any = None

    def __call__(
        self, images: Tensor, beta: float | Tensor, inputs: dict[str, Tensor]
    ) -> tuple[Terms, list[Tensor]]:
        """What the gradients give."""
        shapes = [(v.shape, v.dtype) for v in (images, *inputs.values())]
        if self.shapes is None:
            self._compile(images, beta, inputs)
            self.shapes = shapes
        if shapes != self.shapes:
            return self.gradients(images, beta, inputs)
        self.beta.copy_(beta) if isinstance(beta, Tensor) else self.beta.fill_(beta)
        state = state_of(self.gradients.objective).values()
        with torch.no_grad():
            found = self.graph(*self.fixed, *state, self.beta, images, *inputs.values())
        for parameter, grad in zip(self.params, found[4:], strict=True):
            parameter.grad = grad
        return Terms(*found[:4]), self.params

    def _compile(self, images: Tensor, beta: float | Tensor, inputs: dict[str, Tensor]) -> None:
        self.beta = torch.as_tensor(beta, dtype=self.params[0].dtype).to(images.device)
        state = state_of(self.gradients.objective)
        for name, value in state.items():
            state[name] = value.to(self.beta)
        self.fixed = [*(p.detach() for p in self.params), *self.buffers.values()]
        values = [*self.fixed, *state.values(), self.beta, images, *inputs.values()]
        self.graph = _compiled(self._trace(values, list(state), list(inputs)), values)

    def _trace(
        self, values: list[Tensor], state: list[str], inputs: list[str]
    ) -> torch.fx.GraphModule:
        """The graph, of tensors that have shapes and no values: nothing is computed for it."""
        objective = self.gradients.objective
        before = dict(state_of(objective))
        trace = partial(make_fx, tracing_mode="fake", _allow_non_fake_inputs=True)
        try:
            # A store of its own: what tracing puts there must not outlive it.
            with pyro.get_param_store().scope():
                graph = trace(lambda *flat: self._run(flat, state, inputs))(*values)
                graph = trace(functionalize(graph))(*values)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise NotImplementedError(
                f"what is computed depends on values ({error.func})"
            ) from error
        finally:
            state_of(objective).update(before)
        # Inductor's kernels for CPUs do not compile where one reduction is stored twice.
        return torch.fx.GraphModule(graph, fx_graph_cse(graph.graph))

    def _run(
        self, flat: tuple[Tensor, ...], state_names: list[str], input_names: list[str]
    ) -> list[Tensor]:
        rest = list(flat)
        leaves = [rest.pop(0).detach().requires_grad_() for _ in self.params]
        buffers = {name: rest.pop(0) for name in self.buffers}
        state = {name: rest.pop(0) for name in state_names}
        beta, images, *others = rest
        now = state_of(self.gradients.objective)
        now.update(state)
        values = dict(zip(self.names, leaves, strict=True)) | buffers
        inputs = dict(zip(input_names, others, strict=True))
        with torch.enable_grad():
            # Not the store's parameters: it copies those that are not contiguous.
            terms, _ = functional_call(
                self.gradients, values, (images, beta, inputs), {"params": leaves}
            )
        for name, value in state.items():
            value.copy_(now[name])
        grads = [leaf.grad for leaf in leaves]
        if any(grad is None for grad in grads):
            raise NotImplementedError("some parameters get no gradient")
        return [*terms, *grads]


def _check_objective(objective: Any) -> None:
    """Refuses an objective that hears of the run's progress and keeps it where no graph looks."""
    bound = innermost(objective)
    if hasattr(bound, "begin_step") and not state_of(bound):
        raise NotImplementedError(f"{type(bound).__name__}.begin_step fills no tensor of `state`")


def _compiled(graph: torch.fx.GraphModule, values: list[Any]) -> Any:
    # The same random numbers as without compilation: the kernels of torch draw them.
    return torch._inductor.compile(graph, values, options={"fallback_random": True})
