"""A client's newest request replaces its older ones; all others wait for their turn."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pyrovae.commands.explorer.guard import Refused
from pyrovae.commands.explorer.requests import Request, Requests
from tests.support.explored import Client, Told, served


class Asked(threading.Thread):
    """A request that is asked for in a thread of its own."""

    def __init__(self, requests: Requests, request: Request, gone: bool = False) -> None:
        super().__init__(daemon=True)
        self.requests, self.request, self.gone, self.found = requests, request, gone, "nothing"
        self.start()

    def run(self) -> None:
        try:
            answer = self.requests.ask(self.request, lambda: self.gone)
            self.found = "dropped" if answer is None else answer["is"]
        except ConnectionAbortedError:
            self.found = "gone"

    def result(self) -> str:
        """What it got within five seconds."""
        self.join(5)
        return self.found


def named(name: str, client: str = "a", number: int | None = None) -> Request:
    return Request(lambda: {"is": name}, client, number)


@pytest.fixture
def requests() -> Iterator[Requests]:
    found = Requests(most=8, clients=3)
    yield found
    found.close()


def wait_for(requests: Requests, count: int) -> None:
    """Waits until so many requests wait."""
    end = time.monotonic() + 5
    while len(requests._waiting) != count and time.monotonic() < end:
        time.sleep(0.001)
    assert len(requests._waiting) == count


def answered(requests: Requests, *asked: Asked) -> list[str]:
    threading.Thread(target=requests.serve, daemon=True).start()
    return [each.result() for each in asked]


def test_a_newer_request_drops_those_that_wait_at_once(requests: Requests) -> None:
    first = Asked(requests, named("first", number=1))
    wait_for(requests, 1)
    second = Asked(requests, named("second", number=2))
    assert first.result() == "dropped"  # Nobody serves yet: it does not wait for its turn.
    wait_for(requests, 1)
    assert answered(requests, second) == ["second"]


def test_a_request_that_comes_late_is_dropped(requests: Requests) -> None:
    newer = Asked(requests, named("newer", number=7))
    wait_for(requests, 1)
    assert Asked(requests, named("late", number=6)).result() == "dropped"
    same = Asked(requests, named("same", number=7))
    wait_for(requests, 2)
    assert answered(requests, newer, same) == ["newer", "same"]
    assert Asked(requests, named("too late", number=5)).result() == "dropped"


def test_requests_of_others_and_without_a_number_stay(requests: Requests) -> None:
    asked = []
    for i, (client, number) in enumerate([("a", 1), ("b", 1), ("a", None), ("", None)]):
        asked.append(Asked(requests, named(f"{client}{number}", client, number)))
        wait_for(requests, i + 1)
    newest = Asked(requests, named("newest", "a", 2))
    assert asked[0].result() == "dropped"
    wait_for(requests, 4)
    request = [each.request for each in (asked[1], newest, asked[2], asked[3])]
    assert requests._waiting == request  # Those with a number go first.
    found = answered(requests, *asked, newest)
    assert found == ["dropped", "b1", "aNone", "None", "newest"]


def test_too_many_requests_are_refused(requests: Requests) -> None:
    asked = [Asked(requests, named(str(i))) for i in range(8)]
    wait_for(requests, 8)
    with pytest.raises(Refused, match="8 requests wait already"):
        requests.ask(named("more"))
    assert sorted(answered(requests, *asked)) == [str(i) for i in range(8)]


@pytest.mark.slow
def test_a_request_of_a_client_that_has_gone_is_not_computed(requests: Requests) -> None:
    assert Asked(requests, named("gone"), gone=True).result() == "gone"
    wait_for(requests, 0)
    with served(Told(seconds=0.4)) as client:
        head = f"POST /api/decode HTTP/1.1\r\nHost: localhost:{client.port}\r\nContent-Length: 2"
        head += f"\r\nX-Token: {client.token}\r\nContent-Type: application/json\r\n\r\n{{}}"
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", client.port)) as connection:
                connection.sendall(head.encode())
        assert client.ask("decode", {"z": [1]}) == (200, {"z": [1]})
        assert len(client.site.explorer.seen) <= 3


def test_few_clients_are_remembered(requests: Requests) -> None:
    threading.Thread(target=requests.serve, daemon=True).start()
    for client in "abcdefg":
        assert requests.ask(named(client, client, 5)) == {"is": client}
    assert list(requests._newest) == ["e", "f", "g"]


def test_an_error_ends_its_own_request_only(requests: Requests) -> None:
    threading.Thread(target=requests.serve, daemon=True).start()
    with pytest.raises(ZeroDivisionError):
        requests.ask(Request(lambda: {"is": 1 // 0}))
    assert requests.ask(named("next")) == {"is": "next"}


@pytest.mark.slow
def test_an_error_in_spare_time_ends_nothing_else(requests: Requests) -> None:
    tried: list[float] = []

    def spare(seconds: float) -> bool:
        tried.append(seconds)
        raise ZeroDivisionError

    thread = threading.Thread(target=requests.serve, args=(spare,), daemon=True)
    thread.start()
    time.sleep(0.7)  # Longer than it waits before it uses spare time.
    assert len(tried) == 1 and Asked(requests, named("next")).result() == "next"


def newest_wins(client: Client, count: int, per_second: float) -> list[str]:
    """Asks for positions at a rate; what each request got, in the request of the positions."""
    found: list[str] = ["nothing"] * count

    def ask(position: int) -> None:
        given = {"z": [position], "client": "slider", "order": position}
        code, answer = client.ask("decode", given)
        right = (code, answer.get("z")) == (200, [position])
        found[position] = "right" if right else "dropped" if answer.get("dropped") else "wrong"

    asked = [threading.Thread(target=ask, args=(position,)) for position in range(count)]
    began = time.monotonic()
    for position, each in enumerate(asked):
        time.sleep(max(0.0, began + position / per_second - time.monotonic()))
        each.start()
    for each in asked:
        each.join(10)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "seconds"),
    [(30, 0.12), pytest.param(300, 0.04, marks=pytest.mark.slow)],
    ids=["a_few", "hundreds"],
)
def test_the_newest_position_wins_under_load(count: int, seconds: float) -> None:
    with served(Told(seconds=seconds)) as client:
        found = newest_wins(client, count, per_second=2.4 / seconds)
        assert found[-1] == "right"
        assert set(found) == {"right", "dropped"}
        # 2.4 requests come while one is answered.
        assert 0.25 < found.count("right") / len(found) < 0.6
        assert len(client.site.explorer.seen) == found.count("right")
        assert client.ask("decode", {"z": [1]}) == (200, {"z": [1]})


@pytest.mark.slow
def test_an_explorer_that_keeps_up_answers_every_position() -> None:
    with served(Told()) as client:
        assert newest_wins(client, 20, per_second=40) == ["right"] * 20


@pytest.mark.slow
def test_spare_time_is_used_in_pieces_until_nothing_is_left(requests: Requests) -> None:
    pieces = [False, False, True]
    taken: list[float] = []

    def spare(seconds: float) -> bool:
        taken.append(seconds)
        return pieces[len(taken) - 1]

    threading.Thread(target=requests.serve, args=(spare,), daemon=True).start()
    end = time.monotonic() + 5
    while len(taken) < len(pieces) and time.monotonic() < end:
        time.sleep(0.01)
    assert Asked(requests, named("first")).result() == "first"
    time.sleep(0.8)  # Longer than the time after which it is idle: nothing is left to do.
    assert taken == [0.05] * 3
