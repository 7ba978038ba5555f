"""Malformed requests to a server of HTTP, decided by a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from tests.fuzzing import mutations

__all__ = ["Sound", "malformed", "wrong"]

WORDS: tuple[object, ...] = ("", "z", "\x00", "\ud800", "../../etc/passwd", "é" * 50, "x" * 5000)
WORDS += (None, True, -1, 0, 10**30, -(10**400), 1e308, [], {}, [[[]]], {"z": {"z": {}}})
TEXTS = (b"NaN", b"-Infinity", b"1e999", b'"\\ud800"', b"[" * 3000, b'{"a":' * 3000, b"9" * 5000)
LENGTHS = ("-1", "0", "1", "99", "1e3", "9" * 30, "0x10", " ", "2, 3", "1\x00", "٣", "2000001")
VERSIONS = ("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "HTTP/x", "HTTP/1.1.1", "", "RTSP/1.0")
METHODS = ("GET", "PUT", "HEAD", "OPTIONS", "post", "P\x00ST", "", "__init__", "TRACE", "é")


class Sound:
    """A sound request, which faults are put into.

    Args:
        host: the server's name with its port.
        token: its token.
        names: requests that it knows.
        given: sound arguments.
        rng: decides which of them.
    """

    def __init__(
        self, host: str, token: str, names: list[str], given: dict[str, object], rng: random.Random
    ) -> None:
        name = rng.choice(names)
        self.method, self.path, self.version = "POST", f"/api/{name}", "HTTP/1.1"
        self.body = json.dumps(given).encode()
        self.headers = [("Host", host), ("X-Token", token), ("Content-Type", "application/json")]
        self.length: str | None = None

    def bytes(self) -> bytes:
        """What is sent."""
        length = str(len(self.body)) if self.length is None else self.length
        headers = [*self.headers, ("Content-Length", length)]
        lines = [f"{self.method} {self.path} {self.version}".strip()]
        lines += [f"{name}: {value}" for name, value in headers]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + self.body


def first_line(sound: Sound, rng: random.Random) -> None:
    part = rng.choice(["method", "path", "version"])
    paths = ["", "*", "/" * 70_000, "/api/" + "a" * 100, "/api/../decode", "/api/nothing", "/\x00"]
    paths += ["http://[", "/?token=" + "&" * 99, "/api/decode?x=1", "//evil/", "/main.js", "/%zz"]
    wrong = {"method": METHODS, "path": paths, "version": VERSIONS}
    setattr(sound, part, rng.choice(wrong[part]))


def header(sound: Sound, rng: random.Random) -> None:
    wrong: list[tuple[str, str]] = [
        ("X-Token", "wrong"),
        ("X-Token", ""),
        ("Host", "evil.example"),
    ]
    wrong += [("Content-Type", "text/html"), ("Content-Type", "\x00;;;="), ("Host", "é:80")]
    wrong += [("Transfer-Encoding", "chunked"), ("Expect", "100-continue"), ("Origin", "null")]
    wrong += [("", ""), (" a", "b"), ("no colon\r\n", ""), ("x" * 70_000, "y"), ("a", "\ud800")]
    name, value = rng.choice(wrong)
    sound.headers = [own for own in sound.headers if own[0] != name] + [(name, value)]
    if rng.random() < 0.2:
        sound.headers += [(f"x{i}", "y") for i in range(200)]
    if rng.random() < 0.2:
        del sound.headers[rng.randrange(len(sound.headers))]


def length(sound: Sound, rng: random.Random) -> None:
    sound.length = rng.choice(LENGTHS)


def text(sound: Sound, rng: random.Random) -> None:
    change: Callable[[bytes, random.Random], bytes] = rng.choice(
        [mutations.flipped, mutations.truncated, mutations.inserted, mutations.removed]
    )
    sound.body = change(sound.body, rng)
    if rng.random() < 0.3:
        sound.body = b'{"z": [' + rng.choice(TEXTS) + b"]}"


def wrong(given: object, rng: random.Random) -> object:
    """Arguments of which two are something else, or lists whose items are; rarely no arguments."""
    if rng.random() < 0.05 or not isinstance(given, dict):
        return rng.choice(WORDS)
    found = json.loads(json.dumps(given))
    for name in rng.sample([*found, "client", "order", "new"], 2):
        value = found.get(name)
        if isinstance(value, list) and value and rng.random() < 0.5:
            inner = value[0] if isinstance(value[0], list) else value
            inner[rng.randrange(len(inner))] = rng.choice(WORDS)
            found[name] = value * rng.choice((1, 1, 2, 500))
        else:
            found[name] = rng.choice(WORDS)
    return found


def values(sound: Sound, rng: random.Random) -> None:
    sound.body = json.dumps(wrong(json.loads(sound.body), rng)).encode()


def malformed(sound: Sound, rng: random.Random) -> bytes:
    """A request with one or two faults, and sometimes with changed bytes."""
    kinds = (first_line, header, length, text, values, values)
    for change in rng.sample(kinds, rng.choice((1, 1, 2))):
        try:
            change(sound, rng)
        except (ValueError, RecursionError):  # The body is no JSON any more.
            continue
    data = sound.bytes()
    whole = (mutations.flipped, mutations.truncated, mutations.scrambled)
    return rng.choice(whole)(data, rng) if rng.random() < 0.2 else data
