"""Who may ask: the token, `Host` and `Origin` of a request, and the headers of each answer."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from email.message import Message

__all__ = ["HEADERS", "Guard", "Refused"]

#: The page loads nothing from elsewhere, is shown in no frame, and is kept by no cache.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: Names of this machine for itself.
LOCAL = ("127.0.0.1", "localhost", "[::1]")


class Refused(Exception):
    """A request that is not answered.

    Args:
        code: the status of the HTTP answer, from 400 to 499.
        line: what is wrong and what is allowed.
    """

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = code


class Guard:
    """Refuses requests of other pages and of those who do not know the token.

    A page of another site can make a browser send requests here, also under its own host name that
    it points to this machine (DNS rebinding): then `Host` or `Origin` is another one.

    Args:
        token: what the address of the page holds.
        port: the port that the server listens at.
        names: further names or addresses of the server, as `--host`.
    """

    def __init__(self, token: str, port: int, names: Iterable[str] = ()) -> None:
        self._token = token.encode()
        every = [*LOCAL, *(f"[{name}]" if ":" in name else name.lower() for name in names)]
        self._hosts = {f"{name}:{port}" for name in every} | set(every if port == 80 else ())
        self._port = port

    def check_sender(self, headers: Message) -> None:
        """Raises `Refused` unless `Host`, and `Origin` if there is one, are those of the page."""
        hosts = [str(host).strip().lower() for host in headers.get_all("Host", [])]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            raise Refused(403, f"Host: allowed is the printed address, with port {self._port}")
        origins = [str(origin).strip().lower() for origin in headers.get_all("Origin", [])]
        if any(origin.partition("http://")[2] not in self._hosts for origin in origins):
            raise Refused(403, "Origin: other pages may not ask")

    def check_token(self, given: str | None) -> None:
        """Raises `Refused` unless the token is right."""
        if not hmac.compare_digest((given or "").encode("utf-8", "replace"), self._token):
            raise Refused(403, "wrong or no token: open the address that the explorer printed")
