"""Steps as one graph, traced from the programs and compiled."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.func import functional_call, functionalize

from pyrovae.data.feed import Feed
from pyrovae.objectives import Objective
from pyrovae.training.gradients import BatchGradients, Compute, Gradients, Terms
from pyrovae.training.optimizer import GroupedOptimizer

__all__ = ["OPTIONS", "CompiledGradients", "CompiledStep", "compile_gradients"]

#: Of the compiler: random numbers are those of a step that is not compiled.
OPTIONS: dict[str, Any] = {"fallback_random": True}

#: The operation that reads a number from a tensor.
READS_NUMBER = "aten._local_scalar_dense.default"

Inputs = Callable[[Tensor], dict[str, Tensor]]


def compile_gradients(gradients: Gradients, params: list[Tensor]) -> Compute:
    """The same gradients from one compiled graph, made when it is first called.

    What processes tell each other, and what follows from it, stays outside the graph.
    """
    if gradients.group.size == 1:
        return CompiledGradients(gradients, params)
    return partial(gradients, batch=CompiledGradients(gradients.batch, params))


class Graph:
    """What a module computes with gradients, as one compiled graph.

    The module runs once under a tracer; what it does with tensors is the graph. Parameters,
    buffers and the objective's state are inputs of the graph, so that all of them stay live.
    The graph draws random numbers as the programs would draw them.

    Args:
        module: takes tensors and `params`, and gives what `Compute` does.
        objective: whose `state` is live.
        params: the parameters whose gradients are wanted.

    Raises:
        NotImplementedError: if a parameter is Pyro's alone, or if the objective's `begin_step`
            has no `state` to fill; from `build`, if what is computed depends on values.
    """

    def __init__(self, module: nn.Module, objective: Objective, params: list[Tensor]) -> None:
        self.module, self.objective, self.params = module, objective, params
        names: dict[Tensor, str] = {p: name for name, p in module.named_parameters()}
        if any(p not in names for p in params):
            raise NotImplementedError("a parameter belongs to none of the programs' modules")
        objective.check_recordable()
        self.names = [names[p] for p in params]
        self.buffers = dict(module.named_buffers())

    def build(self, finish: Callable[..., list[Tensor]], given: Sequence[Tensor]) -> None:
        """Traces and compiles.

        Args:
            finish: is told the terms, the parameters with their gradients, and what `given`
                holds; gives the outputs of the graph.
            given: further inputs; the module takes those that `finish` leaves to it.
        """
        device, dtype = self.params[0].device, self.params[0].dtype
        state = self.objective.state
        for name, value in state.items():
            state[name] = value.to(device, dtype)
        self.fixed = [*(p.detach() for p in self.params), *self.buffers.values()]
        values = [*self.fixed, *state.values(), *given]
        with compiler_silenced():
            self.graph = _compiled(self._trace(values, list(state), finish), values)

    def __call__(self, given: Sequence[Tensor]) -> list[Tensor]:
        """The outputs, for further inputs of the shapes that it was built for."""
        with torch.no_grad():
            return self.graph(*self.fixed, *self.objective.state.values(), *given)

    def _trace(
        self, values: list[Tensor], state: list[str], finish: Callable[..., list[Tensor]]
    ) -> torch.fx.GraphModule:
        """The graph, of tensors that have shapes and no values: nothing is computed for it."""
        from torch.fx.experimental.proxy_tensor import make_fx

        before = dict(self.objective.state)
        trace = partial(make_fx, tracing_mode="fake", _allow_non_fake_inputs=True)
        try:
            # A store of its own: what tracing puts there must not outlive it.
            with pyro.get_param_store().scope():
                graph = trace(lambda *flat: self._run(flat, state, finish))(*values)
                graph = trace(functionalize(graph))(*values)
        except _value_errors() as error:
            raise NotImplementedError(
                f"what is computed depends on values ({error.func})"
            ) from error
        finally:
            self.objective.state.update(before)
        _check_static(graph.graph)
        return torch.fx.GraphModule(graph, _without_repeats(graph.graph))

    def _run(
        self, flat: Sequence[Tensor], state: list[str], finish: Callable[..., list[Tensor]]
    ) -> list[Tensor]:
        rest = list(flat)
        leaves = [rest.pop(0).detach().requires_grad_() for _ in self.params]
        buffers = {name: rest.pop(0) for name in self.buffers}
        live = {name: rest.pop(0) for name in state}
        self.objective.state.update(live)
        values = dict(zip(self.names, leaves, strict=True)) | buffers

        def run(*args: Any) -> Terms:
            with torch.enable_grad():
                # Not the store's parameters: it copies those that are not contiguous.
                terms, _ = functional_call(self.module, values, args, {"params": leaves})
            if any(leaf.grad is None for leaf in leaves):
                raise NotImplementedError("some parameters get no gradient")
            return terms

        outputs = finish(run, leaves, rest)
        for name, value in live.items():
            value.copy_(self.objective.state[name])
        return outputs


class CompiledGradients:
    r"""Runs model, guide, effects, objective and backward pass as one compiled graph.

    Batches of another shape than the first are given to the programs themselves.

    Args:
        gradients: what to compile.
        params: the parameters whose gradients are wanted.

    Raises:
        NotImplementedError: as `Graph` does; on the first call, as `Graph.build` does.
    """

    def __init__(self, gradients: Gradients | BatchGradients, params: list[Tensor]) -> None:
        self.gradients, self.params = gradients, params
        self.graph = Graph(gradients, gradients.objective, params)
        self.shapes: Any = None

    def __call__(
        self, images: Tensor, beta: float | Tensor, inputs: dict[str, Tensor]
    ) -> tuple[Terms, list[Tensor]]:
        """What the gradients give."""
        shapes = [(v.shape, v.dtype) for v in (images, *inputs.values())]
        if self.shapes is None:
            self.build(images, beta, inputs)
            self.shapes = shapes
        if shapes != self.shapes:
            return self.gradients(images, beta, inputs)
        if not isinstance(beta, Tensor):
            beta = self.beta.fill_(beta)
        found = self.graph([beta, images, *inputs.values()])
        for parameter, grad in zip(self.params, found[4:], strict=True):
            parameter.grad = grad
        return Terms(*found[:4]), self.params

    def build(self, images: Tensor, beta: float | Tensor, inputs: dict[str, Tensor]) -> None:
        """Compiles for batches of this shape."""
        self.beta = torch.ones((), dtype=self.params[0].dtype, device=images.device)
        names = list(inputs)

        def finish(run: Any, leaves: list[Tensor], given: list[Tensor]) -> list[Tensor]:
            beta, images, *others = given
            terms = run(images, beta, dict(zip(names, others, strict=True)))
            return [*terms, *(leaf.grad for leaf in leaves)]

        self.graph.build(finish, [self.beta, images, *inputs.values()])


class CompiledStep:
    """A whole step as one compiled graph: the batch, gradients, clipping, the optimiser.

    It changes parameters, buffers and all state in place, as the step itself does.

    Args:
        feed: gives the batch.
        gradients: of one process.
        inputs: makes the programs' further inputs of a batch's attributes.
        optimizer: one that has a capturable form and has taken its first step.
        beta: the weight of the latent sites, read at every step.

    Raises:
        NotImplementedError: as `Graph` and `GroupedOptimizer.live_tensors` do.
    """

    def __init__(
        self,
        feed: Feed,
        gradients: Gradients,
        inputs: Inputs,
        optimizer: GroupedOptimizer,
        beta: Tensor,
    ) -> None:
        params = optimizer.parameters()
        self.given = [beta, *optimizer.live_tensors()]
        self.graph = Graph(_FedGradients(feed, gradients, inputs), gradients.objective, params)

        def finish(run: Any, leaves: list[Tensor], given: list[Tensor]) -> list[Tensor]:
            beta, *live = given
            terms = run(beta)
            optimizer.update(leaves, live, terms.finite)
            return [torch.stack(terms)]

        self.graph.build(finish, self.given)

    def __call__(self) -> Tensor:
        """Takes a step; gives its `Terms` as one tensor `(4,)`."""
        return self.graph(self.given)[0]


class _FedGradients(nn.Module):
    """Gradients of the batch that a feed gives."""

    def __init__(self, feed: Feed, gradients: Gradients, inputs: Inputs) -> None:
        super().__init__()
        self.feed, self.gradients, self.inputs = feed, gradients, inputs

    def forward(self, beta: Tensor, **kwargs: Any) -> tuple[Terms, list[Tensor]]:
        images, attributes = self.feed()
        return self.gradients(images, beta, self.inputs(attributes), **kwargs)


def _value_errors() -> tuple[Any, ...]:
    """What a tracer raises where the computation depends on values; none if torch hides them."""
    try:
        from torch._subclasses.fake_tensor import (
            DataDependentOutputException,
            DynamicOutputShapeException,
        )
    except ImportError:
        return ()
    return DataDependentOutputException, DynamicOutputShapeException


def _without_repeats(graph: torch.fx.Graph) -> torch.fx.Graph:
    """The graph with each expression computed once, or as it is if torch does not offer that.

    Inductor's kernels for CPUs do not compile where one reduction is stored twice.
    """
    try:
        from torch._functorch.compile_utils import fx_graph_cse
    except ImportError:
        return graph
    return fx_graph_cse(graph)


def _check_static(graph: torch.fx.Graph) -> None:
    """Refuses a graph that reads a number from a tensor; drops what only profilers see."""
    for node in reversed(graph.nodes):
        if str(node.target) == READS_NUMBER:
            raise NotImplementedError(f"what is computed depends on values ({node.target})")
        if str(node.target).startswith("profiler."):
            graph.erase_node(node)


@contextmanager
def compiler_silenced() -> Iterator[None]:
    """Keeps a compiler's warnings from users, who cannot act on them."""
    log = logging.getLogger("torch._inductor")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _compiled(graph: torch.fx.GraphModule, values: list[Any]) -> Any:
    from torch._inductor import compile

    return compile(graph, values, options=OPTIONS)
