"""The sandbox's answers beside a bare aiohttp answer, and the longest that any answer holds up all others.

usage: python -m benchmarks.sandbox_rates [--rounds K] [--bars N] [--block-ms B] [--slack X]

One process serves both: an aiohttp application whose only handler reads the body, if there is one, and answers with a small JSON object,
and a sandbox with a long past that stands still. Both get the same requests. A client in another process keeps eight connections busy and
reads whole answers. A rate is answers per second of the server's CPU time: on two idle cores that is what the clock says, and on busy ones
the clock says something else. Rounds alternate, each side's fastest counts, and the share of the bare answer's rate is held against GATES.
Candles and the book are asked for in two ways: again and again, as bots do, whose texts the sandbox keeps; and "anew", each question for
others, of which nothing is kept: candles further in the past, and a book of one level more or less.

The time for which the loop is held up is the CPU time of one callback of it, of the largest answers that every public endpoint gives
(nothing is kept of candles) and of lists of an account that has traded. Exits 1 when a share is below its gate (times ``slack``) or an
answer blocks for longer than ``block-ms``, three times of three.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import multiprocessing
import platform
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final

import msgspec
from aiohttp import web

from benchmarks.gates import Gate, hold
from keel.adapters.machine import wall_ms
from keel.sim.sandbox.http.endpoints.kline_texts import KlineTexts
from keel.sim.sandbox.market.feeds import WalkFeed
from keel.sim.sandbox.server import SandboxServer
from keel.sim.sandbox.settings import DEFAULT_KEY, DEFAULT_SECRET, AccountSettings, SandboxSettings

CONNECTIONS: Final = 8
TURNS: Final = 4
"""Requests of each connection in a round."""
ANSWER: Final = {"retCode": 0, "retMsg": "OK", "result": {}, "retExtInfo": {}, "time": 1_700_000_000_000}
GATES: Final = {
    "kline-200": 0.33, "kline-1000": 0.17, "kline-200 anew": 0.08, "kline-1000 anew": 0.04, "depth-1000": 0.6, "depth-1000 anew": 0.1,
    "order/create": 0.5,
}  # fmt: skip
"""Shares of the bare answer's rate. Goals that are missed: 0.3 and 0.08 of candles that are written anew."""
_KLINE: Final = "/v5/market/kline?category=linear&symbol=BTCUSDT"
_ASKED: Final = {
    "kline-200": f"{_KLINE}&interval=1&limit=200",
    "kline-1000": f"{_KLINE}&interval=1&limit=1000",
    "depth-1000": "/v5/market/orderbook?category=linear&symbol=BTCUSDT&limit=1000",
}
_LONG: Final = {
    **_ASKED,
    **{f"kline-{name}": f"{_KLINE}&interval={name}&limit=1000" for name in ("5", "30", "60", "240", "D", "W", "M")},
    **{
        f"{kind}-1000": f"/v5/market/{kind}-kline?category=linear&symbol=BTCUSDT&interval=15&limit=1000"
        for kind in ("mark-price", "index-price", "premium-index-price")
    },
    "kline from a start": f"{_KLINE}&interval=1&start={{early}}&limit=1000",
    "tickers": "/v5/market/tickers?category=linear",
    "instruments": "/v5/market/instruments-info?category=linear&limit=1000",
    "trades": "/v5/market/recent-trade?category=linear&symbol=BTCUSDT&limit=1000",
    "open interest": "/v5/market/open-interest?category=linear&symbol=BTCUSDT&intervalTime=5min&limit=200",
    "funding": "/v5/market/funding/history?category=linear&symbol=BTCUSDT&limit=200",
    "wallet": "+/v5/account/wallet-balance?accountType=UNIFIED",
    "positions": "+/v5/position/list?category=linear&settleCoin=USDT",
    "open orders": "+/v5/order/realtime?category=linear&symbol=BTCUSDT&limit=50",
    "order history": "+/v5/order/history?category=linear&limit=50",
    "executions": "+/v5/execution/list?category=linear&limit=100",
    "transactions": "+/v5/account/transaction-log?limit=50",
}


# --- the server's process ---


class Held:
    """The longest CPU time of one callback of the loop since it was last asked for."""

    def __init__(self) -> None:
        self._longest = 0.0
        run = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            began = time.thread_time()
            run(handle)
            self._longest = max(self._longest, time.thread_time() - began)

        self._methods = {False: run, True: timed}

    def watch(self, is_on: bool) -> None:
        """Time each callback from now on, or no longer (it is not for nothing)."""
        asyncio.Handle._run = self._methods[is_on]  # type: ignore[method-assign]  # the measuring of this benchmark

    def take(self) -> float:
        """Seconds; the count begins anew."""
        longest, self._longest = self._longest, 0.0
        return longest


def serve(pipe: Pipe, bars: int) -> None:
    """Both servers, until told to end; answers questions about time on the way."""
    asyncio.run(_serve(pipe, bars))


async def _serve(pipe: Pipe, bars: int) -> None:
    settings = SandboxSettings(pace="real", tick_ms=60_000, limit_factor=1e9, accounts=(AccountSettings(usdt=1e8),))
    sandbox = SandboxServer(settings, WalkFeed(["BTCUSDT", "ETHUSDT"], wall_ms(), 7, bars=bars), wall_ms)
    url = await sandbox.start()
    app = web.Application()

    async def bare(request: web.Request) -> web.Response:
        if request.body_exists:
            await request.json()
        return web.json_response(ANSWER)

    app.router.add_route("*", "/{tail:.*}", bare)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pipe.send((int(url.rpartition(":")[2]), runner.addresses[0][1]))
    held, loop = Held(), asyncio.get_running_loop()
    over = loop.create_future()

    def asked() -> None:
        match pipe.recv():
            case "cpu":
                pipe.send(time.process_time())
            case "watch":
                held.watch(True)
                pipe.send(held.take())
            case "held":
                pipe.send(held.take())
            case "rest":
                held.watch(False)
                pipe.send(None)
            case "forget":
                for market in sandbox.engine.markets.values():
                    market.klines = KlineTexts(market.candles, market.instrument.price_grid.decimals)
                pipe.send(None)
            case _:
                over.set_result(None)

    loop.add_reader(pipe.fileno(), asked)
    await over
    await sandbox.stop()
    await runner.cleanup()


# --- the client's ---


class Client:
    """Eight connections that stay open: all are written to, then all are read from."""

    def __init__(self, port: int) -> None:
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
        self._files = [one.makefile("rb", 1 << 20) for one in self._sockets]

    def ask(self, requests: list[bytes]) -> list[bytes]:
        """The bodies of at most eight requests."""
        for one, request in zip(self._sockets, requests, strict=False):
            one.sendall(request)
        return [self._read(file) for file, _ in zip(self._files, requests, strict=False)]

    @staticmethod
    def _read(file: Any) -> bytes:
        status, length = file.readline(), 0
        while (line := file.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        body: bytes = file.read(length)
        if b" 200 " not in status:
            raise SystemExit(f"the server answered {status!r} {body[:200]!r}")
        return body


def signed(payload: str) -> str:
    """The headers of a request with a key; ``payload`` is the query or the body."""
    stamp = str(wall_ms())
    sign = hmac.new(DEFAULT_SECRET.encode(), f"{stamp}{DEFAULT_KEY}{payload}".encode(), hashlib.sha256).hexdigest()
    return f"X-BAPI-API-KEY: {DEFAULT_KEY}\r\nX-BAPI-TIMESTAMP: {stamp}\r\nX-BAPI-SIGN: {sign}\r\n"


def get(path: str) -> bytes:
    """A GET; with a + before the path one with a key."""
    headers = signed(path.partition("?")[2]) if path.startswith("+") else ""
    return f"GET {path.lstrip('+')} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n".encode()


class Past:
    """Candles from the newest to the oldest, so many at a time, and around again: by then the texts of the first are forgotten."""

    def __init__(self, path: str, limit: int, bars: int) -> None:
        self._path, self._limit, self._windows = path, limit, bars // limit - 1
        self._newest, self._number = wall_ms(), 0

    def earlier(self) -> bytes:
        """The request for the next ones."""
        self._number = self._number % self._windows + 1
        return get(f"{self._path}&end={self._newest - self._number * self._limit * 60_000}")


class Depths:
    """Books of 1,000 levels and of 999 in turn: only the text of the latest is kept."""

    def __init__(self) -> None:
        self._depth = 999

    def other(self) -> bytes:
        """The request for the other one."""
        self._depth = 1999 - self._depth
        return get(_ASKED["depth-1000"].replace("limit=1000", f"limit={self._depth}"))


class Orders:
    """Limit orders that rest far below the market, each with an id of its own."""

    def __init__(self) -> None:
        self._number = 0

    def create(self) -> bytes:
        """The next one."""
        self._number += 1
        order = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.001", "price": "50000"}
        return post("/v5/order/create", {**order, "orderLinkId": f"rate-{self._number}"})

    @staticmethod
    def clear() -> bytes:
        """All that rest are cancelled: there is room for 500."""
        return post("/v5/order/cancel-all", {"category": "linear", "symbol": "BTCUSDT"})


def post(path: str, content: dict[str, str]) -> bytes:
    """A POST with a key."""
    body = msgspec.json.encode(content).decode()
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n{signed(body)}\r\n{body}".encode()


def rate(pipe: Pipe, client: Client, request: Callable[[], bytes]) -> float:
    """Answers per second of the server's CPU time."""
    client.ask([request() for _ in range(CONNECTIONS)])
    began = _told(pipe, "cpu")
    for _ in range(TURNS):
        for body in client.ask([request() for _ in range(CONNECTIONS)]):
            if b'"retCode":0,' not in body[:16].replace(b" ", b""):
                raise SystemExit(f"the server refused: {body[:300]!r}")
    return TURNS * CONNECTIONS / (_told(pipe, "cpu") - began)


def _told(pipe: Pipe, question: str) -> Any:
    pipe.send(question)
    return pipe.recv()


def shares(pipe: Pipe, sandbox: Client, bare: Client, orders: Orders, options: argparse.Namespace) -> dict[str, float]:
    """Each answer's rate as a share of the bare one's."""
    requests: dict[str, Callable[[], bytes]] = {name: lambda path=path: get(path) for name, path in _ASKED.items()}  # type: ignore[misc]  # a default binds it
    for limit in (200, 1000):
        requests[f"kline-{limit} anew"] = Past(_ASKED[f"kline-{limit}"], limit, options.bars).earlier
    requests["depth-1000 anew"] = Depths().other
    requests["order/create"] = orders.create
    best = {name: [0.0, 0.0] for name in requests}
    for _ in range(options.rounds):
        for name, request in requests.items():
            for place, client in enumerate((bare, sandbox)):
                best[name][place] = max(best[name][place], rate(pipe, client, request))
        sandbox.ask([orders.clear()])
    print(f"{'answers/s of CPU':24}{'bare':>10}{'sandbox':>10}{'share':>9}")
    for name, (theirs, ours) in best.items():
        print(f"{name:24}{theirs:>10,.0f}{ours:>10,.0f}{ours / theirs:>9.3f}")
    return {name: ours / theirs for name, (theirs, ours) in best.items()}


def longest(pipe: Pipe, client: Client, early: int, asks: int = 15) -> dict[str, float]:
    """Milliseconds for which the loop stands still for an answer: of some asks the middle one."""
    _told(pipe, "watch")
    found = {}
    for name, path in _LONG.items():
        times = []
        for _ in range(asks):
            _told(pipe, "forget")
            client.ask([get(path.format(early=early))])
            times.append(1000 * _told(pipe, "held"))
        found[name] = sorted(times)[asks // 2]
    _told(pipe, "rest")
    slowest = sorted(found, key=lambda name: -found[name])[:5]
    print("held up the loop for " + ", ".join(f"{name} {found[name]:.2f} ms" for name in slowest))
    return found


def main() -> None:
    """Measure, print, and hold the gates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--bars", type=int, default=200_000)
    parser.add_argument("--block-ms", type=float, default=5.0)
    parser.add_argument("--slack", type=float, default=1.0)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, options.bars), daemon=True)
    process.start()
    ports = ours.recv()
    sandbox, bare = (Client(port) for port in ports)
    early = wall_ms() - (options.bars - 100) * 60_000
    print(f"the sandbox's answers beside a bare one of aiohttp, {options.bars:,} bars of past; {platform.machine()}")

    orders = Orders()

    def measure() -> list[Gate]:
        found = shares(ours, sandbox, bare, orders, options)
        gates = [Gate(name, share, GATES[name] * options.slack) for name, share in found.items()]
        blocks = longest(ours, sandbox, early)
        return [*gates, Gate("the longest hold of the loop (ms)", max(blocks.values()), options.block_ms, is_most=True)]

    try:
        hold(measure)
    finally:
        ours.send("end")
        process.join(10)


if __name__ == "__main__":
    main()
