"""The open connections: a limit on their number, and on the time that a request takes."""

from __future__ import annotations

import io
import socket
import threading
import time
from contextlib import suppress
from typing import Any

__all__ = ["Connections", "TimedReader", "drain", "is_gone"]


class Connections:
    """At most so many connections; a new one ends the oldest that has not asked yet.

    Clients that send slowly, or nothing, so keep nobody out.

    Args:
        most: the number of connections.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._reading: dict[socket.socket, None] = {}
        self._asking: set[socket.socket] = set()

    def enter(self, connection: socket.socket) -> bool:
        """Notes a new connection; False if there is no place for it."""
        with self._lock:
            if len(self._reading) + len(self._asking) >= self._most:
                if not self._reading:
                    return False
                oldest = next(iter(self._reading))
                del self._reading[oldest]
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
            self._reading[connection] = None
            return True

    def ask(self, connection: socket.socket) -> None:
        """Notes that the request is complete: its answer is being computed."""
        with self._lock:
            self._reading.pop(connection, None)
            self._asking.add(connection)

    def leave(self, connection: socket.socket) -> None:
        """Forgets a connection."""
        with self._lock:
            self._reading.pop(connection, None)
            self._asking.discard(connection)


class TimedReader(io.RawIOBase):
    """Reads from a connection; all of a request must arrive within a time.

    Args:
        connection: the connection.
        seconds: the time.
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._end = time.monotonic() + seconds

    def readable(self) -> bool:
        """It reads."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads what has arrived.

        Raises:
            TimeoutError: if the time is over.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


def is_gone(connection: socket.socket) -> bool:
    """Whether the client has closed its connection."""
    try:
        connection.settimeout(0)
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def drain(connection: socket.socket, seconds: float) -> None:
    """Ends a connection after its answer.

    What the client still sends is read: closing before would reset the connection, and the client
    would lose the answer.
    """
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        reader = TimedReader(connection, seconds)
        buffer = bytearray(65536)
        while reader.readinto(buffer):
            pass
