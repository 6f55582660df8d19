"""REST: what each kind of trouble means, against a small server that misbehaves to order."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.credentials import load_credentials
from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.adapters.bybit.transport.exchange_clock import ALERT_MS, REFUSE_MS, ServerClock
from keel.adapters.bybit.transport.rate_budget import Budget
from keel.adapters.bybit.transport.rest import RestClient
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, Outcome
from keel.core.errors import SafetyError
from tests.adapters.bybit.conftest import fast_ms, fast_sleep

Answers = list[Callable[[web.Request], web.StreamResponse]]


@asynccontextmanager
async def server(answers: Answers, notices: list[Notice] | None = None) -> AsyncIterator[tuple[RestClient, list[web.Request]]]:
    """Answers in turn, the last for ever."""
    heard: list[web.Request] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        heard.append(request)
        await request.read()
        return answers[min(len(heard), len(answers)) - 1](request)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    where = endpoints(Environment.SANDBOX, f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        async with aiohttp.ClientSession() as session:
            yield RestClient(
                session, where, load_credentials(where, environ={}), ServerClock(), Budget(fast_ms, fast_sleep), deadline_s=0.3,
                sleep=fast_sleep, rng=random.Random(1), notify=(notices if notices is not None else []).append,
            ), heard  # fmt: skip
    finally:
        await runner.cleanup()


def envelope(code: int = 0, result: Any = None, headers: dict[str, str] | None = None) -> Callable[[web.Request], web.Response]:
    body = {"retCode": code, "retMsg": "words", "result": result or {}, "retExtInfo": {}, "time": 5}
    return lambda request: web.json_response(body, headers=headers)


def cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()  # type: ignore[attr-defined]
    return web.Response()


def plain(status: int, text: str = "") -> Callable[[web.Request], web.Response]:
    return lambda request: web.Response(status=status, text=text)


CASES: dict[str, tuple[Callable[[web.Request], web.StreamResponse], Outcome]] = {
    "ok": (envelope(), Outcome.OK),
    "no": (envelope(110007), Outcome.REFUSED),
    "unheard of": (envelope(987654), Outcome.REFUSED),
    "10000": (envelope(10000), Outcome.UNKNOWN),
    "10016": (envelope(10016), Outcome.UNKNOWN),
    "-1": (envelope(-1), Outcome.UNKNOWN),
    "110072": (envelope(110072), Outcome.DUPLICATE),
    "170141": (envelope(170141), Outcome.DUPLICATE),
    "110001": (envelope(110001), Outcome.GONE),
    "110043": (envelope(110043), Outcome.UNCHANGED),
    "10002": (envelope(10002), Outcome.CLOCK),
    "10006": (envelope(10006), Outcome.LIMITED),
    "10003": (envelope(10003), Outcome.DENIED),
    "401": (plain(401), Outcome.DENIED),
    "403": (plain(403, "access too frequent"), Outcome.BANNED),
    "404": (plain(404), Outcome.REFUSED),
    "429": (plain(429), Outcome.BUSY),
    "500": (plain(500), Outcome.UNKNOWN),
    "503": (plain(503), Outcome.UNKNOWN),
    "redirect": (lambda request: web.Response(status=302, headers={"Location": "https://example.com/"}), Outcome.UNKNOWN),
    "html": (plain(200, "<html>"), Outcome.UNKNOWN),
    "empty": (plain(200, ""), Outcome.UNKNOWN),
    "other json": (plain(200, "[1, 2]"), Outcome.UNKNOWN),
    "cut": (cut, Outcome.UNKNOWN),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_command_is_sent_once_and_its_answer_classed(name: str) -> None:
    answer, expected = CASES[name]
    async with server([answer]) as (rest, heard):
        found = await rest.command("/v5/order/create", {"symbol": "BTCUSDT"})
        assert found.outcome is expected
        assert len(heard) == 1


async def test_a_silent_server_leaves_a_command_unknown() -> None:
    import asyncio

    release = asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    app = web.Application()
    app.router.add_post("/v5/order/create", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    where = endpoints(Environment.SANDBOX, f"http://127.0.0.1:{runner.addresses[0][1]}")
    async with aiohttp.ClientSession() as session:
        rest = RestClient(session, where, load_credentials(where, environ={}), ServerClock(), Budget(fast_ms, fast_sleep), deadline_s=0.1)
        assert (await rest.command("/v5/order/create", {})).outcome is Outcome.UNKNOWN
    release.set()
    await runner.cleanup()


async def test_without_a_connection_nothing_was_sent() -> None:
    where = endpoints(Environment.SANDBOX, "http://127.0.0.1:9")
    async with aiohttp.ClientSession() as session:
        rest = RestClient(session, where, load_credentials(where, environ={}), ServerClock(), Budget(fast_ms, fast_sleep))
        assert (await rest.command("/v5/order/create", {})).outcome is Outcome.NOT_SENT


@pytest.mark.parametrize("trouble", ["cut", "503", "10016", "html", "10006", "10002", "429"])
async def test_reads_are_asked_again(trouble: str) -> None:
    async with server([CASES[trouble][0], CASES[trouble][0], envelope(0, {"marginMode": "REGULAR_MARGIN"})]) as (rest, heard):
        assert (await rest.ask("/v5/account/info")).outcome is Outcome.OK
        assert len([one for one in heard if one.path == "/v5/account/info"]) in (2, 3)


async def test_reads_that_are_refused_are_not_asked_again() -> None:
    async with server([envelope(10001)]) as (rest, heard):
        with pytest.raises(ExchangeRefusal) as caught:
            await rest.ask("/v5/account/info")
        assert (caught.value.code, len(heard)) == (10001, 1)


async def test_after_a_403_nothing_is_sent_at_all() -> None:
    notices: list[Notice] = []
    async with server([plain(403)], notices) as (rest, heard):
        for _ in range(5):
            assert (await rest.command("/v5/order/cancel", {})).outcome is Outcome.BANNED
        with pytest.raises(ExchangeRefusal):
            await rest.ask("/v5/account/info")
        assert len(heard) == 1
        assert [(notice.code, notice.freezes) for notice in notices] == [("banned", True)]


async def test_a_get_has_no_body_and_a_post_no_query() -> None:
    async with server([envelope()]) as (rest, heard):
        await rest.ask("/v5/order/realtime", {"category": "linear", "cursor": "a%3A2%2C"})
        await rest.command("/v5/order/create", {"symbol": "BTCUSDT"})
        assert (heard[0].can_read_body, heard[0].rel_url.raw_query_string) == (False, "category=linear&cursor=a%3A2%2C")
        assert (heard[1].rel_url.raw_query_string, heard[1].headers["Content-Type"]) == ("", "application/json")


async def test_pages_end_also_where_the_cursor_goes_in_circles() -> None:
    page = {"list": [{"symbol": "A", "takerFeeRate": "1", "makerFeeRate": "1"}], "nextPageCursor": "same"}
    async with server([envelope(0, page)]) as (rest, heard):
        assert len([page async for page in rest.pages("/v5/order/history", {})]) == 2
        assert len(heard) == 2


# --- the clock ---


@pytest.mark.parametrize(
    ("off_ms", "verdict"),
    [
        (0, "fine"),
        (240, "fine"),
        (-240, "fine"),
        (300, "told"),
        (-300, "told"),
        (1_000, "refused"),
        (-1_000, "refused"),
        (10_000, "refused"),
    ],
)
async def test_a_clock_that_is_off(off_ms: int, verdict: str) -> None:
    assert ALERT_MS < 300 < REFUSE_MS
    notices: list[Notice] = []
    clock = ServerClock(lambda: 1_700_000_000_000, notices.append)

    async def ask() -> int:
        return 1_700_000_000_000 + off_ms

    assert await clock.measure(ask) == off_ms
    assert clock.now_ms == 1_700_000_000_000 + off_ms
    if verdict == "refused":
        with pytest.raises(SafetyError, match="NTP"):
            clock.check()
    else:
        clock.check()
    assert bool(notices) == (verdict == "told")


async def test_the_shortest_round_trip_is_believed() -> None:
    local = iter([0, 400, 1_000, 1_010, 2_000, 2_200])
    servers = iter([900, 1_105, 2_500])
    clock = ServerClock(lambda: next(local, 3_000))

    async def ask() -> int:
        return next(servers)

    assert await clock.measure(ask) == 100
    assert clock.uncertainty_ms == 5
