"""The server of the explorer: the standard library's, one thread per connection."""

from __future__ import annotations

import errno
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from http.server import ThreadingHTTPServer
from typing import Any

from pyrovae.commands.explorer.connections import drain
from pyrovae.commands.explorer.files import page_files
from pyrovae.commands.explorer.guard import Guard
from pyrovae.commands.explorer.handler import Handler, Site, complain
from pyrovae.utils.errors import InputError

__all__ = ["Server", "listening", "running"]

#: Seconds in which the rest of a refused request is read.
REST = 2.0


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at an address.

    Raises:
        InputError: if the port is in use, or the address does not belong to this machine.
    """
    if not 0 <= port < 2**16:
        raise InputError(f"--port: allowed are 0 (any free port) to 65535, got {port}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, *_, where = found[0]
        return socket.create_server((str(where[0]), port), family=family, backlog=64)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            raise InputError(f"--port: {port} is in use; 0 chooses a free port") from None
        if number == errno.EACCES:
            raise InputError(
                f"--port: {port} needs more privileges; 0 chooses a free port"
            ) from None
        raise InputError(f"--host: {host}: allowed are addresses of this machine") from None


class Server(ThreadingHTTPServer):
    """Takes connections from a listening socket.

    Args:
        listener: the socket.
        site: what the requests share.
    """

    daemon_threads = True

    def __init__(self, listener: socket.socket, site: Site) -> None:
        super().__init__(listener.getsockname(), partial(Handler, site), bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.site = site

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread for a connection, unless all places are taken."""
        if self.site.connections.enter(request):
            super().process_request(request, client_address)
        else:
            self.close_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Ends a connection."""
        drain(request, REST)
        self.site.connections.leave(request)
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Prints an unexpected error in one line; a client that has gone is not an error."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            complain(f"a request failed: {type(error).__name__}")


@contextmanager
def running(
    listener: socket.socket,
    answers: Mapping[str, Callable[[Any, dict[str, Any]], dict[str, Any]]],
    explorer: Any,
    host: str = "127.0.0.1",
) -> Iterator[tuple[Site, str]]:
    """Context in which the page can be opened; `Site.requests.serve` then computes the answers.

    Args:
        listener: the socket that listens.
        answers: functions of the explorer and the arguments of a request, by name.
        explorer: what the functions ask.
        host: the address or name of this machine that the socket was bound to.

    Yields:
        What the requests share, and the address to open, which holds the token.
    """
    port, token = listener.getsockname()[1], secrets.token_urlsafe(24)
    name = _reachable(host)
    site = Site(answers, explorer, page_files(), Guard(token, port, {host, name}))
    server = Server(listener, site)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    shown = f"[{name}]" if ":" in name else name
    try:
        yield site, f"http://{shown}:{port}/?token={token}"
    finally:
        server.shutdown()
        server.server_close()


def _reachable(host: str) -> str:
    """The address by which others reach a host: for all addresses, that of the way out."""
    families = {"0.0.0.0": (socket.AF_INET, "192.0.2.1"), "::": (socket.AF_INET6, "2001:db8::1")}
    if host not in families:
        return host
    family, elsewhere = families[host]
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as way:
        way.connect((elsewhere, 9))  # A datagram socket sends nothing here.
        return str(way.getsockname()[0])
    return "127.0.0.1"
