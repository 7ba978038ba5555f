"""Options of the runs of the bench."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = [
    "BASE", "BINARY", "FACES", "LINEAR", "PIXELS", "RANDOM", "SMALL", "conv", "dims", "drawn",
    "fixed", "fully", "run", "words",
]  # fmt: skip


def words(given: Mapping[str, Any]) -> list[str]:
    """A command line from options; a tuple is several words."""
    found: list[str] = []
    for name, value in given.items():
        found.append(f"--{name}")
        several = value if isinstance(value, tuple) else (value,)
        found += [own if isinstance(own, str) else json.dumps(own) for own in several]
    return found


def conv(*channels: int) -> dict[str, Any]:
    """Convolutional networks that can start from probabilistic PCA."""
    given: dict[str, Any] = {"encoder": "ConvEncoder", "encoder.channels": list(channels)}
    given |= {"decoder": "ConvDecoder", "decoder.channels": list(channels[::-1])}
    return given | {"encoder.shortcut": True, "decoder.shortcut": True}


def fully(*hidden: int) -> dict[str, Any]:
    """Fully connected networks."""
    networks = {"encoder": "MLPEncoder", "encoder.hidden": list(hidden)}
    return {**networks, "decoder": "MLPDecoder", "decoder.hidden": list(hidden)}


def drawn(size: int, train: int = 3000) -> dict[str, Any]:
    """Drawn faces of the package, with 16 latent dimensions."""
    given: dict[str, Any] = {"data": "SyntheticFaces", "data.image_size": size}
    given |= {"data.num_train": train, "data.num_val": 300, "data.num_test": 300}
    return given | {"prior.latent_dim": 16}


def run(epochs: int, lr: float = 1e-3) -> dict[str, Any]:
    """The length of training and the learning rate."""
    return {"trainer.epochs": epochs, "optimizer.lr": lr}


def dims(count: int) -> dict[str, Any]:
    """The number of latent dimensions."""
    return {"prior.latent_dim": count}


def fixed(scale: float) -> dict[str, Any]:
    """A Normal with a fixed scale."""
    return {"likelihood": "Normal", "likelihood.scale": scale}


#: Options of all runs, beyond the preset "default".
BASE: dict[str, Any] = {
    "engine.device": "cpu",
    "engine.precision": "fp32",
    "loggers": "[pyrovae.training.loggers.CSVLogger]",
    "callbacks": "[]",
    "prior": "StandardNormal",
    "trainer.seed": 0,
}
BINARY = {"likelihood": "Bernoulli", "likelihood.binarization": "DynamicBinarization"}
RANDOM = {"start": "RandomStart"}
LINEAR = conv(4, 8)
SMALL = {**LINEAR, **dims(12)}
PIXELS = {**fully(128), **dims(10)}
FACES = conv(8, 16, 32)
