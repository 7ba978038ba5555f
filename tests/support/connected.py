"""Functions in several connected processes, and noise that they draw as one process would."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import socket
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.likelihoods import base
from pyrovae.utils.process_group import processes
from tests.support.processes import IMPORTED


def connected(size: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """What a function gives in each of several connected processes: a value, or its error."""
    for name in IMPORTED:  # Here once, where each process would do it anew.
        importlib.import_module(name)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    fork, started = multiprocessing.get_context("fork"), []
    for rank in range(size):
        mine, theirs = fork.Pipe(duplex=False)
        names = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": size}
        places = {key: str(value) for key, value in names.items()}
        places |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        process = fork.Process(target=work, args=(theirs, places, function, args), daemon=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", Warning)
            process.start()
        theirs.close()
        started.append((process, mine))
    try:
        return [pipe.recv() if pipe.poll(90) else "no answer" for _, pipe in started]
    finally:
        for process, _ in started:
            process.kill()
            process.join()


def work(
    pipe: Connection, places: dict[str, str], function: Callable[..., Any], args: Any
) -> None:
    os.environ.update(places)
    processes.cache_clear()
    torch.manual_seed(0)
    try:
        pipe.send(function(*args))
    except BaseException as error:
        pipe.send((type(error).__name__, str(error)))
    # The others are told by the end of the process, as they are of one that crashes.
    os._exit(0)


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray], rtol: float = 0.0) -> bool:
    assert first.keys() == second.keys()
    return all(np.allclose(second[n], first[n], rtol=rtol, atol=rtol) for n in first)


class PlacedNoise:
    """Noise of training steps that depends on the image's place in the batch of all processes.

    Without gradients, as in validation, it is 0.
    """

    def __init__(self, draw: Callable[..., Tensor]) -> None:
        self.draw, self.steps = draw, 0

    def __call__(self, shape: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
        if not torch.is_grad_enabled():
            return torch.zeros(shape, dtype=dtype)
        group, self.steps = processes(), self.steps + 1
        generator = torch.Generator().manual_seed(self.steps)
        whole = self.draw(shape[0] * group.size, *shape[1:], generator=generator, dtype=dtype)
        return whole[group.rank * shape[0] :][: shape[0]]


def place_noise() -> None:
    """Lets all noise of this process's training steps be placed: of latents, of grey levels."""
    uniform = PlacedNoise(torch.rand)
    torch.distributions.normal._standard_normal = PlacedNoise(torch.randn)
    base.uniform_noise = lambda images: uniform(
        images.shape, torch.get_default_dtype(), images.device
    )
