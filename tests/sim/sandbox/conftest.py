"""A sandbox in a thread of its own, and words to talk to it with."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

import msgspec
import numpy as np
import pytest

from keel.core.model.instrument import Instrument
from keel.core.model.timeframe import MINUTE_MS
from keel.core.system.config import ExecutionConfig
from keel.sim.sandbox.engine import Feed
from keel.sim.sandbox.market.bar_source import SymbolSeries
from keel.sim.sandbox.market.feeds import BarFeed, WalkFeed
from keel.sim.sandbox.market.random_walk import walk_instrument
from keel.sim.sandbox.server import SandboxServer
from keel.sim.sandbox.settings import AccountSettings, SandboxSettings

KEY, SECRET = "sandbox-key", "sandbox-secret"
START = 1_704_067_200_000  # 2024-01-01 00:00 UTC
PATIENCE_S = 30.0
"""For what comes at once, or on a busy machine later: this long only where it never does."""


def wall_ms() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000_000


def until(condition: Callable[[], Any], what: str = "") -> Any:
    """What a condition gives once it gives something true; fails when it never does."""
    end = time.monotonic() + PATIENCE_S
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited in vain for {what or condition}"
        time.sleep(0.003)


class Sandbox:
    """A running sandbox, seen from outside."""

    def __init__(self, server: SandboxServer, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.server, self.url, self.loop = server, url, loop
        self.in_memory: Callable[..., Any] | None = None
        """What sends a request (method, path, body, headers) to one that no socket of this machine leads to."""
        self.ws = url.replace("http", "ws", 1)

    def wall_ms(self) -> int:
        """The clock that it goes by."""
        return wall_ms()

    def get(self, path: str) -> Any:
        """A GET without a key."""
        with urlopen(self.url + path) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        """A POST without a key."""
        with urlopen(Request(self.url + path, json.dumps(body).encode(), method="POST")) as answer:
            return json.load(answer)

    def step(self, bars: int = 1) -> Any:
        """So many bars in lock-step."""
        return self.post("/admin/step", {"bars": bars})

    def faults(self, *rules: Any, clear: bool = True, **more: Any) -> Any:
        """Put rules in place of those before."""
        return self.post("/admin/faults", {"rules": list(rules), "clear": clear, **more})

    def heard_topics(self, key: str = KEY) -> list[str]:
        """Private topics that an account's connections are subscribed to."""
        return self.server.private.topics(self.server.engine.accounts[key])

    def truth(self, key: str = KEY) -> Any:
        """What the exchange knows of an account."""
        return self.get("/admin/truth")["accounts"][key]


@contextmanager
def running(settings: SandboxSettings, feed: Feed) -> Iterator[Sandbox]:
    """Serve until the block ends."""
    ready = threading.Event()
    made: dict[str, Any] = {}

    async def serve() -> None:
        try:
            server = SandboxServer(settings, feed, wall_ms)
            made["sandbox"] = Sandbox(server, await server.start(), asyncio.get_running_loop())
        finally:
            ready.set()
        try:
            await server.wait()
        finally:
            await server.stop()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 (raised again in the test's own thread)
            made["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait()
    if "sandbox" not in made:
        thread.join()
        raise made["error"]
    try:
        yield made["sandbox"]
    finally:
        sandbox = made["sandbox"]
        sandbox.loop.call_soon_threadsafe(sandbox.server.request_stop)
        thread.join(PATIENCE_S)
        if "error" in made:
            raise made["error"]


def walking(**changes: Any) -> SandboxSettings:
    """A market that moves every 30 ms."""
    return SandboxSettings(**({"tick_ms": 30} | changes))


def walk_feed(symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT"), bars: int = 300, **changes: Any) -> WalkFeed:
    """A short past."""
    return WalkFeed(list(symbols), changes.pop("start_ms", wall_ms()), changes.pop("seed", 7), bars=bars, **changes)


class Bars:
    """Implements ``BarSource``."""

    def __init__(self, *series: SymbolSeries) -> None:
        self.duration_ms = MINUTE_MS
        self._series = list(series)

    def series(self) -> list[SymbolSeries]:
        return self._series


def made_bars(
    count: int = 200, symbol: str = "BTCUSDT", seed: int = 3, first: int = 0, instrument: Instrument | None = None, **changes: Any
) -> SymbolSeries:
    """Minutes of a random walk on the grid, each open the close before it; mark and index a little beside; funding every half hour."""
    made = instrument or walk_instrument(symbol, "linear")
    rng = np.random.default_rng(seed)
    close = np.round(30_000.0 * np.exp(np.cumsum(rng.normal(0.0, changes.pop("deviation", 0.002), count))), 1)
    open_ = np.concatenate(([30_000.0], close[:-1]))
    high = np.round(np.maximum(open_, close) + rng.exponential(15.0, count), 1)
    low = np.round(np.minimum(open_, close) - rng.exponential(15.0, count), 1)
    last = (open_, high, low, close)
    mark = tuple(column * 1.0001 for column in last)
    index = tuple(column * 0.9999 for column in last)
    ts = START + MINUTE_MS * np.arange(count, dtype=np.int64)
    stamps = list(range(START + 30 * MINUTE_MS, START + count * MINUTE_MS, 30 * MINUTE_MS))
    rates = [int(rate) for rate in rng.integers(-30_000, 30_000, len(stamps))]
    marks = [round(float(mark[0][(stamp - START) // MINUTE_MS]) * 1e8) for stamp in stamps]
    values: dict[str, Any] = {"mark": mark, "index": index, "funding": (stamps, rates, marks)}
    return SymbolSeries(made, ts, last, np.full(count, 100.0), first, **(values | changes))


def flat_bars(*closes: float, symbol: str = "BTCUSDT", **changes: Any) -> SymbolSeries:
    """Minutes that go straight from the close before to these."""
    close = np.array(closes, dtype=np.float64)
    open_ = np.concatenate(([closes[0]], close[:-1]))
    ts = START + MINUTE_MS * np.arange(len(close), dtype=np.int64)
    prices = (open_, np.maximum(open_, close), np.minimum(open_, close), close)
    return SymbolSeries(changes.pop("instrument", walk_instrument(symbol, "linear")), ts, prices, np.full(len(close), 100.0), **changes)


def lockstep(*series: SymbolSeries, **changes: Any) -> tuple[SandboxSettings, BarFeed]:
    """Settings and feed of a market that moves on command."""
    values: dict[str, Any] = {"pace": "lockstep", "limit_factor": 1000.0, "execution": ExecutionConfig()}
    return SandboxSettings(**(values | changes)), BarFeed(Bars(*series))


@contextmanager
def stepping(*series: SymbolSeries, **changes: Any) -> Iterator[Sandbox]:
    """A sandbox in lock-step."""
    settings, feed = lockstep(*series, **changes)
    with running(settings, feed) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def market() -> Iterator[Sandbox]:
    """A sandbox whose market moves by itself, with two accounts, shared by a module's tests."""
    accounts = (AccountSettings(), AccountSettings(key="other", secret="hidden", usdt=5_000.0))
    with running(walking(accounts=accounts, limit_factor=100.0), walk_feed()) as sandbox:
        yield sandbox


def plain(value: Any) -> Any:
    """Structs as JSON data."""
    return msgspec.to_builtins(value)
