"""Compilation of gradients or whole steps as one traced graph."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.func import functional_call, functionalize

from pyrovae.data.feed import Feed
from pyrovae.objectives import Objective
from pyrovae.training.gradients import BatchGradients, Compute, Gradients, Terms
from pyrovae.training.optimizer import GroupedOptimizer
from pyrovae.training.python_state import check_hooks, parts_of, unchanging

__all__ = ["OPTIONS", "CompiledGradients", "CompiledStep", "compile_gradients"]

#: Compiler options: a compiled step draws the same random numbers as an eager one. The reordering
#: of PyTorch 2.6 would exchange draws.
OPTIONS: dict[str, Any] = {"fallback_random": True, "reorder_for_locality": False}

#: The operation that reads a number from a tensor.
READS_NUMBER = "aten._local_scalar_dense.default"

Inputs = Callable[[Tensor], dict[str, Tensor]]


def compile_gradients(gradients: Gradients, params: list[Tensor]) -> Compute:
    """Returns the gradient computation as one compiled graph, which the first call compiles.

    Communication between processes, and everything after it, stays outside the graph.
    """
    if gradients.group.size == 1:
        return CompiledGradients(gradients, params)
    return partial(gradients, batch=CompiledGradients(gradients.batch, params))


class Graph:
    """A module and its gradients as one compiled graph.

    The module runs once under a tracer, which records its tensor operations. Parameters, buffers
    and the state of the objective are inputs of the graph, so that the graph uses their current
    values. It draws the same random numbers as the programs.

    Args:
        module: takes tensors and `params`, and returns the result of a `Compute`.
        objective: its `state` is an input of the graph.
        params: the parameters that get gradients.

    Raises:
        NotImplementedError: if the objective overrides `begin_step` without `state`, or the module
            has hooks; from `build`, if the computation depends on values, or changes Python state.
    """

    def __init__(self, module: nn.Module, objective: Objective, params: list[Tensor]) -> None:
        self.module, self.objective, self.params = module, objective, params
        names: dict[Tensor, str] = {p: name for name, p in module.named_parameters()}
        objective.check_recordable()
        check_hooks(module)
        self.names = [names[p] for p in params]
        self.buffers = dict(module.named_buffers())

    def build(self, finish: Callable[..., list[Tensor]], given: Sequence[Tensor]) -> None:
        """Traces and compiles.

        Args:
            finish: called with a function that runs the module and returns its terms, the
                parameters, and the tensors `given`; returns the outputs of the graph.
            given: other inputs of the graph.
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
        """The outputs of the graph, for inputs of the same shapes as in `build`."""
        with torch.no_grad():
            return self.graph(*self.fixed, *self.objective.state.values(), *given)

    def _trace(
        self, values: list[Tensor], state: list[str], finish: Callable[..., list[Tensor]]
    ) -> torch.fx.GraphModule:
        """Traces the graph with fake tensors, which have shapes but no values."""
        from torch.fx.experimental.proxy_tensor import make_fx

        before = dict(self.objective.state)
        trace = partial(make_fx, tracing_mode="fake", _allow_non_fake_inputs=True)
        try:
            # In a new store: tensors of the tracer must not stay in the parameter store.
            with pyro.get_param_store().scope():
                graph = unchanging(
                    parts_of(self.module, self.objective),
                    lambda: trace(lambda *flat: self._run(flat, state, finish))(*values),
                )
                graph = trace(functionalize(graph))(*values)
        except _value_errors() as error:
            raise NotImplementedError(
                f"the computation depends on tensor values ({error.func})"
            ) from error
        finally:
            self.objective.state.update(before)
        _check_static(graph.graph)
        _accept_layouts(graph.graph)
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
                # Not the parameters in the store, which copies those that are not contiguous.
                terms, _ = functional_call(self.module, values, args, {"params": leaves})
            if any(leaf.grad is None for leaf in leaves):
                raise NotImplementedError("some parameters get no gradient")
            return terms

        outputs = finish(run, leaves, rest)
        for name, value in live.items():
            value.copy_(self.objective.state[name])
        return outputs


class CompiledGradients:
    r"""Model, guide, messengers, objective and backward pass as one compiled graph.

    Batches of another shape than the first one run eagerly.

    Args:
        gradients: the computation to compile.
        params: the parameters that get gradients.

    Raises:
        NotImplementedError: see `Graph`; by the first call, see `Graph.build`.
    """

    def __init__(self, gradients: Gradients | BatchGradients, params: list[Tensor]) -> None:
        self.gradients, self.params = gradients, params
        self.graph = Graph(gradients, gradients.objective, params)
        self.shapes: Any = None

    def __call__(
        self, images: Tensor, beta: float | Tensor, inputs: dict[str, Tensor]
    ) -> tuple[Terms, list[Tensor]]:
        """Sets the gradients; returns the terms and the parameters."""
        shapes = [(v.shape, v.dtype) for v in (images, *inputs.values())]
        if self.shapes is None:
            self.build(images, beta, inputs)
            self.shapes = shapes
        if shapes != self.shapes:
            return self.gradients(images, beta, inputs)
        if not isinstance(beta, Tensor):
            beta = self.beta.fill_(beta)
        found = self.graph([beta, images, *inputs.values()])
        for parameter, grad in zip(self.params, found[len(Terms._fields) :], strict=True):
            parameter.grad = grad
        return Terms(*found[: len(Terms._fields)]), self.params

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
    """A whole step as one compiled graph: batch, gradients, clipping and optimiser.

    It changes parameters, buffers and all state in place, like an eager step.

    Args:
        feed: returns the batch.
        gradients: the gradients of a single process.
        inputs: maps the attributes of a batch to other inputs of the programs.
        optimizer: an optimiser with a capturable form that has taken its first step.
        beta: the weight of the latent sites; each step uses its current value.

    Raises:
        NotImplementedError: see `Graph` and `GroupedOptimizer.live_tensors`.
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
        """Takes a step; returns its `Terms` as one tensor `(5,)`."""
        return self.graph(self.given)[0]


class _FedGradients(nn.Module):
    """The gradients of the next batch of a feed."""

    def __init__(self, feed: Feed, gradients: Gradients, inputs: Inputs) -> None:
        super().__init__()
        self.feed, self.gradients, self.inputs = feed, gradients, inputs

    def forward(self, beta: Tensor, **kwargs: Any) -> tuple[Terms, list[Tensor]]:
        images, attributes = self.feed()
        return self.gradients(images, beta, self.inputs(attributes), **kwargs)


def _value_errors() -> tuple[Any, ...]:
    """The tracer's errors where a computation depends on values; empty if torch lacks them."""
    try:
        from torch._subclasses.fake_tensor import (
            DataDependentOutputException,
            DynamicOutputShapeException,
        )
    except ImportError:
        return ()
    return DataDependentOutputException, DynamicOutputShapeException


def _accept_layouts(graph: torch.fx.Graph) -> None:
    """Replaces views by reshapes, which copy where the memory layout permits no view.

    Maps may have another memory layout in the compiled graph than in the trace.
    """
    for node in graph.nodes:
        if node.target is torch.ops.aten.view.default:
            node.target = torch.ops.aten.reshape.default


def _without_repeats(graph: torch.fx.Graph) -> torch.fx.Graph:
    """Removes common subexpressions; returns the graph unchanged if torch lacks the function.

    Inductor's CPU kernels do not compile if one reduction is stored twice.
    """
    try:
        from torch._functorch.compile_utils import fx_graph_cse
    except ImportError:
        return graph
    return fx_graph_cse(graph)


def _check_static(graph: torch.fx.Graph) -> None:
    """Refuses a graph that reads a number from a tensor; removes profiler operations."""
    for node in reversed(graph.nodes):
        if str(node.target) == READS_NUMBER:
            raise NotImplementedError(f"the computation depends on tensor values ({node.target})")
        if str(node.target).startswith("profiler."):
            graph.erase_node(node)


@contextmanager
def compiler_silenced() -> Iterator[None]:
    """Context without the compiler's warnings, which users cannot act on."""
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

    seen: set[Path] = set()
    while True:
        try:
            return compile(graph, values, options=OPTIONS)
        except Exception as error:  # Some versions of torch wrap the error of the import.
            library = _incomplete_library(str(error))
            if library is None or library in seen:
                raise
            seen.add(library)
            library.unlink(missing_ok=True)


def _incomplete_library(message: str) -> Path | None:
    """The library of the compiler's cache that an error says is cut off; None for other errors.

    A C++ compiler that was killed, by Ctrl-C or the end of a job, leaves an incomplete library in
    the cache of torch, which would then fail to load in every later run. Its source is in the same
    folder.
    """
    found = re.match(r"(?:\w+: )?(/.*?\.so): (?:file too short|invalid ELF header)", message)
    library = Path(found[1] if found else "none")
    return library if library.with_suffix(".cpp").is_file() else None
