"""Malformed requests: none is the server's fault, and none ends it."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from pyrovae.commands.explorer import answers as answering
from pyrovae.commands.explorer.opening import Explorer
from pyrovae.commands.explorer.rate import Rate
from tests.fuzzing.requests import Sound, malformed, wrong
from tests.support.explored import ANSWERS, Told, served


@pytest.mark.slow
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


@pytest.mark.slow
def test_500_malformed_requests_to_a_run_give_no_error_of_the_server(
    trained: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrovae.commands.explorer.server.REST", 0.2)
    rng, codes = random.Random(21), Counter[int]()
    explorer = Explorer.open(trained, device="cpu")
    z = [0.5, 1, 0, -1]
    sound: dict[str, dict[str, object]] = {
        "run": {},
        "map": {"method": "PCA"},
        "colour": {"name": "rate"},
        "thumbs": {"rows": [0, 5], "size": 16},
        "ground": {"method": "PCA", "places": [[0.5, 1]]},
        "decode": {"z": [z], "given": {}},
        "image": {"name": "test:3"},
        "draws": {"name": "test:3", "count": 2, "seed": 0},
        "scores": {"name": "test:3"},
        "sliders": {"name": "test:3"},
        "directions": {"name": "test:3"},
        "attributes": {},
        "path": {"first": z, "second": z[::-1], "kind": "straight", "steps": 3},
        "nearest": {"z": z, "count": 2},
    }
    assert set(sound) == set(answering.ANSWERS) - {"upload"}
    with served(explorer, answering.ANSWERS) as client:
        client.site.rate = Rate(per_second=1e6, burst=1e6)
        for _ in range(500):
            name, given = rng.choice(list(sound.items()))
            changed = wrong(given, rng)
            body = json.dumps(changed).encode()
            code, _, content = client.request("POST", f"/api/{name}", body)
            assert code in (200, 400, 413), (name, changed, content)
            assert code == 200 or content.count(b"\n") == 0 and len(content) < 1000
            codes[code] += 1
        for name, given in sound.items():
            assert client.ask(name, given)[0] == 200
    assert codes[400] > 200
    assert capfd.readouterr().err == ""
