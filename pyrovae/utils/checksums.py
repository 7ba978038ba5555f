"""The checksum of event files, for many bytes at once."""

from __future__ import annotations

from functools import cache
from math import isqrt

import numpy as np

__all__ = ["masked_crc32c"]

#: The polynomial of CRC-32C, its lowest power first.
POLYNOMIAL = 0x82F63B78
#: A loop over fewer bytes takes no longer than the arrays.
SHORT = 1024


def masked_crc32c(data: bytes) -> int:
    """The CRC-32C of some bytes, masked as in records of TensorBoard.

    Args:
        data: the bytes.
    """
    found = _of_few(data) if len(data) < SHORT else _of_many(data)
    return ((found >> 15 | found << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _of_few(data: bytes) -> int:
    table, state = _entries(), 0xFFFFFFFF
    for byte in data:
        state = table[(state ^ byte) & 255] ^ state >> 8
    return state ^ 0xFFFFFFFF


def _of_many(data: bytes) -> int:
    """Cuts the bytes into parts of equal length, which are computed side by side."""
    length = isqrt(len(data))
    number = -(-len(data) // length)
    parts = np.zeros(number * length, np.uint32)  # Zeros in front change nothing.
    parts[-len(data) :] = np.frombuffer(data, np.uint8)
    parts[len(parts) - len(data) :][:4] ^= 255  # As if the checksum began with ones.
    moved, sums = _moved(length), np.zeros(number, np.uint32)
    for column in parts.reshape(number, length).T:
        sums = _table()[(sums ^ column) & 255] ^ sums >> 8
    state = 0
    for found in sums.tolist():
        state = _combined(moved, state) ^ found
    return state ^ 0xFFFFFFFF


def _combined(moved: list[list[int]], state: int) -> int:
    first, second, third, fourth = moved
    low = first[state & 255] ^ second[state >> 8 & 255]
    return low ^ third[state >> 16 & 255] ^ fourth[state >> 24]


def _moved(length: int) -> list[list[int]]:
    """What a state becomes after so many zeros, by its four bytes."""
    shifts = np.array([[0], [8], [16], [24]], np.uint32)
    states: np.ndarray = np.arange(256, dtype=np.uint32) << shifts
    for _ in range(length):
        states = _table()[states & 255] ^ states >> 8
    return states.tolist()


@cache
def _table() -> np.ndarray:
    """What each byte becomes after eight bits."""
    table: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = table >> 1 ^ (table & 1) * np.uint32(POLYNOMIAL)
    return table


@cache
def _entries() -> list[int]:
    return _table().tolist()
