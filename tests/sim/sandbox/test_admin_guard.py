"""The admin endpoints answer to this machine by its own name, to no page elsewhere, and to nothing that is large or deep without end."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from keel.sim.sandbox.http.guard import DEEPEST, MOST_BYTES, depth
from tests.sim.sandbox.conftest import Sandbox, made_bars, stepping

PATHS = [
    ("GET", "/admin/about"), ("GET", "/admin/truth"), ("GET", "/admin/faults"), ("POST", "/admin/faults"), ("POST", "/admin/step"),
    ("POST", "/admin/stop"), ("POST", "/admin/account"),
]  # fmt: skip


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with stepping(made_bars(60)) as made:
        yield made


def ask(sandbox: Sandbox, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    """A request whose headers are all in the test's hand."""
    line = http.client.HTTPConnection("127.0.0.1", sandbox.server.port, timeout=10)
    line.putrequest(method, path, skip_host=True)
    for name, value in ({"Host": f"127.0.0.1:{sandbox.server.port}"} | headers).items():
        line.putheader(name, value)
    if body is not None:
        line.putheader("Content-Length", str(len(body)))
    line.endheaders(body)
    answer = line.getresponse()
    content = answer.read()
    line.close()
    return answer.status, json.loads(content)


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_a_foreign_host_or_origin_is_refused(method: str, path: str, sandbox: Sandbox) -> None:
    port = sandbox.server.port
    before = sandbox.server.engine.now_ms
    for headers in (
        {"Host": "evil.example"}, {"Host": f"evil.example:{port}"}, {"Host": "127.0.0.1:1"}, {"Host": ""},
        {"Host": f"127.0.0.1.evil.example:{port}"}, {"Host": f"127.0.0.1:{port}@evil.example"}, {"Host": "127.0.0.1:x"},
    ):  # fmt: skip
        status, answer = ask(sandbox, method, path, b"{}" if method == "POST" else None, **headers)
        assert (status, list(answer)) == (403, ["error"]), headers
        break_delay(sandbox)
    for origin in ("http://evil.example", "null", "https://127.0.0.1", f"https://localhost:{port}", "http://127.0.0.1:1", ""):
        status, answer = ask(sandbox, method, path, b"{}" if method == "POST" else None, Origin=origin)
        assert (status, list(answer)) == (403, ["error"]), origin
        break_delay(sandbox)
    assert sandbox.server.engine.now_ms == before and sandbox.server.error is None
    assert sandbox.get("/admin/about")["refused"] == 13  # and it was not stopped


def break_delay(sandbox: Sandbox) -> None:
    """So that a table of cases does not wait for minutes."""
    sandbox.server.admin.guard._recent.clear()


def test_our_own_names_are_let_in(sandbox: Sandbox) -> None:
    port = sandbox.server.port
    for headers in (
        {}, {"Host": f"localhost:{port}"}, {"Origin": f"http://127.0.0.1:{port}"}, {"Origin": f"http://localhost:{port}"},
    ):  # fmt: skip
        assert ask(sandbox, "GET", "/admin/about", **headers)[0] == 200, headers
    assert sandbox.get("/admin/about")["refused"] == 0


def test_bodies_are_bounded_in_size_and_depth(sandbox: Sandbox) -> None:
    for path in ("/admin/step", "/admin/faults"):
        status, answer = ask(sandbox, "POST", path, b'{"bars": 1, "x": "' + b"x" * MOST_BYTES + b'"}')
        assert status == 413 and "larger than" in answer["error"]
        status, answer = ask(sandbox, "POST", path, b'{"bars": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
        assert status == 400 and f"more than {DEEPEST} deep" in answer["error"]
        for nonsense in (b"", b"[", b"\xff\xfe", b'"\\ud800"', b"7", b'{"rules": 7}', b'{"bars": 1e999}', b'{"bars": true}', b"[" * 60):
            status, answer = ask(sandbox, "POST", path, nonsense)
            assert status in (200, 400) and sandbox.server.error is None, (path, nonsense, answer)
        break_delay(sandbox)


def test_repeated_refusals_are_counted_and_answered_later_and_later(sandbox: Sandbox) -> None:
    took = []
    for _ in range(7):
        began = time.monotonic()
        ask(sandbox, "GET", "/admin/truth", Host="evil.example")
        took.append(time.monotonic() - began)
    assert sum(took[-2:]) > 1.0 and sandbox.get("/admin/about")["refused"] == 7
    began = time.monotonic()
    sandbox.get("/admin/truth")
    assert time.monotonic() - began < took[-1]  # who may is not kept waiting


def test_depth_is_that_of_brackets_outside_of_texts() -> None:
    assert [depth(text) for text in (b"7", b"{}", b'{"a": [1, {"b": 2}]}', b'{"a[[[": "\\"[[{"}', b"[[[")] == [0, 1, 3, 1, 3]


DROP = {"side": "http", "path": "/v5/order/create"}


MEANINGLESS: list[dict[str, Any]] = [
    {"rules": [{"match": DROP, "action": {"kind": "delay", "ms": -1}}]},
    {"rules": [{"match": DROP, "action": {"kind": "delay", "ms": 10**12}}]},
    {"rules": [{"match": DROP, "when": "before_apply", "action": {"kind": "dup", "n": 10**9}}]},
    {"rules": [{"match": DROP, "when": "before_apply", "action": {"kind": "dup", "n": 0}}]},
    {"rules": [{"match": DROP, "action": {"kind": "truncate", "bytes": -5}}]},
    {"rules": [{"match": DROP, "action": {"kind": "error", "http": 7}}]},
    {"rules": [{"match": {**DROP, "nth": 0}, "action": "drop"}]},
    {"rules": [{"match": {**DROP, "times": -1}, "action": "drop"}]},
    {"rules": [{"match": {**DROP, "prob": 1.5}, "action": "drop"}]},
    {"rules": [{"match": {"side": "ws", "topic": "order"}, "action": {"kind": "reorder", "window": 10**9}}]},
    {"rules": [{"match": {"side": "ws", "topic": "order"}, "action": {"kind": "close", "code": 1}}]},
    {"rules": [{"action": {"kind": "ban", "s": -1.0}}]},
    {"rules": [{"action": {"kind": "lag_query", "ms": -250}}]},
    {"rules": [], "seed": -1},
    {"rules": [], "seed": 2**63},
]


def test_what_no_rule_and_no_step_can_mean_is_refused_and_changes_nothing(sandbox: Sandbox) -> None:
    for rules in MEANINGLESS:
        status, answer = ask(sandbox, "POST", "/admin/faults", json.dumps({"clear": True, **rules}).encode())
        assert status == 400 and "must lie from" in answer["error"], answer
        assert sandbox.get("/admin/faults") == {"rules": []}
    for bars in (0, -3, 10**7, 10**40, 1.5, True, "2", None, [1]):
        assert ask(sandbox, "POST", "/admin/step", json.dumps({"bars": bars}).encode())[0] == 400
    assert sandbox.get("/admin/about")["played_to"] == sandbox.server.engine.feed.start_ms()
