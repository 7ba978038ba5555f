"""Requests that the server of the explorer answers, and those that it refuses."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pyrovae.commands.explorer.connections import Connections
from pyrovae.commands.explorer.rate import Rate
from pyrovae.commands.explorer.server import listening, running
from pyrovae.utils.errors import InputError
from tests.support.explored import ANSWERS, FILES, Client, Told, served


@pytest.fixture
def client() -> Iterator[Client]:
    with served(Told()) as found:
        yield found


def test_the_page_and_its_files_are_sent_with_headers_that_confine_them(client: Client) -> None:
    kinds = {"/": "text/html", "/style.css": "text/css", "/main.js": "text/javascript"}
    for path, kind in kinds.items():
        query = f"?token={client.token}" if path == "/" else ""
        code, headers, content = client.request("GET", path + query, X_Token=None)
        assert code == 200 and headers["Content-Type"] == f"{kind}; charset=utf-8"
        assert content == FILES[path.removeprefix("/") or "index.html"]
        policy = headers["Content-Security-Policy"].split("; ")
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Server"] == "pyrovae"


def test_the_page_needs_the_token_and_says_so_in_one_line(client: Client) -> None:
    for query in ("", "?token=", "?token=wrong", f"?token={client.token}x", "?token=%ff%00é"):
        code, headers, content = client.request("GET", f"/{query}")
        assert code == 403 and headers["Content-Type"].startswith("text/plain")
        assert content.count(b"\n") == 1 and b"token" in content
        assert client.token.encode() not in content


@pytest.mark.parametrize("token", [None, "", "wrong", "é"])
def test_the_api_needs_the_token(client: Client, token: str | None) -> None:
    code, answer = client.ask("decode", {"z": [1]}, X_Token=token)
    assert code == 403 and "token" in answer["error"]
    assert client.site.explorer.seen == []


def test_an_answer_is_json(client: Client) -> None:
    assert client.ask("decode", {"z": [1, 2.5]}) == (200, {"z": [1, 2.5]})
    code, headers, content = client.request("POST", "/api/decode", b'{"z": [1]}')
    assert code == 200 and headers["Content-Type"] == "application/json"
    assert client.site.explorer.seen[-1] == {"z": [1]}


def test_client_and_order_are_for_the_server_alone(client: Client) -> None:
    assert client.ask("decode", {"z": [1], "client": "a", "order": 3})[0] == 200
    assert client.site.explorer.seen == [{"z": [1]}]
    for wrong in ({"client": 3}, {"client": "x" * 65}, {"order": "3"}, {"order": True}):
        assert client.ask("decode", wrong)[0] == 400


def test_other_names_of_the_server_are_refused(client: Client) -> None:
    """A page of another site may point a name of its own to this machine (DNS rebinding)."""
    port, path = client.port, f"/?token={client.token}"
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}"):
        assert client.request("GET", path, Host=host)[0] == 200
        assert client.ask("decode", {}, Host=host, Origin=f"http://{host}")[0] == 200
    for name in ("evil.example", "127.0.0.1", "127.0.0.1.evil.example", "127.0.0.1@evil", ""):
        for host in (name, f"{name}:{port}", f"{name}:{port + 1}"):
            if host != f"127.0.0.1:{port}":
                assert client.request("GET", path, Host=host)[0] == 403, host
                assert client.ask("decode", {}, Host=host)[0] == 403
                assert client.request("GET", "/main.js", Host=host)[0] == 403
    assert client.request("GET", path, Host=None)[0] == 403
    twice = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil\r\n\r\n"
    assert client.raw(twice.encode()).startswith(b"HTTP/1.1 403")
    assert len(client.site.explorer.seen) == 4


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1", ""]
)
def test_other_pages_are_refused(client: Client, origin: str) -> None:
    code, answer = client.ask("decode", {}, Origin=origin.format(port=client.port))
    assert code == 403 and "Origin" in answer["error"]
    assert client.site.explorer.seen == []


@pytest.mark.parametrize(
    "path",
    ["/../server.py", "/..%2fserver.py", "/%2e%2e/server.py", "/page/index.html", "//etc/passwd"]
    + ["/etc/passwd", "/main.js/", "/main.js%00.css", "/server.py", "http://127.0.0.1/main.js"]
    + ["/.", "/..", "\\main.js", "/style.css;a", "/%6dain.js"],
)
def test_a_path_opens_no_file(client: Client, path: str) -> None:
    code, _, content = client.request("GET", path)
    assert (code, content) == (404, b"no such page\n")
    name = path.removeprefix("/")
    assert client.request("POST", f"/api/{name}", b"{}")[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/decode", 405),
        ("POST", "/", 405),
        ("POST", "/main.js", 405),
        ("PUT", "/api/decode", 405),
        ("OPTIONS", "/api/decode", 405),
        ("DELETE", "/", 405),
        ("POST", "/api/nothing", 404),
        ("POST", "/api/", 404),
        ("GET", "/favicon.ico", 204),
    ],
)
def test_other_methods_and_names_are_refused(
    client: Client, method: str, path: str, code: int
) -> None:
    found, headers, content = client.request(method, path, b"{}" if method == "POST" else b"")
    assert found == code and content.count(b"\n") <= 1
    assert "Content-Security-Policy" in headers


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "not JSON"),
        (b"[]", "must be a JSON object, got list"),
        (b"null", "must be a JSON object"),
        (b'{"z": [NaN]}', "finite numbers, got NaN"),
        (b'{"z": [-Infinity]}', "finite numbers, got -Infinity"),
        (b'{"z": [1e999]}', "finite numbers, got 1e999"),
        (b'{"z": [9007199254740993]}', "numbers up to 2**53"),
        (b'{"z": [' + b"9" * 9000 + b"]}", "numbers up to 2**53"),
        (b'{"z": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON"),
        (b'{"z": "\xff"}', "not JSON"),
        (b"{'z': 1}", "not JSON"),
        (b'{"z": "text"}', "z: must be a list of numbers"),
    ],
)
def test_a_wrong_body_is_one_line(client: Client, body: bytes, expected: str) -> None:
    code, _, content = client.request("POST", "/api/decode", body)
    line = json.loads(content)["error"]
    assert code == 400 and expected in line and "\n" not in line and len(line) < 300


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Content_Length": None}, 411),
        ({"Content_Length": None, "Transfer_Encoding": "chunked"}, 411),
        ({"Transfer_Encoding": "chunked"}, 411),
        ({"Content_Length": "-1"}, 400),
        ({"Content_Length": "1e3"}, 400),
        ({"Content_Length": "2, 2"}, 400),
        ({"Content_Length": "٣"}, 400),
        ({"Content_Length": "2000001"}, 413),
        ({"Content_Length": "9" * 18}, 413),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": None}, 415),
        ({"Content_Type": "multipart/form-data"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_length_and_type_of_a_body_are_checked(
    client: Client, headers: dict[str, str | None], code: int
) -> None:
    assert client.ask("decode", {}, **headers)[0] == code


def test_an_upload_is_bytes_of_an_image_up_to_20_megabytes(client: Client) -> None:
    for kind in ("image/png", "application/octet-stream"):
        code, _, content = client.request("POST", "/api/upload", b"\0" * 70_000, Content_Type=kind)
        assert (code, json.loads(content)) == (200, {"size": 70_000})
    assert client.ask("upload", {"bytes": "x"})[0] == 415
    code, _, content = client.request(
        "POST", "/api/upload", b"\0" * 20_000_001, Content_Type="image/png"
    )
    said = b"too large: 20,000,001 bytes, allowed are 20,000,000"
    assert code == 413 and said in content  # The client reads it to the end.


def test_a_bug_is_one_line_here_and_there(
    client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    code, answer = client.ask("fail", {})
    assert (code, answer) == (500, {"error": "the explorer failed: KeyError"})
    said = capfd.readouterr()
    assert said.out == "" and re.fullmatch(
        r"error: fail: KeyError: 'a bug' \(explored\.py:\d+\)\n", said.err
    )


@pytest.mark.slow
def test_a_client_that_goes_is_no_error(client: Client, capfd: pytest.CaptureFixture[str]) -> None:
    client.site.explorer.seconds = 0.1
    head = f"POST /api/decode HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n"
    head += f"X-Token: {client.token}\r\nContent-Type: application/json\r\n"
    for rest in ("", "Content-Length: 5\r\n\r\n{", "Content-Length: 2\r\n\r\n{}"):
        with socket.create_connection(("127.0.0.1", client.port)) as gone:
            gone.sendall((head + rest).encode())
            reset = b"\1\0\0\0\0\0\0\0"  # Closing resets the connection.
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    assert client.ask("decode", {}) == (200, {"z": []})
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_two_tabs_get_their_own_answers(client: Client) -> None:
    client.site.explorer.seconds = 0.02
    found: dict[str, list[object]] = {"a": [], "b": []}

    def tab(name: str) -> None:
        for order in range(5):
            given = {"z": [ord(name), order], "client": name, "order": order}
            found[name].append(client.ask("decode", given))

    tabs = [threading.Thread(target=tab, args=(name,)) for name in found]
    for each in tabs:
        each.start()
    for each in tabs:
        each.join()
    for name, answers in found.items():
        assert answers == [(200, {"z": [ord(name), order]}) for order in range(5)]


def test_requests_beyond_the_rate_are_refused_in_one_line() -> None:
    with served(Told()) as client:
        client.site.rate = Rate(per_second=1, burst=3, clock=lambda: 0.0)
        assert client.ask("decode", {}, X_Token="wrong")[0] == 403  # It takes nobody's place.
        codes = [client.ask("decode", {})[0] for _ in range(5)]
        assert codes == [200, 200, 200, 429, 429]
        code, answer = client.ask("decode", {})
        assert "1 requests per second" in answer["error"]
        assert client.request("GET", "/main.js")[0] == 200


def test_a_rate_fills_again() -> None:
    now = 0.0
    rate = Rate(per_second=10, burst=2, clock=lambda: now)
    assert [rate.allows() for _ in range(3)] == [True, True, False]
    now = 0.1
    assert [rate.allows() for _ in range(2)] == [True, False]
    now = 100.0
    assert [rate.allows() for _ in range(3)] == [True, True, False]


def test_slow_clients_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(Told()) as client:
        client.site.connections = Connections(most=4)
        slow = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(20)]
        for connection in slow:
            connection.sendall(b"POST /api/decode HTTP/1.1\r\nHost: ")
        began = time.monotonic()
        assert client.ask("decode", {}) == (200, {"z": []})
        assert time.monotonic() - began < 2
        assert slow[0].recv(1) == b""  # The oldest was ended.
        for connection in slow:
            connection.close()


@pytest.mark.slow
def test_a_request_must_arrive_within_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrovae.commands.explorer.handler.SECONDS", 0.3)
    monkeypatch.setattr("pyrovae.commands.explorer.server.REST", 0.1)
    with served(Told()) as client:
        with socket.create_connection(("127.0.0.1", client.port), timeout=5) as slow:
            began = time.monotonic()
            try:
                for byte in b"GET / HTTP/1.1\r\n" * 10:  # One at a time: each is in time.
                    slow.sendall(bytes([byte]))
                    time.sleep(0.05)
            except OSError:
                pass
            assert time.monotonic() - began < 2
        assert client.ask("decode", {}) == (200, {"z": []})


def test_busy_places_refuse_new_connections() -> None:
    connections = Connections(most=2)
    sockets = [socket.socket() for _ in range(4)]
    assert connections.enter(sockets[0]) and connections.enter(sockets[1])
    connections.ask(sockets[0])
    assert connections.enter(sockets[2])  # In place of the second.
    connections.ask(sockets[2])
    assert not connections.enter(sockets[3])
    connections.leave(sockets[0])
    assert connections.enter(sockets[3])
    for each in sockets:
        each.close()


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("127.0.0.1", -1, "--port: allowed are 0"),
        ("127.0.0.1", 65536, "got 65536"),
        ("192.0.2.1", 0, "--host: 192.0.2.1: allowed are addresses of this machine"),
        ("a..b", 0, "--host: a..b: allowed"),
        ("x" * 300, 0, "allowed are addresses"),
    ],
)
def test_a_wrong_address_is_one_line(host: str, port: int, expected: str) -> None:
    with pytest.raises(InputError, match=re.escape(expected)):
        listening(host, port)


def test_a_taken_port_is_one_line() -> None:
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port: {port} is in use; 0 chooses a free port"):
            listening("127.0.0.1", port)


def test_all_addresses_are_one_that_others_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(listening("0.0.0.0", 0), ANSWERS, Told(), "0.0.0.0") as (site, address):
        name, port = re.findall(r"http://(.*):(\d+)/\?token=[\w-]{32}", address)[0]
        assert name != "0.0.0.0"
        url = f"{name}:{port}".encode()
        with socket.create_connection((name, int(port)), timeout=5) as connection:
            connection.sendall(b"GET /favicon.ico HTTP/1.1\r\nHost: " + url + b"\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 204")
