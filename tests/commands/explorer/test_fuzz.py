"""Malformed requests: none is the server's fault, and none ends it."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from pyrovae.commands.explorer.rate import Rate
from tests.fuzzing.requests import Sound, malformed
from tests.support.explored import ANSWERS, Told, served


def test_500_malformed_requests_give_no_error_of_the_server(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrovae.commands.explorer.server.REST", 0.2)
    rng, codes = random.Random(20), Counter[str]()
    names = [name for name in ANSWERS if name != "fail"]
    with served(Told()) as client:
        client.site.rate = Rate(per_second=1e6, burst=1e6)
        for _ in range(500):
            given = {"z": [0.5, 1], "client": "a", "order": rng.randrange(9)}
            sound = Sound(f"127.0.0.1:{client.port}", client.token, names, given, rng)
            data = malformed(sound, rng)
            try:
                found = client.raw(data, ends=True)
            except ConnectionError:
                found = b"HTTP/1.1 reset"
            assert not found or found.startswith(b"HTTP/1.1 "), (data[:300], found[:300])
            code = found[9:12].decode()
            assert not code.startswith("5"), (data[:300], found)
            assert b"Traceback" not in found
            codes[code] += 1
        assert client.ask("decode", {"z": [1]}) == (200, {"z": [1]})
    assert codes["400"] > 50 and codes["403"] > 10 and codes["404"] > 5 and codes["405"] > 5
    assert codes["res"] < 10  # Who sends all and waits gets an answer.
    assert capfd.readouterr() == ("", "")
