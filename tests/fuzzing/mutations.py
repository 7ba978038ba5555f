"""Changes of bytes and of plain values, decided by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Some bits are others."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8)) if found else 0):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def truncated(data: bytes, rng: random.Random) -> bytes:
    """The end is missing."""
    return data[: rng.randrange(len(data) + 1)]


def inserted(data: bytes, rng: random.Random) -> bytes:
    """Bytes are put in somewhere."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice((1, 4, 300))) + data[at:]


def removed(data: bytes, rng: random.Random) -> bytes:
    """A stretch is missing."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice((1, 4, 64)) :]


def zeroed(data: bytes, rng: random.Random) -> bytes:
    """A stretch is zero, as after a crash of the machine."""
    at, count = rng.randrange(len(data) + 1), rng.choice((1, 64, 512, 4096))
    return data[:at] + bytes(len(data[at : at + count])) + data[at + count :]


def emptied(data: bytes, rng: random.Random) -> bytes:
    """Nothing is left."""
    return b""


def extended(data: bytes, rng: random.Random) -> bytes:
    """Something follows."""
    return data + rng.randbytes(rng.choice((1, 8, 1000)))


def doubled(data: bytes, rng: random.Random) -> bytes:
    """All is there twice."""
    return data + data


def scrambled(data: bytes, rng: random.Random) -> bytes:
    """A stretch holds other bytes."""
    at, count = rng.randrange(len(data) + 1), rng.choice((4, 16, 256))
    return data[:at] + rng.randbytes(len(data[at : at + count])) + data[at + count :]


BYTES: list[Callable[[bytes, random.Random], bytes]] = [
    flipped,
    flipped,
    flipped,
    truncated,
    inserted,
    removed,
    zeroed,
    emptied,
    extended,
    doubled,
    scrambled,
]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Bytes with one of these changes."""
    return rng.choice(BYTES)(data, rng)


VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    10**6,
    10**12,
    2**63,
    10**30,
    0.0,
    -0.5,
    0.5,
    1e308,
    1e-308,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    "text",
    "²",
    "a" * 5000,
    "null",
    "1e3",
    "0x10",
    "2026-01-01",
    "a: b",
    "[1",
    "../../x",
    "\x1b[31m",
    "名前",
    "\0",
    "\ud800",
    [],
    [1, 2],
    [[]],
    ["a", None],
    {},
    {"a": 1},
    {"class_path": "os.system", "init_args": {"command": "touch canary"}},
    {"class_path": "pyrovae.VAE"},
    {"class_path": "torch.nn.Linear", "init_args": {"in_features": 3, "out_features": 3}},
    {"class_path": "pandas.read_pickle", "init_args": {"filepath_or_buffer": "x"}},
    {"class_path": 3},
    {"init_args": {"a": 1}},
]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Each place in nested values, as its container and its key."""
    pairs = list(
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [(value, key) for key, _ in pairs] + [p for _, v in pairs for p in places(v)]
