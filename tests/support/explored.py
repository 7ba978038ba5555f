"""The server of the explorer on answers that need no trained run, and raw requests to it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from pyrovae.commands.explorer import server
from pyrovae.commands.explorer.handler import Site
from pyrovae.utils.errors import InputError

FILES = {
    "index.html": b'<!doctype html><link rel="stylesheet" href="style.css">'
    b'<script type="module" src="main.js"></script>',
    "style.css": b"body { color: black }",
    "main.js": b'import { ask } from "./source.js"; ask("run", {});',
    "source.js": b"export function ask(name, given) { return [name, given]; }",
}


@dataclass
class Told:
    """An explorer that repeats what it is told, slowly if asked to."""

    seconds: float = 0.0
    seen: list[dict[str, Any]] = field(default_factory=list)

    def say(self, given: dict[str, Any]) -> dict[str, Any]:
        self.seen.append(given)
        time.sleep(self.seconds)
        z = given.get("z", [])
        if not isinstance(z, list) or not all(isinstance(x, int | float) for x in z):
            raise InputError(f"z: must be a list of numbers, got {z!r:.40}")
        return {"z": z}

    def fail(self, given: dict[str, Any]) -> dict[str, Any]:
        raise KeyError("a bug")

    def upload(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"size": len(given["bytes"])}


ANSWERS = {"decode": Told.say, "fail": Told.fail, "upload": Told.upload}


@dataclass
class Client:
    """Sends requests as a page would, or any bytes."""

    port: int
    token: str
    site: Site

    def raw(self, data: bytes, ends: bool = False) -> bytes:
        """All that the server sends in return for some bytes; `ends` says that no more come."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(data)
            if ends:
                connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def request(
        self, method: str, path: str, body: bytes = b"", **headers: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; a header of None is left out."""
        usual = {"Host": f"127.0.0.1:{self.port}", "X-Token": self.token}
        usual |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        given = usual | {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{name}: {value}" for name, value in given.items() if value is not None]
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
        first, _, content = self.raw(head.encode() + body).partition(b"\r\n\r\n")
        status, *rest = first.decode().split("\r\n")
        found = dict(line.split(": ", 1) for line in rest)
        assert int(found["Content-Length"]) == len(content)
        return int(status.split()[1]), found, content

    def ask(self, name: str, given: object, **headers: str | None) -> tuple[int, dict[str, Any]]:
        """Status and answer of a request to the API."""
        body = json.dumps(given).encode()
        code, _, content = self.request("POST", f"/api/{name}", body, **headers)
        return code, json.loads(content)


@contextmanager
def served(explorer: Any, answers: Any = ANSWERS) -> Iterator[Client]:
    """Context in which a server answers; its errors are those of `handle_error`."""
    listener = server.listening("127.0.0.1", 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "page_files", lambda: FILES)
        with server.running(listener, answers, explorer) as (site, address):
            worker = threading.Thread(target=site.requests.serve)
            worker.start()
            try:
                token = address.partition("token=")[2]
                yield Client(listener.getsockname()[1], token, site)
            finally:
                site.requests.close()
                worker.join()
