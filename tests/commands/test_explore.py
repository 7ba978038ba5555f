"""`pyrovae explore` in a process of its own, as a user runs it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pyrovae.commands import explore
from pyrovae.commands.explorer.opening import Explorer
from pyrovae.commands.explorer.requests import Requests
from tests.support.commands import SCRIPTS, refusal, run
from tests.support.processes import Script

pytestmark = pytest.mark.slow


@contextmanager
def started(*arguments: str) -> Iterator[Script]:
    process = Script(SCRIPTS / "explore.py", *arguments, "--no_browser")
    try:
        yield process
    finally:
        if process.runs:
            process.signal(signal.SIGKILL)


def ask(address: str, name: str, given: object) -> tuple[int, dict[str, Any]]:
    host, token = re.findall(r"http://(.*?)/\?token=(.*)", address)[0]
    connection = http.client.HTTPConnection(host, timeout=60)
    headers = {"X-Token": token, "Content-Type": "application/json"}
    connection.request("POST", f"/api/{name}", json.dumps(given), headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_prints_its_address_answers_and_ends_at_once(
    trained: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    Image.new("RGB", (30, 40), (200, 150, 100)).save(tmp_path / "face.png")
    images = ["--images", str(tmp_path / "face.png"), "test:5"]
    with started(str(trained), "--device=cpu", *images) as process:
        while process.runs and process.printed().count("\n") < 2:
            time.sleep(0.02)
        lines = process.printed().splitlines(keepends=True)
        (address,) = re.findall(r": (http://127\.0\.0\.1:\d+/\?token=[\w-]{32})\n", lines[0])
        assert lines == [f"explorer of {trained}: {address}\n", "Ctrl-C ends it.\n"]
        status, found = ask(address, "run", {})
        assert status == 200 and found["images"][:3] == ["upload:1", "test:5", "test:0"]
        assert found["count"] == 16 and len(found["dims"]) == 4
        status, answer = ask(address, "decode", {"z": [[0.0] * 4], "client": "a", "order": 1})
        assert status == 200 and answer["images"][0].startswith("data:image/png;base64,")
        assert ask(address, "decode", {"z": [[0.0] * 3]})[0] == 400
        process.signal(number)
        done = process.end(5)
        assert (done.stdout, done.stderr) == ("".join(lines), f"stopped by {number.name}\n")
        assert done.returncode == code


def test_a_taken_port_is_found_before_the_run_is_opened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refusal("explore", ["nowhere", f"--port={port}"], monkeypatch, capsys)
    assert line == f"error: --port: {port} is in use; 0 chooses a free port"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere"], "nowhere: no such directory"),
        (["{run}", "--split=tests"], "tests"),
        (["{run}", "--checkpoint=worst"], "allowed are best and last, got worst"),
        (["{run}", "--port=99999"], "--port: allowed are 0 (any free port) to 65535, got 99999"),
        (["{run}", "--port=many"], "--port"),
        (
            ["{run}", "--host=192.0.2.1"],
            "--host: 192.0.2.1: allowed are addresses",
        ),
        (["{run}", "--num_images=-3"], "-3"),
        (["{run}", "--seed=-1"], "-1"),
        (["{run}", "--images", "test:16"], "test:16: allowed are the images 0 to 15 of test"),
        (["{run}", "--images", "none.png"], "none.png: no such file (test:12 is an image"),
        (["{run}", "--images", "{run}/config.yaml"], "config.yaml: not an image; allowed are PNG"),
        (["{run}", "--images", "folder.html"], "folder.html: no images in this folder"),
        (["{run}", "--export=page.pdf"], "--export: must end in .html, got page.pdf"),
        (["{run}", "--export=folder.html"], "--export: folder.html is a folder; name a file"),
        (["{run}", "--export=none.png/page.html", "--images", "none.png"], "none.png: no such"),
        (["{run}", "--exprot=page.html"], "--exprot"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    expected: str,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.html").mkdir()
    given = [argument.format(run=trained) for argument in arguments]
    line = refusal("explore", [*given, "--no_browser"], monkeypatch, capsys)
    assert expected.format(run=trained) in line and len(line) < 400


@pytest.mark.parametrize("name", ["faces", "faces/face.png"])
def test_the_page_is_written_to_one_file(
    name: str,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "faces").mkdir()
    Image.new("RGB", (30, 40), (200, 150, 100)).save(tmp_path / "faces" / "face.png")
    path = tmp_path / "new" / "page.html"
    images = ["--images", str(tmp_path / name), "val:3"]
    given = [str(trained), f"--export={path}", "--device=cpu", *images]
    assert run("explore", given, monkeypatch) == 0
    said = capsys.readouterr()
    assert re.fullmatch(rf"{re.escape(str(path))}: \d+\.\d MB\n", said.out) and said.err == ""
    (data,) = re.findall(r'id="answers">(.*?)</script>', path.read_text("utf-8"), re.S)
    assert list(json.loads(data)["images"]) == ["face.png", "val:3"]
    assert str(tmp_path) not in path.read_text("utf-8")  # It is to be shared.
    assert [own.name for own in path.parent.iterdir()] == ["page.html"]


def test_the_browser_opens_where_there_is_a_screen(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(explore.webbrowser, "open", opened.append)
    monkeypatch.setattr(Requests, "serve", lambda *_: None)
    monkeypatch.setattr(Explorer, "open", lambda *_, **__: Explorer)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(explore.sys, "platform", "linux")
    assert run("explore", ["a"], monkeypatch) == 0 and opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    assert run("explore", ["a", "--no_browser"], monkeypatch) == 0 and opened == []
    assert "Anyone" not in capsys.readouterr().out
    assert run("explore", ["a", "--host=0.0.0.0"], monkeypatch) == 0
    said = capsys.readouterr().out
    assert opened and opened[0] in said
    assert "Anyone who has this address can use the page, also from other machines.\n" in said
