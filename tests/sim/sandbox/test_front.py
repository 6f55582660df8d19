"""The way of a request by its path, and the bytes of its answer: those of aiohttp's own server and response, though neither is asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from keel.sim.sandbox.http.routing import MOST_BYTES
from tests.sim.sandbox.conftest import PATIENCE_S, Sandbox, flat_bars, stepping

TIME = "/v5/market/time"
BOOK = "/v5/market/orderbook?category=linear&symbol=BTCUSDT&limit=1000"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One whose market stands."""
    with stepping(flat_bars(30_000, 30_010)) as running:
        yield running


class Line:
    """A connection on which bytes are sent and whole answers are read."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._socket = socket.create_connection(("127.0.0.1", sandbox.server.port), timeout=PATIENCE_S)
        self._file = self._socket.makefile("rb")

    def ask(self, request: str, body: bytes = b"") -> tuple[list[str], bytes]:
        """(lines of the head, body)"""
        self._socket.sendall(request.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        return self.read()

    def read(self) -> tuple[list[str], bytes]:
        """The next answer."""
        head = []
        while (line := self._file.readline().decode().rstrip("\r\n")) != "":
            head.append(line)
        length = next((int(each.partition(": ")[2]) for each in head if each.startswith("Content-Length")), 0)
        return head, self._file.read(length)

    def is_closed(self) -> bool:
        """Whether the other side has ended it."""
        return self._file.read(1) == b""

    def close(self) -> None:
        """End it."""
        self._file.close()
        self._socket.close()


@pytest.fixture
def line(sandbox: Sandbox) -> Iterator[Line]:
    """A new connection."""
    made = Line(sandbox)
    yield made
    made.close()


def without(head: list[str], *names: str) -> list[str]:
    """The head without some headers."""
    return [each for each in head if not each.startswith(names)]


@pytest.mark.parametrize("path", [TIME, BOOK])
def test_an_answer_is_written_as_aiohttp_writes_it(line: Line, path: str) -> None:
    """On a connection that stays open it is put together by hand; on one that ends after it, or of HTTP/1.0, by ``web.Response``."""
    by_hand, body = line.ask(f"GET {path} HTTP/1.1\nHost: x")
    again, _ = line.ask(f"GET {path} HTTP/1.1\nHost: x")
    kept, _ = line.ask(f"GET {path} HTTP/1.0\nHost: x\nConnection: keep-alive")
    ended, other = line.ask(f"GET {path} HTTP/1.1\nHost: x\nConnection: close")
    assert by_hand[0] == "HTTP/1.1 200 OK" and any(each.startswith("Date: ") and each.endswith(" GMT") for each in by_hand)
    assert [each.partition(":")[0] for each in by_hand[1:]] == ["Content-Type", "Content-Length", "Date", "Server"]
    assert without(by_hand, "Date") == without(again, "Date") == without(ended, "Date", "Connection")
    assert without(by_hand, "Date")[1:] == without(kept, "Date", "Connection")[1:]
    assert len(body) == len(other) and line.is_closed()


def test_requests_that_come_at_once_are_answered_in_turn(line: Line) -> None:
    both = f"GET {TIME} HTTP/1.1\nHost: x\n\nGET /v5/nothing HTTP/1.1\nHost: x"
    first, _ = line.ask(both)
    second, _ = line.read()
    assert (first[0], second[0]) == ("HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /v5/public/linear", 400),
        ("HEAD /v5/public/linear", 400),
        ("GET /v5/public/nothing", 404),
        ("GET /v5/private", 400),
        ("GET /admin/about", 200),
        ("HEAD /admin/about", 200),
    ],
)
def test_sockets_and_admin_are_found_by_their_path(line: Line, sandbox: Sandbox, request_line: str, status: int) -> None:
    """A socket without its handshake is 400."""
    head, body = line.ask(f"{request_line} HTTP/1.1\nHost: 127.0.0.1:{sandbox.server.port}\nConnection: close")
    assert head[0].split()[1] == str(status) and b"10017" not in body


@pytest.mark.parametrize("request_line", ["POST /v5/private", "GET /v5/public/", "GET /v5/public/linear/x", "PUT /admin/about", "GET /"])
def test_what_is_none_of_them_is_an_unknown_path_of_rest(line: Line, request_line: str) -> None:
    head, body = line.ask(f"{request_line} HTTP/1.1\nHost: x")
    assert head[0] == "HTTP/1.1 404 Not Found" and b'"retCode":10017' in body


def test_a_client_that_asks_before_it_sends_its_body_is_told_to_go_on(line: Line) -> None:
    goes_on, _ = line.ask("POST /v5/order/create HTTP/1.1\nHost: x\nContent-Length: 2\nExpect: 100-continue")
    head, body = line.ask("{}")
    assert (goes_on, head[0]) == (["HTTP/1.1 100 Continue"], "HTTP/1.1 200 OK") and b'"retCode":10001' in body


def test_another_expectation_is_refused(line: Line) -> None:
    assert (
        line.ask("POST /v5/order/create HTTP/1.1\nHost: x\nContent-Length: 0\nExpect: wonders")[0][0] == "HTTP/1.1 417 Expectation Failed"
    )


@pytest.mark.parametrize(("size", "status"), [(MOST_BYTES, "200"), (MOST_BYTES + 1, "413")])
def test_a_body_may_be_so_large_and_no_larger(line: Line, size: int, status: str) -> None:
    body = b'{"a":"' + b"x" * (size - 8) + b'"}'
    head, _ = line.ask(f"POST /v5/order/create HTTP/1.1\nHost: x\nContent-Length: {size}", body)
    assert head[0].split()[:2] == ["HTTP/1.1", status]  # what follows are Python's words, and differ by version
