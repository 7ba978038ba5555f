"""What the server does with one request."""

from __future__ import annotations

import re
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from io import BufferedReader
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from pyrovae.commands.explorer.connections import Connections, TimedReader, is_gone
from pyrovae.commands.explorer.files import KINDS
from pyrovae.commands.explorer.guard import HEADERS, Guard, Refused
from pyrovae.commands.explorer.rate import Rate
from pyrovae.commands.explorer.reading import read_arguments, taken_order
from pyrovae.commands.explorer.requests import Request, Requests
from pyrovae.utils.errors import InputError
from pyrovae.utils.plain import to_json
from pyrovae.utils.text import cut, cut_line

__all__ = ["Handler", "Site"]

#: Seconds within which a request must arrive, and its answer be taken.
SECONDS = 60.0
START = "index.html"


@dataclass
class Site:
    """What all requests share.

    Attributes:
        answers: functions of the explorer and the arguments of a request, by name.
        explorer: what the functions ask.
        files: the files of the page by name.
        guard: who may ask.
        rate: how often.
        requests: what waits for an answer.
        connections: the open connections.
    """

    answers: Mapping[str, Callable[[Any, dict[str, Any]], dict[str, Any]]]
    explorer: Any
    files: Mapping[str, bytes]
    guard: Guard
    rate: Rate = field(default_factory=lambda: Rate(per_second=60, burst=120))
    requests: Requests = field(default_factory=Requests)
    connections: Connections = field(default_factory=lambda: Connections(most=64))

    def answer(self, name: str, given: dict[str, Any], gone: Callable[[], bool]) -> dict[str, Any]:
        """The answer to a request.

        Args:
            name: the name of the request.
            given: its arguments.
            gone: whether the client has gone.

        Raises:
            Refused: if the arguments are wrong, or the answer failed with status 500.
        """
        client, number = taken_order(given)
        work = partial(self.answers[name], self.explorer, given)
        try:
            found = self.requests.ask(Request(work, client, number), gone)
        except InputError as error:
            raise Refused(400, cut_line(error)) from None
        except (Refused, ConnectionAbortedError):
            raise
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            complain(f"{name}: {type(error).__name__}: {cut(error)} ({place})")
            raise Refused(500, f"the explorer failed: {type(error).__name__}") from None
        return {"dropped": True} if found is None else found


def complain(line: str) -> None:
    """Prints an error of the server in one line."""
    sys.stderr.write(f"error: {line}\n")


class Handler(BaseHTTPRequestHandler):
    """Answers one request: a file of the page, or `POST /api/NAME`.

    Args:
        site: what all requests share.
        connection: the connection of the request.
        *others: what the server passes on.
    """

    protocol_version = "HTTP/1.1"
    path = ""  # Stays so if the first line is broken.

    def __init__(self, site: Site, connection: socket.socket, *others: Any) -> None:
        self.site = site
        super().__init__(connection, *others)

    def setup(self) -> None:
        """Prepares reading and writing."""
        super().setup()
        self.rfile.close()
        self.rfile = BufferedReader(TimedReader(self.connection, SECONDS))

    def version_string(self) -> str:
        """The name of the server, without versions."""
        return "pyrovae"

    def log_message(self, *args: Any) -> None:
        """Prints nothing."""

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """Refuses malformed HTTP and unknown methods."""
        codes = {501: (405, "allowed are GET and POST"), 505: (400, "allowed is HTTP/1.1")}
        self._refuse(Refused(*codes.get(code, (int(code), "this request is not allowed"))))

    def do_GET(self) -> None:
        """Sends a file of the page; the page itself needs the token."""
        self._answer(self._file)

    def do_POST(self) -> None:
        """Sends the answer to a request as JSON."""
        self._answer(self._api)

    def _answer(self, work: Callable[[], None]) -> None:
        try:
            self.site.guard.check_sender(self.headers)
            work()
        except Refused as refused:
            self._refuse(refused)

    def _file(self) -> None:
        path, _, query = self.path.partition("?")
        name = path.removeprefix("/") or START
        if path == "/favicon.ico":  # Browsers ask for it whatever the page says.
            return self._send(204, "image/png", b"")
        if path.startswith("/api/"):
            raise Refused(405, "allowed is POST")
        if name not in self.site.files:
            raise Refused(404, "no such page")
        if name == START:
            self.site.guard.check_token(_token(query))
        self._send(200, KINDS[name.rpartition(".")[2]], self.site.files[name])

    def _api(self) -> None:
        found = re.fullmatch("/api/([a-z_]{1,40})", self.path)
        if found is None:
            raise Refused(404 if self.path.startswith("/api/") else 405, "allowed is /api/NAME")
        self.site.guard.check_token(self.headers.get("X-Token"))
        name = found[1]
        if name not in self.site.answers:
            raise Refused(404, f"no such request; allowed are {', '.join(self.site.answers)}")
        if not self.site.rate.allows():
            most = self.site.rate.per_second
            raise Refused(429, f"allowed are {most:g} requests per second: ask again later")
        given = read_arguments(name, self.headers, self.rfile)
        self.site.connections.ask(self.connection)
        gone = partial(is_gone, self.connection)
        self._json(200, self.site.answer(name, given, gone))

    def _refuse(self, refused: Refused) -> None:
        if self.path.startswith("/api/"):
            self._json(refused.code, {"error": str(refused)})
        else:
            self._send(refused.code, "text/plain; charset=utf-8", f"{refused}\n".encode())

    def _json(self, code: int, answer: dict[str, Any]) -> None:
        self._send(code, "application/json", to_json(answer).encode())

    def _send(self, code: int, kind: str, body: bytes) -> None:
        self.request_version = self.protocol_version  # Requests of HTTP/0.9 get headers too.
        self.close_connection = True
        self.connection.settimeout(SECONDS)
        self.send_response(code)
        sizes = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
        for name, value in {**HEADERS, **sizes}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _token(query: str) -> str:
    try:
        return parse_qs(query, max_num_fields=20).get("token", [""])[0]
    except ValueError:
        return ""
