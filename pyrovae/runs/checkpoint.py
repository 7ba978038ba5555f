"""Checkpoints: tensors and plain values with a checksum, read without unpickling."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pyrovae.runs.contents import checked_state
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import replace_file

__all__ = ["checksum", "load_checkpoint", "save_checkpoint", "state_of"]

STATE_KEY = "pyrovae"
# Errors that reading a damaged file raises.
_DAMAGED = (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError)


def save_checkpoint(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Writes tensors and a state of plain values to one safetensors file with a checksum."""
    # Copies: parts may share modules, and safetensors refuses tensors that share memory.
    whole = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }
    text = json.dumps(state, sort_keys=True)
    note = {"state": text, "sha256": checksum(whole, text)}
    data = save(whole, metadata={STATE_KEY: json.dumps(note)})
    replace_file(path, data)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what `save_checkpoint` wrote.

    Raises:
        InputError: if the file is missing, truncated or changed.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            note = json.loads((file.metadata() or {})[STATE_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        text, expected = str(note["state"]), note["sha256"]
    except _DAMAGED as error:
        reason = "".join(str(error).splitlines()[:1])
        raise InputError(f"{path}: cut off, or not a checkpoint of pyrovae ({reason})") from None
    if checksum(tensors, text) != expected:
        raise InputError(f"{path}: the content was changed after it was written (wrong checksum)")
    try:
        return tensors, checked_state(path, json.loads(text), len(tensors))
    except (json.JSONDecodeError, RecursionError):
        raise InputError(f"{path}: its state is not JSON") from None


def state_of(path: Path) -> dict[str, Any]:
    """Returns a checkpoint's state without reading tensors; empty if the file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            found = json.loads(json.loads((file.metadata() or {})[STATE_KEY])["state"])
    except _DAMAGED:
        return {}
    return found if isinstance(found, dict) else {}


def checksum(tensors: dict[str, Tensor], text: str = "") -> str:
    """Returns a SHA-256 hash of named tensors and a text."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
