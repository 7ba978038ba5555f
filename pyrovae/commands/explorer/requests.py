"""One answer at a time, in one thread. A client's newest request replaces its older ones."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from pyrovae.commands.explorer.guard import Refused

__all__ = ["Request", "Requests"]

Answer = dict[str, Any]


class Request:
    """An answer to compute.

    Args:
        work: computes the answer.
        client: the name of who asks: of its requests only the newest counts.
        number: which of the client's requests this is; None where each request counts.
    """

    def __init__(
        self, work: Callable[[], Answer], client: str = "", number: int | None = None
    ) -> None:
        self.work, self.client, self.number = work, client, number
        self.answer: Answer | None = None
        self.error: Exception | None = None
        self.ended = threading.Event()

    def run(self) -> None:
        """Computes the answer, or keeps the error."""
        try:
            self.answer = self.work()
        except Exception as error:  # It is raised where the answer is waited for.
            self.error = error
        self.ended.set()

    def older_than(self, other: Request) -> bool:
        """Whether the other request replaces this one."""
        return (
            self.number is not None
            and other.number is not None
            and self.client == other.client
            and self.number < other.number
        )


#: Means that nobody has asked anything for a while.
IDLE = Request(dict)
#: Seconds without an request after which there is time to spare, and the seconds of one piece.
QUIET, SPARE = 0.5, 0.05


class Requests:
    """The requests that wait. Only one thread, which answers them, uses the explorer.

    It is the main thread of the command, so that Ctrl-C ends also a long computation.

    Args:
        most: the number of requests that may wait.
        clients: the number of clients whose newest request is remembered.
    """

    def __init__(self, most: int = 64, clients: int = 256) -> None:
        self._most, self._clients = most, clients
        self._changed = threading.Condition()
        self._waiting: list[Request] = []
        self._newest: OrderedDict[str, Request] = OrderedDict()
        self._closed = False

    def ask(self, request: Request, gone: Callable[[], bool] = lambda: False) -> Answer | None:
        """Waits for an answer; None if a newer request of the same client was seen.

        Args:
            request: the request. One with a number, such as the place of a slider, goes first.
            gone: whether nobody waits for the answer any more.

        Raises:
            Refused: if too many requests wait.
            ConnectionAbortedError: if nobody waits any more.
            Exception: what the computation raised.
        """
        with self._changed:
            if self._replaced(request):
                return None
            if len(self._waiting) >= self._most:
                raise Refused(429, f"{self._most} requests wait already: ask again later")
            self._waiting.append(request)
            self._waiting.sort(key=lambda own: own.number is None)
            self._changed.notify()
        while not request.ended.wait(0.2):
            if gone() and self._withdrawn(request):
                raise ConnectionAbortedError
        if request.error is not None:
            raise request.error
        return request.answer

    def _withdrawn(self, request: Request) -> bool:
        """Takes back a request; False if its answer is being computed."""
        with self._changed:
            waits = request in self._waiting
            if waits:
                self._waiting.remove(request)
            return waits

    def _replaced(self, request: Request) -> bool:
        """Drops the older requests of a client; whether the new one is itself older."""
        if request.number is None:
            return False
        newest = self._newest.pop(request.client, request)
        self._newest[request.client] = newest if request.older_than(newest) else request
        if len(self._newest) > self._clients:
            self._newest.popitem(last=False)
        for old in [other for other in self._waiting if other.older_than(request)]:
            self._waiting.remove(old)
            old.ended.set()
        return request.older_than(newest)

    def serve(self, spare: Callable[[float], bool] = lambda seconds: True) -> None:
        """Computes answers in this thread, until `close`.

        Args:
            spare: work for when nothing waits: is called with the seconds that it may take, until
                it returns that nothing is left.
        """
        done, patience = False, QUIET
        while (request := self._next(None if done else patience)) is not None:
            if request is IDLE:
                piece = Request(lambda: {"done": spare(SPARE)})
                piece.run()  # An error ends the work, not the server: a question meets it again.
                done, patience = piece.answer is None or piece.answer["done"], 0.0
            else:
                request.run()
                patience = QUIET

    def close(self) -> None:
        """Ends `serve` after the present answer."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _next(self, patience: float | None) -> Request | None:
        """The next request; `IDLE` if there is none for some seconds. None after `close`."""
        with self._changed:
            if patience is not None and not self._waiting and not self._closed:
                self._changed.wait(patience)
                if not self._waiting and not self._closed:
                    return IDLE
            while not self._waiting and not self._closed:
                self._changed.wait(0.5)  # Windows sees Ctrl-C between two waits only.
            return None if self._closed else self._waiting.pop(0)
